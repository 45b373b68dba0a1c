"""Models on a server behind scikit-learn's methods; scikit-learn itself is not needed.

There is no fit: a model on a server is never finished, and others may be teaching it too.
"""

from __future__ import annotations

import inspect
from typing import Any, Optional, Sequence

import numpy as np
import numpy.typing as npt

from .client import Client
from .errors import AlreadyExists
from .specs import stream_spec
from .tensors import Array
from .v1.spec_pb2 import ModelSpec


class _Estimator:
    """A model by its id, made by the first partial_fit if it is not there.

    model: its id.
    client: None connects to 127.0.0.1:50051.
    spec: what to make it of; None is stream_spec with the widths of `hidden`, which learns from any
        number of rows, one included.
    """

    def __init__(self, model: str, *, client: Optional[Client] = None, hidden: Sequence[int] = (32, 16),
                 spec: Optional[ModelSpec] = None):
        self.model = model
        self.client = client
        self.hidden = hidden
        self.spec = spec

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Any:
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"{name}: expected one of {', '.join(self.get_params())}")
            setattr(self, name, value)
        return self

    def _connected(self) -> Client:
        if self.client is None:
            self.client = Client()
        return self.client

    def _ready(self, spec: ModelSpec) -> Client:
        """The client, once there is a model."""
        client = self._connected()
        if not getattr(self, "_exists", False):
            try:
                client.create_model(self.model, spec)
            except AlreadyExists:
                pass  # it learns on
            self._exists = True
        return client


class LazyRegressor(_Estimator):
    """Predicts numbers: one column, or several if y of the first partial_fit has them."""

    def partial_fit(self, X: npt.ArrayLike, y: npt.ArrayLike,
                    sample_weight: Optional[npt.ArrayLike] = None) -> "LazyRegressor":
        """One learning step on the rows of X and y."""
        outputs = 1 if np.ndim(y) == 1 else np.shape(y)[1]
        client = self._ready(self.spec or stream_spec(self.hidden, outputs))
        client.train(self.model, X, y, sample_weights=sample_weight)
        return self

    def predict(self, X: npt.ArrayLike) -> Array:
        """[rows], or [rows, outputs] if there are several."""
        values = self._connected().predict(self.model, X).values
        return np.squeeze(values, axis=1) if values.shape[1] == 1 else values

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike,
              sample_weight: Optional[npt.ArrayLike] = None) -> float:
        """R squared; NaN where the targets do not vary."""
        score = self._connected().evaluate(self.model, X, y, sample_weights=sample_weight).r2
        return float("nan") if score is None else score


class LazyClassifier(_Estimator):
    """Predicts one of `classes`, which are given here or, as in scikit-learn, to partial_fit.

    They are kept with the model as its class_names, in ascending order.
    """

    def __init__(self, model: str, *, classes: Optional[npt.ArrayLike] = None,
                 client: Optional[Client] = None, hidden: Sequence[int] = (32, 16),
                 spec: Optional[ModelSpec] = None):
        super().__init__(model, client=client, hidden=hidden, spec=spec)
        self.classes = classes

    @property
    def classes_(self) -> Array:
        """In ascending order, which is that of predict_proba's columns."""
        if self.classes is None:
            raise ValueError("classes: expected in the constructor or on the first partial_fit")
        ascending: Array = np.unique(np.asarray(self.classes))
        return ascending

    def partial_fit(self, X: npt.ArrayLike, y: npt.ArrayLike, classes: Optional[npt.ArrayLike] = None,
                    sample_weight: Optional[npt.ArrayLike] = None) -> "LazyClassifier":
        """One learning step on the rows of X and y."""
        if self.classes is None:
            self.classes = classes
        names = [str(name) for name in self.classes_]
        labels = self._labels(y)
        client = self._ready(self.spec or stream_spec(
            self.hidden, len(names), loss="LOSS_KIND_CROSS_ENTROPY", class_names=names))
        client.train(self.model, X, labels=labels, sample_weights=sample_weight)
        return self

    def predict(self, X: npt.ArrayLike) -> Array:
        """The most probable class of each row."""
        best: Array = self.classes_[np.argmax(self.predict_proba(X), axis=1)]
        return best

    def predict_proba(self, X: npt.ArrayLike) -> Array:
        """[rows, classes]"""
        return self._connected().predict(self.model, X, probabilities=True).values

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike,
              sample_weight: Optional[npt.ArrayLike] = None) -> float:
        """The share of rows whose class is predicted."""
        accuracy = self._connected().evaluate(
            self.model, X, labels=self._labels(y), sample_weights=sample_weight).accuracy
        return float("nan") if accuracy is None else accuracy

    def _labels(self, y: npt.ArrayLike) -> Array:
        """The places of the given classes among all. ValueError: one that is not among them."""
        given, classes = np.asarray(y), self.classes_
        labels = np.searchsorted(classes, given)
        wrong = given[classes[np.minimum(labels, len(classes) - 1)] != given]
        if wrong.size:
            raise ValueError(f"y: expected one of {classes.tolist()}, got {wrong.tolist()[0]!r}")
        return labels
