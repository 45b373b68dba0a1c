"""numpy arrays to messages and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional, Sequence

import numpy as np
import numpy.typing as npt

from .v1.tensor_pb2 import Matrix, NamedTensor

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """The rows of one learning step, or of one part of an evaluation.

    features: [rows, in_features].
    targets: [rows, out_features], or [rows] for one output; for every loss but cross entropy.
    labels: [rows], whole numbers from 0: for cross entropy, or 0 and 1 for binary cross entropy.
    sample_weights: [rows], not negative.
    """

    features: Optional[npt.ArrayLike] = None
    targets: Optional[npt.ArrayLike] = None
    labels: Optional[npt.ArrayLike] = None
    sample_weights: Optional[npt.ArrayLike] = None

    def fields(self) -> dict[str, Any]:
        """What TrainRequest and EvaluateRequest have of it."""
        found: dict[str, Any] = {}
        if self.features is not None:
            found["features"] = to_matrix(self.features, "features")
        if self.targets is not None:
            targets = np.asarray(self.targets)
            found["targets"] = to_matrix(targets[:, None] if targets.ndim == 1 else targets, "targets")
        if self.labels is not None:
            found["labels"] = to_labels(self.labels)
        if self.sample_weights is not None:
            found["sample_weights"] = np.asarray(self.sample_weights, np.float32).ravel().tolist()
        return found


def to_matrix(values: npt.ArrayLike, field: str) -> Matrix:
    """The message of a [rows, columns] array. ValueError: not two dimensions, or not numbers."""
    array = np.ascontiguousarray(values, "<f4")
    if np.ndim(values) != 2:
        raise ValueError(f"{field}: expected 2 dimensions [rows, columns], got shape {np.shape(values)}")
    head = Matrix(rows=array.shape[0], columns=array.shape[1]).SerializeToString()
    # Packed floats are an array's own bytes: parsing them is a copy, some 25 times faster than
    # filling the field number by number.
    matrix: Matrix = Matrix.FromString(head + b"\x1a" + _varint(array.nbytes) + array.tobytes())
    return matrix


def from_matrix(matrix: Matrix) -> Array:
    """The [rows, columns] array of a message, float32."""
    count = len(matrix.values)
    values_only = Matrix()
    values_only.values.MergeFrom(matrix.values)
    packed = values_only.SerializeToString()
    return np.frombuffer(packed, "<f4", count, len(packed) - 4 * count).reshape(
        matrix.rows, matrix.columns).copy()


def to_labels(values: npt.ArrayLike) -> list[int]:
    """ValueError: not whole numbers."""
    array = np.asarray(values)
    whole = array.astype(np.int32)
    if array.ndim != 1 or not np.array_equal(whole, array):
        raise ValueError(f"labels: expected whole numbers [rows], got shape {array.shape} of {array.dtype}")
    return list(whole.tolist())


def to_named_tensors(tensors: dict[str, npt.ArrayLike]) -> Sequence[NamedTensor]:
    """The messages of a state_dict; anything that numpy takes for an array, torch's tensors too."""
    messages = []
    for name, values in tensors.items():
        array = np.asarray(values)
        counter = np.issubdtype(array.dtype, np.integer)
        messages.append(NamedTensor(
            name=name, shape=array.shape,
            values=[] if counter else array.astype(np.float32).ravel().tolist(),
            int64_values=array.ravel().tolist() if counter else []))
    return messages


def from_named_tensor(tensor: NamedTensor) -> Array:
    counter = bool(tensor.int64_values)
    values: Any = tensor.int64_values if counter else tensor.values
    return np.array(values, np.int64 if counter else np.float32).reshape(tuple(tensor.shape))


def _varint(number: int) -> bytes:
    """As protobuf writes lengths: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(encoded + bytes([number]))
