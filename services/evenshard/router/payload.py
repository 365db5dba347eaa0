"""Opens a payload: decompresses it within a bound, decodes it. Pure, but long: call it in a thread.

The size of a request as sent is bounded before it gets here (``runtime.interceptor``).
"""

from collections.abc import Callable
from typing import assert_never

import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.arrow_codec import decode_arrow
from evenshard.events.ndjson_codec import decode_ndjson
from evenshard.events.rejects import Decoded
from evenshard.events.rows_codec import decode_rows
from evenshard.wire.ingest import Import
from evenshard.wire.rows import rows_of

PAYLOAD_BYTES_MAX = 64 << 20
"""Of a payload when decompressed."""
_READ_BYTES = 4 << 20


def decompress(asked: Import) -> bytes:
    """The payload without its compression. Raises ``REQUEST_TOO_LARGE`` or ``PAYLOAD_INVALID``."""
    if asked.compressor == "none":
        return asked.payload
    pieces: list[bytes] = []
    size = 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(asked.payload), asked.compressor) as stream:
            while piece := stream.read(min(_READ_BYTES, PAYLOAD_BYTES_MAX + 1 - size)):
                pieces.append(piece)
                size += len(piece)
                if size > PAYLOAD_BYTES_MAX:
                    raise EvenshardError(
                        "REQUEST_TOO_LARGE",
                        f"the payload has more than {PAYLOAD_BYTES_MAX:,} bytes when decompressed",
                    )
    except (OSError, pa.ArrowException) as error:
        raise EvenshardError("PAYLOAD_INVALID", f"the payload is not whole {asked.compressor}: {error}") from error
    return b"".join(pieces)


def decode(asked: Import, strict: Callable[[str], bool], now_ms: int) -> Decoded:
    """The events of a payload. ``strict`` says of a tenant whether its own settings are.

    Raises what ``decompress`` and the codecs raise.
    """
    data = decompress(asked)
    if not data:
        return Decoded((), (), 0)
    match asked.encoding:
        case "ndjson":
            return decode_ndjson(
                data, tenant=asked.tenant, strict=lambda tenant: asked.strict or strict(tenant), now_ms=now_ms
            )
        case "arrow":
            return decode_arrow(data, tenant=asked.tenant, strict=asked.strict or strict(asked.tenant), now_ms=now_ms)
        case "rows":
            return decode_rows(
                rows_of(data), tenant=asked.tenant, strict=asked.strict or strict(asked.tenant), now_ms=now_ms
            )
    assert_never(asked.encoding)
