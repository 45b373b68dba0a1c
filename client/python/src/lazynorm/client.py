"""The client for ordinary code; AsyncClient has the same methods for asyncio."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Callable, Iterable, Iterator, Mapping, Optional, Sequence, TypeVar

import grpc
import numpy.typing as npt

from . import calls
from .calls import Call
from .connection import Connection, Path, Stubs
from .errors import from_rpc
from .pipeline import Pipeline
from .results import Evaluation, Prediction, State, Step
from .retry import Backoff
from .tensors import Batch
from .v1.model_service_pb2 import Checkpoint, Model, ModelStatus
from .v1.spec_pb2 import Learning, ModelSpec

T = TypeVar("T")


class Client:
    """A connection to a server. Thread-safe; close it or use it as a context manager.

    address: host:port, unix:/path, or any other name that gRPC resolves.
    timeout: seconds for a call with all its retries; each call takes another one as `timeout=`.
        On train_stream and predict_stream, for how long to go on trying without an answer.
    tls, tls_ca: TLS, with the system's authorities or those of a PEM file.
    client_cert, client_key: PEM files, for servers that ask for them (mutual TLS).
    token: sent as bearer token with every call; needs TLS except on this machine.

    Errors are LazynormError. What can be sent twice without harm is tried again while the server is
    away or says when to come back: everything but creating, copying, deleting and checkpoints. Train
    is among it because each request carries a request_id, made by the client if need be.
    """

    def __init__(self, address: str = "127.0.0.1:50051", *, timeout: float = 30.0, tls: bool = False,
                 tls_ca: Optional[Path] = None, client_cert: Optional[Path] = None,
                 client_key: Optional[Path] = None, token: Optional[str] = None):
        connection = Connection(address, tls, tls_ca, client_cert, client_key, token)
        self._timeout = timeout
        self._metadata = connection.metadata()
        self._channel = connection.open(grpc)
        self._stubs = Stubs(self._channel)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()

    def create_model(self, model_id: str, spec: Optional[ModelSpec] = None, *,
                     state: Optional[Mapping[str, npt.ArrayLike]] = None,
                     timeout: Optional[float] = None) -> Model:
        """A new model; with the parameters and statistics of a torch state_dict if given."""
        return self._run(calls.create_model(model_id, spec, state), timeout)

    def get_model(self, model: str, *, timeout: Optional[float] = None) -> Model:
        return self._run(calls.get_model(model), timeout)

    def list_models(self, *, timeout: Optional[float] = None) -> list[Model]:
        """All models, in the order of their ids."""
        found: list[Model] = []
        token = ""
        while True:
            page = self._run(calls.list_models(token), timeout)
            found.extend(page.models)
            token = page.next_page_token
            if not token:
                return found

    def delete_model(self, model: str, *, timeout: Optional[float] = None) -> None:
        self._run(calls.delete_model(model), timeout)

    def update_model(self, model: str, *, learning: Optional[Learning] = None,
                     learning_rate: Optional[float] = None, timeout: Optional[float] = None) -> Model:
        """Changes how the model learns from the next step on."""
        return self._run(calls.update_model(model, learning, learning_rate), timeout)

    def get_state(self, model: str, *, timeout: Optional[float] = None) -> State:
        """Its torch state_dict; without tensors while the model is lazy."""
        return self._run(calls.get_state(model), timeout)

    def freeze_statistics(self, model: str, *, timeout: Optional[float] = None) -> Model:
        """From now on training leaves the running statistics alone and normalises with them."""
        return self._run(calls.freeze_statistics(model), timeout)

    def unfreeze_statistics(self, model: str, *, timeout: Optional[float] = None) -> Model:
        return self._run(calls.unfreeze_statistics(model), timeout)

    def copy_model(self, model: str, model_id: str, *, timeout: Optional[float] = None) -> Model:
        """A new model `model_id` with the whole state of `model`."""
        return self._run(calls.copy_model(model, model_id), timeout)

    def create_checkpoint(self, model: str, label: str = "", *,
                          timeout: Optional[float] = None) -> Checkpoint:
        return self._run(calls.create_checkpoint(model, label), timeout)

    def list_checkpoints(self, model: str, *, timeout: Optional[float] = None) -> Sequence[Checkpoint]:
        """Oldest first."""
        return self._run(calls.list_checkpoints(model), timeout)

    def restore_checkpoint(self, model: str, checkpoint_id: str = "", *, step: Optional[int] = None,
                           timeout: Optional[float] = None) -> Model:
        """Takes the model back to a checkpoint, or to a past step that its journal still reaches."""
        return self._run(calls.restore_checkpoint(model, checkpoint_id, step), timeout)

    def delete_checkpoint(self, model: str, checkpoint_id: str, *,
                          timeout: Optional[float] = None) -> None:
        self._run(calls.delete_checkpoint(model, checkpoint_id), timeout)

    def watch_model(self, model: str, *, min_interval: float = 1.0) -> Iterator[ModelStatus]:
        """The status at once, then each change, `min_interval` seconds apart at least. Endless."""
        answers = self._stubs.method("ModelService/WatchModel")(
            calls.watch_request(model, min_interval), metadata=self._metadata)
        try:
            yield from answers
        except grpc.RpcError as error:
            raise from_rpc(error) from None
        finally:
            answers.cancel()

    def train(self, model: str, features: Optional[npt.ArrayLike] = None,
              targets: Optional[npt.ArrayLike] = None, *, labels: Optional[npt.ArrayLike] = None,
              sample_weights: Optional[npt.ArrayLike] = None, prediction_ids: Sequence[str] = (),
              request_id: Optional[str] = None, freeze_statistics: bool = False,
              timeout: Optional[float] = None) -> Step:
        """One learning step on the rows of a Batch, or on those remembered under `prediction_ids`.

        request_id: the same one again answers the first result and trains nothing.
        freeze_statistics: this step leaves the running statistics alone.
        """
        batch = Batch(features, targets, labels, sample_weights)
        return self._run(calls.train(model, batch, prediction_ids, request_id, freeze_statistics), timeout)

    def train_stream(self, model: str, batches: Iterable[Batch], *, window: int = 64) -> Iterator[Step]:
        """One step a batch, in order, without waiting for each answer before the next is sent.

        At most `window` batches travel unanswered. When the connection breaks, they are sent again,
        and trained once. `batches` is read by another thread. Answers arrive as they are asked for.
        """
        requests = (calls.train_request(model, batch) for batch in batches)
        return self._pipeline("TrainingService/TrainStream", requests, calls.to_step, window)

    def predict(self, model: str, features: npt.ArrayLike, *, min_step: int = 0,
                probabilities: bool = False, prediction_ids: Sequence[str] = (),
                timeout: Optional[float] = None) -> Prediction:
        """min_step: waits, within the timeout, until the model has reached it.
        probabilities: of classes, instead of what the last layer gives.
        prediction_ids: one a row; remembers the rows for a later train with the labels alone.
        """
        return self._run(
            calls.predict(model, features, min_step, probabilities, prediction_ids), timeout)

    def predict_stream(self, model: str, batches: Iterable[npt.ArrayLike], *, probabilities: bool = False,
                       window: int = 64) -> Iterator[Prediction]:
        """predict for each array, in order, like train_stream."""
        requests = (calls.predict_request(model, rows, probabilities=probabilities) for rows in batches)
        return self._pipeline("PredictionService/PredictStream", requests, calls.to_prediction, window)

    def evaluate(self, model: str, features: npt.ArrayLike, targets: Optional[npt.ArrayLike] = None, *,
                 labels: Optional[npt.ArrayLike] = None, sample_weights: Optional[npt.ArrayLike] = None,
                 timeout: Optional[float] = None) -> Evaluation:
        batch = Batch(features, targets, labels, sample_weights)
        return self._run(calls.evaluate(model, batch), timeout)

    def evaluate_stream(self, model: str, batches: Iterable[Batch], *,
                        timeout: Optional[float] = None) -> Evaluation:
        """One result over the rows of all batches, all predicted at the same step."""
        requests = (calls.evaluate_request(model, batch) for batch in batches)
        try:
            return calls.to_evaluation(self._stubs.method("PredictionService/EvaluateStream")(
                requests, timeout=timeout or self._timeout, metadata=self._metadata))
        except grpc.RpcError as error:
            raise from_rpc(error) from None

    def health(self, service: str = "", *, timeout: Optional[float] = None) -> str:
        """"SERVING" or another status: of the server, of a service, or of "models/<model_id>"."""
        return self._run(calls.health(service), timeout)

    def _run(self, call: Call[T], timeout: Optional[float]) -> T:
        method = self._stubs.method(call.method)
        backoff = Backoff(timeout or self._timeout)
        while True:
            try:
                return call.decode(method(call.request, timeout=backoff.remaining(),
                                          metadata=self._metadata))
            except grpc.RpcError as raw:
                error = from_rpc(raw)
            pause = backoff.pause_after(error) if call.repeatable else None
            if pause is None:
                raise error
            time.sleep(pause)

    def _pipeline(self, method: str, requests: Iterator[Any], decode: Callable[[Any], T],
                  window: int) -> Iterator[T]:
        start = self._stubs.method(method)
        pipeline = Pipeline(requests, window, Backoff(self._timeout))
        return pipeline.run(lambda sent: start(sent, metadata=self._metadata), decode)
