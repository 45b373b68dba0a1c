"""Each rpc as a value: what is sent, and how the answer is read. Client and AsyncClient carry them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Generic, Mapping, Optional, Sequence, TypeVar

import numpy.typing as npt
from google.protobuf.duration_pb2 import Duration

from . import details, results, tensors
from .retry import new_request_id
from .tensors import Batch
from .v1 import model_service_pb2 as models
from .v1 import prediction_service_pb2 as prediction
from .v1 import training_service_pb2 as training
from .v1.spec_pb2 import Learning, ModelSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """A unary call."""

    method: str  # "Service/Method"
    request: Any
    decode: Callable[[Any], T]
    # Sending it twice is the same as sending it once, so it may be tried again.
    repeatable: bool = False


def _same(answer: Any) -> Any:
    return answer


def _nothing(_: Any) -> None:
    return None


def create_model(model_id: str, spec: Optional[ModelSpec],
                 state: Optional[Mapping[str, npt.ArrayLike]]) -> Call[models.Model]:
    request = models.CreateModelRequest(
        model_id=model_id, spec=spec, initial_state=tensors.to_named_tensors(dict(state or {})))
    return Call("ModelService/CreateModel", request, _same)


def get_model(model: str) -> Call[models.Model]:
    return Call("ModelService/GetModel", models.GetModelRequest(model=model), _same, True)


def list_models(page_token: str) -> Call[models.ListModelsResponse]:
    request = models.ListModelsRequest(page_size=1000, page_token=page_token)
    return Call("ModelService/ListModels", request, _same, True)


def delete_model(model: str) -> Call[None]:
    return Call("ModelService/DeleteModel", models.DeleteModelRequest(model=model), _nothing)


def update_model(model: str, learning: Optional[Learning],
                 learning_rate: Optional[float]) -> Call[models.Model]:
    request = models.UpdateModelRequest(model=model, learning=learning)
    if learning is not None:
        request.update_mask.paths.append("learning")
    if learning_rate is not None:
        request.learning_rate = learning_rate
        request.update_mask.paths.append("learning_rate")
    return Call("ModelService/UpdateModel", request, _same, True)


def get_state(model: str) -> Call[results.State]:
    def decode(answer: models.GetModelStateResponse) -> results.State:
        return results.State(
            answer.step, {tensor.name: tensors.from_named_tensor(tensor) for tensor in answer.tensors})

    return Call("ModelService/GetModelState", models.GetModelStateRequest(model=model), decode, True)


def freeze_statistics(model: str) -> Call[models.Model]:
    request = models.FreezeStatisticsRequest(model=model)
    return Call("ModelService/FreezeStatistics", request, _same, True)


def unfreeze_statistics(model: str) -> Call[models.Model]:
    request = models.UnfreezeStatisticsRequest(model=model)
    return Call("ModelService/UnfreezeStatistics", request, _same, True)


def copy_model(model: str, model_id: str) -> Call[models.Model]:
    request = models.CopyModelRequest(model=model, model_id=model_id)
    return Call("ModelService/CopyModel", request, _same)


def create_checkpoint(model: str, label: str) -> Call[models.Checkpoint]:
    request = models.CreateCheckpointRequest(model=model, label=label)
    return Call("ModelService/CreateCheckpoint", request, _same)


def list_checkpoints(model: str) -> Call[Sequence[models.Checkpoint]]:
    return Call("ModelService/ListCheckpoints", models.ListCheckpointsRequest(model=model),
                lambda answer: list(answer.checkpoints), True)


def restore_checkpoint(model: str, checkpoint_id: str, step: Optional[int]) -> Call[models.Model]:
    request = models.RestoreCheckpointRequest(model=model, checkpoint_id=checkpoint_id, step=step)
    return Call("ModelService/RestoreCheckpoint", request, _same)


def delete_checkpoint(model: str, checkpoint_id: str) -> Call[None]:
    request = models.DeleteCheckpointRequest(model=model, checkpoint_id=checkpoint_id)
    return Call("ModelService/DeleteCheckpoint", request, _nothing)


def watch_request(model: str, min_interval: float) -> models.WatchModelRequest:
    interval = Duration()
    interval.FromNanoseconds(int(min_interval * 1e9))
    return models.WatchModelRequest(model=model, min_interval=interval)


def train(model: str, batch: Batch, prediction_ids: Sequence[str] = (), request_id: Optional[str] = None,
          freeze_statistics: bool = False) -> Call[results.Step]:
    request = train_request(model, batch, prediction_ids, request_id, freeze_statistics)
    return Call("TrainingService/Train", request, to_step, True)


def train_request(model: str, batch: Batch, prediction_ids: Sequence[str] = (),
                  request_id: Optional[str] = None,
                  freeze_statistics: bool = False) -> training.TrainRequest:
    """Always with a request_id, so that it can be sent again and is trained once."""
    mode = training.STATISTICS_MODE_FREEZE if freeze_statistics else training.STATISTICS_MODE_UPDATE
    return training.TrainRequest(model=model, request_id=request_id or new_request_id(), statistics=mode,
                                 prediction_ids=prediction_ids, **batch.fields())


def to_step(answer: training.TrainResponse) -> results.Step:
    return results.Step(answer.step, answer.loss, answer.prequential_loss, answer.replayed,
                        answer.gradient_norm, answer.drift)


def predict(model: str, features: npt.ArrayLike, min_step: int, probabilities: bool,
            prediction_ids: Sequence[str]) -> Call[results.Prediction]:
    request = predict_request(model, features, min_step, probabilities, prediction_ids)
    return Call("PredictionService/Predict", request, to_prediction, True)


def predict_request(model: str, features: npt.ArrayLike, min_step: int = 0, probabilities: bool = False,
                    prediction_ids: Sequence[str] = ()) -> prediction.PredictRequest:
    return prediction.PredictRequest(
        model=model, features=tensors.to_matrix(features, "features"), min_step=min_step,
        output=prediction.OUTPUT_PROBABILITIES if probabilities else prediction.OUTPUT_RAW,
        prediction_ids=prediction_ids)


def to_prediction(answer: prediction.PredictResponse) -> results.Prediction:
    return results.Prediction(tensors.from_matrix(answer.predictions), answer.step)


def evaluate(model: str, batch: Batch) -> Call[results.Evaluation]:
    return Call("PredictionService/Evaluate", evaluate_request(model, batch), to_evaluation, True)


def evaluate_request(model: str, batch: Batch) -> prediction.EvaluateRequest:
    return prediction.EvaluateRequest(model=model, **batch.fields())


def to_evaluation(answer: prediction.EvaluateResponse) -> results.Evaluation:
    scores = {name: getattr(answer, name) if answer.HasField(name) else None
              for name in ("mean_absolute_error", "root_mean_squared_error", "r2", "accuracy",
                           "log_loss", "roc_auc")}
    return results.Evaluation(rows=answer.rows, step=answer.step, loss=answer.loss, **scores)


def health(service: str) -> Call[str]:
    def decode(answer: bytes) -> str:
        response = details.HealthCheckResponse
        return str(response.ServingStatus.Name(response.FromString(answer).status))

    return Call("Health/Check", details.HealthCheckRequest(service=service), decode, True)
