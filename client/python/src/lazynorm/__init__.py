"""Client of lazynorm, the model server that learns while it serves.

    from lazynorm import Client, ModelSpec

    with Client("localhost:50051") as client:
        client.create_model("demand", ModelSpec(mlp={"hidden": [32]}))
        step = client.train("demand", X, y)           # numpy in
        print(step.step, step.loss)
        print(client.predict("demand", X).values)     # numpy out

`AsyncClient` is the same for asyncio; `LazyRegressor` and `LazyClassifier` have scikit-learn's methods.
"""

from .aio import AsyncClient
from .client import Client
from .errors import (Aborted, AlreadyExists, DeadlineExceeded, FailedPrecondition, InvalidArgument,
                     LazynormError, NotFound, OutOfRange, PermissionDenied, ResourceExhausted,
                     Unauthenticated, Unavailable)
from .estimators import LazyClassifier, LazyRegressor
from .results import Evaluation, Prediction, State, Step
from .specs import stream_spec
from .tensors import Batch
from .v1.model_service_pb2 import Checkpoint, Model, ModelStatus
from .v1.spec_pb2 import Learning, ModelSpec

__all__ = [
    "Aborted", "AlreadyExists", "AsyncClient", "Batch", "Checkpoint", "Client", "DeadlineExceeded",
    "Evaluation", "FailedPrecondition", "InvalidArgument", "LazyClassifier", "LazyRegressor",
    "LazynormError", "Learning", "Model", "ModelSpec", "ModelStatus", "NotFound", "OutOfRange",
    "PermissionDenied", "Prediction", "ResourceExhausted", "State", "Step", "Unauthenticated",
    "Unavailable", "stream_spec",
]
