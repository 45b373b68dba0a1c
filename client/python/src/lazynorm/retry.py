"""When a call is tried again, and after how long."""

from __future__ import annotations

import random
import time
import uuid
from typing import Callable, Optional

import grpc

from .errors import LazynormError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


def new_request_id() -> str:
    """Under which a request is trained once, however often it is sent."""
    return str(uuid.uuid4())


def is_retryable(error: LazynormError) -> bool:
    """The server is away, starting or draining, or it was full and said when to come back."""
    if error.code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return error.retry_after is not None
    return bool(error.code == grpc.StatusCode.UNAVAILABLE)


class Backoff:
    """The pauses between the tries of one call, all of which share its timeout (seconds)."""

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._timeout = timeout
        self.restart()

    def restart(self) -> None:
        """Something succeeded: the whole timeout again, and short pauses."""
        self._end = self._clock() + self._timeout
        self._pause = _FIRST_PAUSE

    def remaining(self) -> float:
        """Seconds until the deadline."""
        return max(self._end - self._clock(), 0.0)

    def pause_after(self, error: LazynormError) -> Optional[float]:
        """Seconds to wait before the next try, or None if there is to be none."""
        if not is_retryable(error):
            return None
        # Many clients that lost one server should not come back in one instant.
        pause = max(self._pause * random.uniform(0.8, 1.2), error.retry_after or 0.0)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        return pause if pause < self.remaining() else None
