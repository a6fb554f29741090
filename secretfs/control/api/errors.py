"""The one place that turns an error into a status and a message.

What swarmkit answers passes through gRPC, so Docker's text begins with ``rpc error: code = …``; what the
engine answers itself does not. The class of the error says which of the two it is.
"""

from http import HTTPStatus
from typing import Final

from secretfs.control import log
from secretfs.control.api.http import Response, message
from secretfs.errors import (
    AlreadyExistsError,
    BadRequestError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    OutOfSequenceError,
    PermissionDeniedError,
    PluginNotFoundError,
    PreconditionError,
    SecretfsError,
    StoreFullError,
    UnavailableError,
    UnimplementedError,
    WrongUnlockKeyError,
)

# error, status, gRPC code; the first that fits counts (docker-secrets-behaviour.md, section 5)
_TABLE: Final[tuple[tuple[type[SecretfsError], HTTPStatus, str], ...]] = (
    (InvalidArgumentError, HTTPStatus.BAD_REQUEST, "InvalidArgument"),
    (PreconditionError, HTTPStatus.BAD_REQUEST, "FailedPrecondition"),
    (BadRequestError, HTTPStatus.BAD_REQUEST, ""),
    (NotFoundError, HTTPStatus.NOT_FOUND, ""),
    (AlreadyExistsError, HTTPStatus.CONFLICT, "AlreadyExists"),
    (ConflictError, HTTPStatus.CONFLICT, ""),
    (WrongUnlockKeyError, HTTPStatus.UNAUTHORIZED, ""),
    (OutOfSequenceError, HTTPStatus.INTERNAL_SERVER_ERROR, "Unknown"),
    (PluginNotFoundError, HTTPStatus.INTERNAL_SERVER_ERROR, "Unknown"),
    (UnimplementedError, HTTPStatus.NOT_IMPLEMENTED, "Unimplemented"),
    (PermissionDeniedError, HTTPStatus.FORBIDDEN, "PermissionDenied"),
    (UnavailableError, HTTPStatus.SERVICE_UNAVAILABLE, ""),
    (StoreFullError, HTTPStatus.INSUFFICIENT_STORAGE, ""),
    (SecretfsError, HTTPStatus.INTERNAL_SERVER_ERROR, ""),
)


def response_for(error: SecretfsError) -> Response:
    """What the client gets; a failure that is not the client's is in the log too."""
    status, code = next((status, code) for kind, status, code in _TABLE if isinstance(error, kind))
    text = f"rpc error: code = {code} desc = {error}" if code else str(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("a request failed", status=int(status), error=str(error))
    return message(status, text)
