"""The client for asyncio; Client has the same methods for ordinary code."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import (Any, AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Optional, Sequence,
                    TypeVar, Union)

import grpc
import grpc.aio
import numpy.typing as npt

from . import calls
from .aio_pipeline import AsyncPipeline, each
from .calls import Call
from .connection import Connection, Path, Stubs
from .errors import from_rpc
from .results import Evaluation, Prediction, State, Step
from .retry import Backoff
from .tensors import Batch
from .v1.model_service_pb2 import Checkpoint, Model, ModelStatus
from .v1.spec_pb2 import Learning, ModelSpec

T = TypeVar("T")
Many = Union[Iterable[T], AsyncIterable[T]]


class AsyncClient:
    """Client for asyncio: the same arguments, methods and errors; streams are async iterators.

    Made and used within one event loop; close it or use it with `async with`.
    """

    def __init__(self, address: str = "127.0.0.1:50051", *, timeout: float = 30.0, tls: bool = False,
                 tls_ca: Optional[Path] = None, client_cert: Optional[Path] = None,
                 client_key: Optional[Path] = None, token: Optional[str] = None):
        connection = Connection(address, tls, tls_ca, client_cert, client_key, token)
        self._timeout = timeout
        self._metadata = connection.metadata()
        self._channel = connection.open(grpc.aio)
        self._stubs = Stubs(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException],
                        trace: Optional[TracebackType]) -> None:
        await self.close()

    async def create_model(self, model_id: str, spec: Optional[ModelSpec] = None, *,
                           state: Optional[Mapping[str, npt.ArrayLike]] = None,
                           timeout: Optional[float] = None) -> Model:
        return await self._run(calls.create_model(model_id, spec, state), timeout)

    async def get_model(self, model: str, *, timeout: Optional[float] = None) -> Model:
        return await self._run(calls.get_model(model), timeout)

    async def list_models(self, *, timeout: Optional[float] = None) -> list[Model]:
        found: list[Model] = []
        token = ""
        while True:
            page = await self._run(calls.list_models(token), timeout)
            found.extend(page.models)
            token = page.next_page_token
            if not token:
                return found

    async def delete_model(self, model: str, *, timeout: Optional[float] = None) -> None:
        await self._run(calls.delete_model(model), timeout)

    async def update_model(self, model: str, *, learning: Optional[Learning] = None,
                           learning_rate: Optional[float] = None,
                           timeout: Optional[float] = None) -> Model:
        return await self._run(calls.update_model(model, learning, learning_rate), timeout)

    async def get_state(self, model: str, *, timeout: Optional[float] = None) -> State:
        return await self._run(calls.get_state(model), timeout)

    async def freeze_statistics(self, model: str, *, timeout: Optional[float] = None) -> Model:
        return await self._run(calls.freeze_statistics(model), timeout)

    async def unfreeze_statistics(self, model: str, *, timeout: Optional[float] = None) -> Model:
        return await self._run(calls.unfreeze_statistics(model), timeout)

    async def copy_model(self, model: str, model_id: str, *, timeout: Optional[float] = None) -> Model:
        return await self._run(calls.copy_model(model, model_id), timeout)

    async def create_checkpoint(self, model: str, label: str = "", *,
                                timeout: Optional[float] = None) -> Checkpoint:
        return await self._run(calls.create_checkpoint(model, label), timeout)

    async def list_checkpoints(self, model: str, *,
                               timeout: Optional[float] = None) -> Sequence[Checkpoint]:
        return await self._run(calls.list_checkpoints(model), timeout)

    async def restore_checkpoint(self, model: str, checkpoint_id: str = "", *, step: Optional[int] = None,
                                 timeout: Optional[float] = None) -> Model:
        return await self._run(calls.restore_checkpoint(model, checkpoint_id, step), timeout)

    async def delete_checkpoint(self, model: str, checkpoint_id: str, *,
                                timeout: Optional[float] = None) -> None:
        await self._run(calls.delete_checkpoint(model, checkpoint_id), timeout)

    async def watch_model(self, model: str, *, min_interval: float = 1.0) -> AsyncIterator[ModelStatus]:
        answers = self._stubs.method("ModelService/WatchModel")(
            calls.watch_request(model, min_interval), metadata=self._metadata)
        try:
            async for status in answers:
                yield status
        except grpc.RpcError as error:
            raise from_rpc(error) from None
        finally:
            answers.cancel()

    async def train(self, model: str, features: Optional[npt.ArrayLike] = None,
                    targets: Optional[npt.ArrayLike] = None, *, labels: Optional[npt.ArrayLike] = None,
                    sample_weights: Optional[npt.ArrayLike] = None, prediction_ids: Sequence[str] = (),
                    request_id: Optional[str] = None, freeze_statistics: bool = False,
                    timeout: Optional[float] = None) -> Step:
        batch = Batch(features, targets, labels, sample_weights)
        return await self._run(
            calls.train(model, batch, prediction_ids, request_id, freeze_statistics), timeout)

    def train_stream(self, model: str, batches: Many[Batch], *, window: int = 64) -> AsyncIterator[Step]:
        """`batches` may be async or not; one that is not must not block."""
        return self._pipeline("TrainingService/TrainStream", batches,
                              lambda batch: calls.train_request(model, batch), calls.to_step, window)

    async def predict(self, model: str, features: npt.ArrayLike, *, min_step: int = 0,
                      probabilities: bool = False, prediction_ids: Sequence[str] = (),
                      timeout: Optional[float] = None) -> Prediction:
        return await self._run(
            calls.predict(model, features, min_step, probabilities, prediction_ids), timeout)

    def predict_stream(self, model: str, batches: Many[npt.ArrayLike], *, probabilities: bool = False,
                       window: int = 64) -> AsyncIterator[Prediction]:
        return self._pipeline(
            "PredictionService/PredictStream", batches,
            lambda rows: calls.predict_request(model, rows, probabilities=probabilities),
            calls.to_prediction, window)

    async def evaluate(self, model: str, features: npt.ArrayLike,
                       targets: Optional[npt.ArrayLike] = None, *,
                       labels: Optional[npt.ArrayLike] = None,
                       sample_weights: Optional[npt.ArrayLike] = None,
                       timeout: Optional[float] = None) -> Evaluation:
        batch = Batch(features, targets, labels, sample_weights)
        return await self._run(calls.evaluate(model, batch), timeout)

    async def evaluate_stream(self, model: str, batches: Many[Batch], *,
                              timeout: Optional[float] = None) -> Evaluation:
        async def requests() -> AsyncIterator[Any]:
            async for batch in each(batches):
                yield calls.evaluate_request(model, batch)

        try:
            return calls.to_evaluation(await self._stubs.method("PredictionService/EvaluateStream")(
                requests(), timeout=timeout or self._timeout, metadata=self._metadata))
        except grpc.RpcError as error:
            raise from_rpc(error) from None

    async def health(self, service: str = "", *, timeout: Optional[float] = None) -> str:
        return await self._run(calls.health(service), timeout)

    async def _run(self, call: Call[T], timeout: Optional[float]) -> T:
        method = self._stubs.method(call.method)
        backoff = Backoff(timeout or self._timeout)
        while True:
            try:
                return call.decode(await method(call.request, timeout=backoff.remaining(),
                                                metadata=self._metadata))
            except grpc.RpcError as raw:
                error = from_rpc(raw)
            pause = backoff.pause_after(error) if call.repeatable else None
            if pause is None:
                raise error
            await asyncio.sleep(pause)

    def _pipeline(self, method: str, items: Any, encode: Callable[[Any], Any],
                  decode: Callable[[Any], T], window: int) -> AsyncIterator[T]:
        start = self._stubs.method(method)
        pipeline = AsyncPipeline(each(items), encode, window, Backoff(self._timeout))
        return pipeline.run(lambda sent: start(sent, metadata=self._metadata), decode)
