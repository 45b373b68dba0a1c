import { setTimeout as sleep } from 'node:timers/promises';
import type { LazynormError } from './errors.js';

const firstPauseMs = 100;
const longestPauseMs = 5000;

/**
 * Calls `attempt` with the deadline, again after what may succeed later, until the deadline. A call
 * that is not repeatable is tried once.
 */
export async function untilDeadline<T>(
  timeoutMs: number,
  repeatable: boolean,
  attempt: (deadline: number) => Promise<T>,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (let pause = firstPauseMs; ; pause = Math.min(2 * pause, longestPauseMs)) {
    try {
      return await attempt(deadline);
    } catch (error) {
      const { retryable, retryAfterMs = 0 } = error as LazynormError;
      const wait = Math.max(pause * (0.8 + 0.4 * Math.random()), retryAfterMs); // not all in one instant
      if (!repeatable || !retryable || Date.now() + wait >= deadline) throw error;
      await sleep(wait);
    }
  }
}
