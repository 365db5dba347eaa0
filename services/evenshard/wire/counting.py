"""Counts of keys: protobuf ↔ ours."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.api.v1 import counter_pb2
from evenshard.errors import EvenshardError
from evenshard.hotkeys.aggregate import KEY_SCHEMA, NAME_SCHEMA
from evenshard.hotkeys.counting import KeyCount

Int64 = npt.NDArray[np.int64]

_STREAM_END_BYTES = 64
"""Behind the last batch of a stream, and to spare."""


def count_request(tenant: str, batches: Sequence[pa.RecordBatch], count_min: int = 0) -> counter_pb2.CountEventsRequest:
    """``batches``, at least one, have the schema ``KEY_SCHEMA``, or ``NAME_SCHEMA`` where each row is an event; the
    answer shall name the keys that have ``count_min`` or more; 0: none."""
    schema = KEY_SCHEMA if any(len(keys.schema) == len(KEY_SCHEMA) for keys in batches) else NAME_SCHEMA
    written = _written([_with_counts(keys) for keys in batches] if schema is KEY_SCHEMA else batches, schema)
    return counter_pb2.CountEventsRequest(tenant=tenant, arrow_ipc=written, count_min=count_min)


def keys_of(arrow_ipc: bytes) -> list[pa.RecordBatch]:
    """What a counter is told, as ``count_request`` had it. Raises ``PAYLOAD_INVALID``."""
    return _read(arrow_ipc, KEY_SCHEMA, NAME_SCHEMA)


def events_of(keys: pa.RecordBatch) -> int:
    """How many events ``keys``, of ``KEY_SCHEMA`` or ``NAME_SCHEMA``, stand for."""
    return int(np.sum(keys.column("count").to_numpy())) if "count" in keys.schema.names else keys.num_rows


def count_response(counted: Iterable[tuple[pa.RecordBatch, Int64]], count_min: int) -> counter_pb2.CountEventsResponse:
    """``counted``: keys, and what the counter now has of each."""
    named = []
    for keys, counts in counted:
        chosen = counts >= count_min
        if count_min > 0 and chosen.any():
            found = pa.RecordBatch.from_arrays([*keys.columns[:2], pa.array(counts)], schema=KEY_SCHEMA)
            named.append(found.filter(pa.array(chosen)))
    return counter_pb2.CountEventsResponse(arrow_ipc=_written(named, KEY_SCHEMA) if named else b"")


def counts_of_response(response: counter_pb2.CountEventsResponse) -> pa.Table:
    """The keys that were named, one of several batches with each of its counts. Raises ``PAYLOAD_INVALID``."""
    named = _read(response.arrow_ipc, KEY_SCHEMA) if response.arrow_ipc else []
    return pa.Table.from_batches(named, schema=KEY_SCHEMA)


def lookup_request(tenant: str, keys: pa.RecordBatch) -> counter_pb2.GetCountsRequest:
    """``keys`` has the schema ``NAME_SCHEMA``."""
    return counter_pb2.GetCountsRequest(tenant=tenant, arrow_ipc=_written([keys], keys.schema))


def names_of(request: counter_pb2.GetCountsRequest) -> pa.RecordBatch:
    """Raises ``PAYLOAD_INVALID``."""
    batches = _read(request.arrow_ipc, NAME_SCHEMA)
    if len(batches) != 1:
        raise EvenshardError("PAYLOAD_INVALID", f"the keys to look up come in one batch, not in {len(batches)}")
    return batches[0]


def hot_keys_request(
    tenant: str, limit: int, *, count_min: int = 0, hash_from: int = 0
) -> counter_pb2.ListHotKeysRequest:
    """``tenant`` empty: everybody's. With ``count_min`` a page of all that have so many, else the largest."""
    return counter_pb2.ListHotKeysRequest(tenant=tenant, limit=limit, count_min=count_min, hash_from=hash_from)


def hot_keys_response(
    keys: Sequence[KeyCount], count_missing_max: int | None, start_ms: int, listed_from: int, hash_next: int = 0
) -> counter_pb2.ListHotKeysResponse:
    """Counts are never too high, so their ``count_error`` is 0. ``count_missing_max`` None: it is not known."""
    return counter_pb2.ListHotKeysResponse(
        keys=[
            counter_pb2.KeyCount(
                tenant=key.tenant, distinct_id=key.distinct_id, date=key.day.isoformat(), count=key.count
            )
            for key in keys
        ],
        count_missing_max=-1 if count_missing_max is None else count_missing_max,
        counted_from_ms=start_ms,
        listed_from=listed_from,
        hash_next=hash_next,
    )


def forget_request(tenant: str, distinct_ids: Iterable[str]) -> counter_pb2.ForgetUsersRequest:
    return counter_pb2.ForgetUsersRequest(tenant=tenant, distinct_ids=distinct_ids)


def _with_counts(keys: pa.RecordBatch) -> pa.RecordBatch:
    if len(keys.schema) == len(KEY_SCHEMA):
        return keys
    return pa.RecordBatch.from_arrays([*keys.columns, pa.array(np.ones(keys.num_rows, np.int64))], schema=KEY_SCHEMA)


def _written(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> bytes:
    size = schema.serialize().size + sum(pa.ipc.get_record_batch_size(keys) for keys in batches) + _STREAM_END_BYTES
    buffer = pa.allocate_buffer(size)
    sink = pa.FixedSizeBufferWriter(buffer)
    with pa.ipc.new_stream(sink, schema) as writer:
        for keys in batches:
            writer.write_batch(keys)
    result: bytes = buffer.slice(0, sink.tell()).to_pybytes()
    return result


def _read(data: bytes, *schemas: pa.Schema) -> list[pa.RecordBatch]:
    """At least one batch, all of one of ``schemas``."""
    try:
        with pa.ipc.open_stream(data) as reader:
            batches = list(reader)
        for keys in batches:
            keys.validate()  # as shards do: what routers send was looked at when it came in
    except (pa.ArrowException, OSError) as error:
        raise EvenshardError("PAYLOAD_INVALID", f"the counts cannot be read: {error}") from error
    if not batches or batches[0].schema not in schemas or any(c.null_count for keys in batches for c in keys.columns):
        wanted = ", ".join(f"{field.name} {field.type}" for field in schemas[0])
        raise EvenshardError("PAYLOAD_INVALID", f"the counts need {wanted}, no nulls")
    return batches
