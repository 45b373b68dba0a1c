"""The rich part of an error (google.rpc.Status in grpc-status-details-bin), and health's messages.

Their descriptors are kept in a pool of their own: a program that also uses another distribution of
google.rpc or grpc.health would otherwise hold two files of one name, which protobuf refuses.
"""

from __future__ import annotations

import importlib.resources
from typing import Any, Iterable, NamedTuple, Optional

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.message import DecodeError


def _messages() -> dict[str, Any]:
    files = descriptor_pb2.FileDescriptorSet.FromString(
        importlib.resources.files(__package__).joinpath("details.binpb").read_bytes())
    return dict(message_factory.GetMessages(files.file))


_MESSAGES = _messages()
_PREFIX = "type.googleapis.com/"

HealthCheckRequest = _MESSAGES["grpc.health.v1.HealthCheckRequest"]
HealthCheckResponse = _MESSAGES["grpc.health.v1.HealthCheckResponse"]


class Details(NamedTuple):
    """What the server says of an error beside its code and message."""

    reason: str = ""
    field: str = ""
    retry_after: Optional[float] = None


def read(trailing_metadata: Iterable[tuple[str, Any]]) -> Details:
    """The details in a call's trailing metadata; empty ones where there are none to be read."""
    packed = next((value for key, value in trailing_metadata if key == "grpc-status-details-bin"), b"")
    found = Details()
    try:
        for detail in _MESSAGES["google.rpc.Status"].FromString(packed).details:
            name = detail.type_url[len(_PREFIX):] if detail.type_url.startswith(_PREFIX) else ""
            if name == "google.rpc.ErrorInfo":
                found = found._replace(reason=_MESSAGES[name].FromString(detail.value).reason)
            elif name == "google.rpc.BadRequest":
                for violation in _MESSAGES[name].FromString(detail.value).field_violations[:1]:
                    found = found._replace(field=violation.field)
            elif name == "google.rpc.RetryInfo":
                delay = _MESSAGES[name].FromString(detail.value).retry_delay
                found = found._replace(retry_after=delay.seconds + delay.nanos / 1e9)
    except DecodeError:
        pass  # what could be read counts; the code and the message are there anyway
    return found
