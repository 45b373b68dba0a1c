"""How to reach a server, and as whom."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import Any, Optional, Union

import grpc

from .v1 import model_service_pb2_grpc, prediction_service_pb2_grpc, training_service_pb2_grpc

Path = Union[str, "pathlib.PurePath"]

_OPTIONS = [
    ("grpc.lb_policy_name", "round_robin"),  # all addresses behind the name are used in turn
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.max_receive_message_length", -1),  # a model's state may be large
    ("grpc.max_send_message_length", -1),
]


@dataclass(frozen=True)
class Connection:
    """Where a server is and how it is spoken to; ValueError for what contradicts itself."""

    address: str
    tls: bool = False
    tls_ca: Optional[Path] = None
    client_cert: Optional[Path] = None
    client_key: Optional[Path] = None
    token: Optional[str] = None

    def __post_init__(self) -> None:
        if (self.client_cert is None) != (self.client_key is None):
            raise ValueError("client_cert, client_key: expected both or none")
        if self.token is not None and not self._secure() and not self._local():
            raise ValueError("token: expected TLS (tls or tls_ca): a token in plain text is for all to read")

    def open(self, grpc_module: Any) -> Any:
        """A channel of `grpc_module`, which is grpc or grpc.aio."""
        if not self._secure():
            return grpc_module.insecure_channel(self.address, options=_OPTIONS)
        credentials = grpc.ssl_channel_credentials(
            _read(self.tls_ca), _read(self.client_key), _read(self.client_cert))
        return grpc_module.secure_channel(self.address, credentials, options=_OPTIONS)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with every call."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)

    def _secure(self) -> bool:
        return self.tls or self.tls_ca is not None or self.client_cert is not None

    def _local(self) -> bool:
        return self.address.startswith(("unix:", "localhost:", "127.", "[::1]:"))


class Stubs:
    """The three services over a channel, by name."""

    def __init__(self, channel: Any):
        makers: dict[str, Any] = {
            "ModelService": model_service_pb2_grpc.ModelServiceStub,
            "TrainingService": training_service_pb2_grpc.TrainingServiceStub,
            "PredictionService": prediction_service_pb2_grpc.PredictionServiceStub,
        }
        self._services = {name: make(channel) for name, make in makers.items()}
        self._health = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=lambda answer: answer)

    def method(self, name: str) -> Any:
        """The multi-callable of "Service/Method"."""
        if name == "Health/Check":
            return self._health
        service, method = name.split("/")
        return getattr(self._services[service], method)


def _read(path: Optional[Path]) -> Optional[bytes]:
    return None if path is None else pathlib.Path(path).read_bytes()
