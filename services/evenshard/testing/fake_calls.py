"""How the services of a fake cluster answer what they refuse."""

from typing import Any, Final

import grpc

from evenshard.errors import CODES, EvenshardError
from evenshard.wire.status import to_status, trailing_metadata

Row = dict[str, Any]
TRACE_ID: Final = "0123456789abcdef" * 2


def refuse(context: Any, error: EvenshardError) -> None:
    """Ends the call as a real service would."""
    error.trace_id = TRACE_ID
    status = to_status(error)
    context.set_trailing_metadata(trailing_metadata(error))
    context.abort(getattr(grpc.StatusCode, CODES[error.code].grpc_status), status.message)
