"""What calls answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from .tensors import Array


@dataclass(frozen=True)
class Step:
    """One learning step."""

    step: int  # the model's, after this request
    loss: float  # of these rows in training mode, before the update: torch's loss.item()
    prequential_loss: float  # of these rows as they were or would have been predicted
    replayed: bool  # answered from the record: the request_id was known
    gradient_norm: float  # of all gradients together, before clipping
    drift: bool  # the prequential loss has changed for good


@dataclass(frozen=True)
class Prediction:
    """What one whole step of a model predicts."""

    values: Array  # [rows, out_features], float32
    step: int


@dataclass(frozen=True)
class Evaluation:
    """Scores over rows. Those that do not fit the loss are None."""

    rows: int
    step: int
    loss: float
    mean_absolute_error: Optional[float]
    root_mean_squared_error: Optional[float]
    r2: Optional[float]
    accuracy: Optional[float]
    log_loss: Optional[float]
    roc_auc: Optional[float]


@dataclass(frozen=True)
class State:
    """A torch state_dict of a model at a step."""

    step: int
    tensors: dict[str, Array]  # float32, and int64 for num_batches_tracked
