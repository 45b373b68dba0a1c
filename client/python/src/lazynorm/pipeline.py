"""A pipelined stream that outlives its connection."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, Callable, Iterator, TypeVar

import grpc

from .errors import from_rpc
from .retry import Backoff

T = TypeVar("T")


class Pipeline:
    """Requests travel while the answers to earlier ones, in order, are awaited.

    When a call breaks and may be tried again, the unanswered requests go out again on a new one.
    gRPC reads a call's requests on a thread of its own, and one that belongs to a broken call may
    still wait for `requests`: what it gets then is kept for the call that follows.
    """

    def __init__(self, requests: Iterator[Any], window: int, backoff: Backoff):
        if window < 1:
            raise ValueError(f"window: expected at least 1, got {window}")
        self._requests = requests
        self._window = window
        self._backoff = backoff
        self._reading = threading.Lock()  # held by the one thread that asks for the next request
        self._changed = threading.Condition()  # guards all below
        self._unanswered: deque[Any] = deque()
        self._sent = 0  # of the unanswered ones, those that went out on the present call
        self._call = 0  # the present call's number
        self._ended = False  # there are no more requests
        self._failure: BaseException | None = None  # what `requests` raised

    def run(self, start: Callable[[Iterator[Any]], Any], decode: Callable[[Any], T]) -> Iterator[T]:
        """Yields the decoded answers. `start` opens a call for an iterator of requests."""
        while True:
            answers = start(self._outgoing(self._call))
            try:
                for answer in answers:
                    self._answered()
                    yield decode(answer)
                break
            except grpc.RpcError as raw:
                self._raise_failure()
                error = from_rpc(raw)
            finally:
                answers.cancel()
                self._leave_call()
            pause = self._backoff.pause_after(error)
            if pause is None:
                raise error
            time.sleep(pause)
        self._raise_failure()

    def _outgoing(self, call: int) -> Iterator[Any]:
        """The requests of one call, on gRPC's thread."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._call != call or self._sent < self._window)
                if self._call != call:
                    return
                unsent = self._sent < len(self._unanswered)
            if not unsent and not self._read_next(call):
                return
            with self._changed:
                if self._call != call:
                    return
                request = self._unanswered[self._sent]
                self._sent += 1
            yield request

    def _read_next(self, call: int) -> bool:
        """Adds the next request to the unanswered ones; False if there is none for this call."""
        with self._reading:
            with self._changed:
                if self._call != call or self._ended:
                    return False
                if self._sent < len(self._unanswered):
                    return True  # the thread of a broken call has left one
            try:
                request = next(self._requests)
            except StopIteration:
                self._end(None)
                return False
            except BaseException as failure:  # raised to the caller, after the last answer
                self._end(failure)
                return False
            with self._changed:
                self._unanswered.append(request)
            return True

    def _end(self, failure: BaseException | None) -> None:
        with self._changed:
            self._ended = True
            self._failure = failure

    def _answered(self) -> None:
        with self._changed:
            self._unanswered.popleft()
            self._sent -= 1
            self._backoff.restart()
            self._changed.notify_all()

    def _leave_call(self) -> None:
        with self._changed:
            self._call += 1
            self._sent = 0
            self._changed.notify_all()

    def _raise_failure(self) -> None:
        with self._changed:
            if self._failure is not None:
                raise self._failure
