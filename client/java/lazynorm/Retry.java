package lazynorm;

import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.Function;

/** Tries a call again while it may succeed later, until its deadline. */
final class Retry {
  private static final long FIRST_PAUSE_MS = 100;
  private static final long LONGEST_PAUSE_MS = 5000;

  private Retry() {}

  /** Calls {@code attempt} with the time that is left. A call that is not repeatable is tried once. */
  static <T> T untilDeadline(Duration timeout, boolean repeatable, Function<Duration, T> attempt) {
    long deadline = System.nanoTime() + timeout.toNanos();
    for (long pause = FIRST_PAUSE_MS; ; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      try {
        return attempt.apply(Duration.ofNanos(deadline - System.nanoTime()));
      } catch (StatusRuntimeException e) {
        LazynormException error = new LazynormException(e);
        // At random by a fifth: many clients should not come back in one instant.
        long wait = Math.max((long) (pause * ThreadLocalRandom.current().nextDouble(0.8, 1.2)),
            error.retryAfter().map(Duration::toMillis).orElse(0L));
        boolean inTime = System.nanoTime() + wait * 1_000_000 < deadline;
        if (!repeatable || !error.isRetryable() || !inTime) throw error;
        sleep(wait, error);
      }
    }
  }

  private static void sleep(long ms, LazynormException error) {
    try {
      Thread.sleep(ms);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw error;
    }
  }
}
