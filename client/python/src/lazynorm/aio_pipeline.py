"""Pipeline for asyncio: one event loop instead of threads."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, AsyncIterable, AsyncIterator, Callable, Iterable, TypeVar, Union

import grpc

from .errors import from_rpc
from .retry import Backoff

T = TypeVar("T")


async def each(items: Union[Iterable[T], AsyncIterable[T]]) -> AsyncIterator[T]:
    """Items that may come from an ordinary iterable or from an async one."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


class AsyncPipeline:
    """Requests travel while the answers to earlier ones, in order, are awaited.

    One task reads the items, whatever becomes of the calls; each call sends what is unanswered.
    """

    def __init__(self, items: AsyncIterator[Any], encode: Callable[[Any], Any], window: int,
                 backoff: Backoff):
        if window < 1:
            raise ValueError(f"window: expected at least 1, got {window}")
        self._items = items
        self._encode = encode
        self._window = window
        self._backoff = backoff
        self._changed = asyncio.Condition()
        self._unanswered: deque[Any] = deque()
        self._sent = 0  # of the unanswered ones, those that went out on the present call
        self._call = 0  # the present call's number
        self._ended = False  # there are no more items

    async def run(self, start: Callable[[AsyncIterator[Any]], Any],
                  decode: Callable[[Any], T]) -> AsyncIterator[T]:
        """Yields the decoded answers. `start` opens a call for an iterator of requests."""
        reader = asyncio.create_task(self._read())
        try:
            while True:
                self._call += 1
                self._sent = 0
                answers = start(self._outgoing(self._call))
                try:
                    async for answer in answers:
                        await self._answered()
                        yield decode(answer)
                    break
                except grpc.RpcError as raw:
                    error = from_rpc(raw)
                finally:
                    answers.cancel()
                pause = self._backoff.pause_after(error)
                if pause is None:
                    raise error
                await asyncio.sleep(pause)
            await reader  # raises what reading the items has raised
        finally:
            reader.cancel()

    async def _read(self) -> None:
        try:
            async for item in self._items:
                request = self._encode(item)
                async with self._changed:
                    await self._changed.wait_for(lambda: len(self._unanswered) < self._window)
                    self._unanswered.append(request)
                    self._changed.notify_all()
        finally:
            async with self._changed:
                self._ended = True
                self._changed.notify_all()

    async def _outgoing(self, call: int) -> AsyncIterator[Any]:
        """The requests of one call. gRPC may still be waiting for the next one when the call has broken."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._call != call or self._ended
                                             or self._sent < len(self._unanswered))
                if self._call != call or self._sent == len(self._unanswered):
                    return
                request = self._unanswered[self._sent]
                self._sent += 1
            yield request

    async def _answered(self) -> None:
        async with self._changed:
            self._unanswered.popleft()
            self._sent -= 1
            self._backoff.restart()
            self._changed.notify_all()
