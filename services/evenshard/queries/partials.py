"""A shard's part of an answer as it travels: an Arrow table in one message."""

from typing import Final

import pyarrow as pa

PARTIAL_BYTES_MAX: Final = 60 << 20
"""Less than services send each other in one message."""
_COMPRESSED_ABOVE_BYTES: Final = 4 << 20


def write_partial(table: pa.Table) -> bytes:
    """A partial as it travels: compressing one of usual size takes longer than sending what it saves."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4" if table.nbytes > _COMPRESSED_ABOVE_BYTES else None)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    result: bytes = sink.getvalue().to_pybytes()
    return result


def read_partial(data: bytes) -> pa.Table:
    """What ``write_partial`` wrote."""
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()
