"""What can go wrong, by gRPC's canonical codes and the server's stable reasons."""

from __future__ import annotations

from typing import Any, Optional

import grpc

from . import details


class LazynormError(Exception):
    """A call that did not succeed. Each canonical code has a subclass of its own.

    code: the grpc.StatusCode.
    message: names the field, what was expected and what was given.
    reason: stable, such as "WIDTH_MISMATCH"; "" if the answer is not the server's own.
    field: the part of the request at fault, such as "features.values[17]", or "".
    retry_after: seconds after which the server expects the same call to succeed, or None.
    """

    def __init__(self, code: Any, message: str, reason: str = "", field: str = "",
                 retry_after: Optional[float] = None):
        super().__init__(code, message, reason, field, retry_after)
        self.code = code
        self.message = message
        self.reason = reason
        self.field = field
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.code.name}{f' ({self.reason})' if self.reason else ''}: {self.message}"


class InvalidArgument(LazynormError, ValueError):
    """The request is wrong, whatever the state of the server; `field` says where."""


class NotFound(LazynormError, LookupError):
    """No such model, checkpoint or remembered prediction."""


class AlreadyExists(LazynormError):
    """The id is taken."""


class FailedPrecondition(LazynormError):
    """Not in the state that the model is in."""


class Aborted(LazynormError):
    """The step would not have been finite and was undone."""


class OutOfRange(LazynormError):
    """A step that is no longer kept."""


class ResourceExhausted(LazynormError):
    """A limit or a queue is full."""


class Unavailable(LazynormError, ConnectionError):
    """Not reached, starting, or shutting down."""


class DeadlineExceeded(LazynormError, TimeoutError):
    """No answer in time."""


class Unauthenticated(LazynormError, PermissionError):
    """The server asks for a token."""


class PermissionDenied(LazynormError, PermissionError):
    """The token is not good for this call."""


_CLASSES = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRange,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
}


def from_rpc(error: Any) -> LazynormError:
    """The LazynormError of a grpc.RpcError that a call ended with."""
    code, message = error.code(), error.details() or ""
    if code == grpc.StatusCode.UNKNOWN and "Stream removed" in message:
        code = grpc.StatusCode.UNAVAILABLE  # how gRPC sometimes tells that the connection broke
    found = details.read(error.trailing_metadata() or ())
    if code == grpc.StatusCode.CANCELLED and not found.reason:
        # A server that shuts down as the call arrives; we cancel nothing that is waited for.
        code = grpc.StatusCode.UNAVAILABLE
    return _CLASSES.get(code, LazynormError)(code, message, found.reason, found.field, found.retry_after)
