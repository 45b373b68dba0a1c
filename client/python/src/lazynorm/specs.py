"""Specs that are more than a few words to write."""

from __future__ import annotations

from typing import Any, Sequence

from .v1.spec_pb2 import ModelSpec

_BATCH_NORM = {"batch_norm": {"momentum": 0.003, "training_statistics": "TRAINING_STATISTICS_RUNNING"}}
_REPLAY = {"capacity": 10000, "rows_per_step": 64}


def stream_spec(hidden: Sequence[int] = (32, 16), out_features: int = 1, *,
                loss: str = "LOSS_KIND_MSE", lr: float = 0.01, seed: int = 0,
                **fields: Any) -> ModelSpec:
    """What learns well on streams: rows in order, a few at a time, from a world that changes.

    The same model as `lazynorm create --preset stream`: running statistics in training, so that one
    row is enough; regression targets normalised; four experts, two of which replay past rows.
    `fields` are further ones of the spec, such as class_names.
    """
    layers: list[dict[str, Any]] = [_BATCH_NORM]
    for width in hidden:
        layers += [{"linear": {"out_features": width}}, _BATCH_NORM,
                   {"activation": {"kind": "ACTIVATION_KIND_RELU"}}]
    layers.append({"linear": {"out_features": out_features}})
    classifies = loss in ("LOSS_KIND_CROSS_ENTROPY", "LOSS_KIND_BCE_WITH_LOGITS")
    learning = {
        "clip_grad_norm": 1.0,
        "normalize_targets": not classifies,
        "experts": [{"updates_per_request": 1}, {"updates_per_request": 1, "replay": _REPLAY},
                    {"updates_per_request": 6, "replay": _REPLAY}, {"updates_per_request": 4}],
    }
    return ModelSpec(layers=layers, loss={"kind": loss}, optimizer={"adam": {"lr": lr}},
                     learning=learning, seed=seed, **fields)
