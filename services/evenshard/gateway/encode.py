"""Rows of an export as bytes: NDJSON, or Arrow IPC, both in the shape imports take.

The Arrow columns are ``event``, ``distinct_id``, ``time``, ``insert_id`` and ``properties_json`` (and ``duplicate`` if
asked for), the same in every message, so that mixed types lose nothing and it can be imported again.
"""

import pyarrow as pa

from evenshard.events.ndjson_encode import encode_ndjson, properties_json
from evenshard.events.scan import DUPLICATE


def encode_arrow(rows: pa.RecordBatch, show_duplicates: bool) -> bytes:
    """An Arrow IPC stream of one batch."""
    columns = {
        "event": rows.column("event").cast(pa.utf8()),
        "distinct_id": rows.column("distinct_id"),
        "time": rows.column("time"),
        "insert_id": rows.column("insert_id"),
        "properties_json": properties_json(rows),
    }
    if show_duplicates:
        columns["duplicate"] = rows.column(DUPLICATE)
    record = pa.RecordBatch.from_pydict(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, record.schema) as writer:
        writer.write_batch(record)
    result: bytes = sink.getvalue().to_pybytes()
    return result


def encode_lines(rows: pa.RecordBatch, show_duplicates: bool) -> bytes:
    """NDJSON, a line a row; ``"duplicate":true`` at copies if asked for."""
    return encode_ndjson(rows, tenant=None, mark_duplicates=show_duplicates)
