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


def count_request(tenant: str, keys: pa.RecordBatch, count_min: int = 0) -> counter_pb2.CountEventsRequest:
    """``keys`` has the schema ``KEY_SCHEMA``; the answer shall name those that have ``count_min`` or more; 0: none."""
    return counter_pb2.CountEventsRequest(tenant=tenant, arrow_ipc=_written(keys), count_min=count_min)


def keys_of(request: counter_pb2.CountEventsRequest) -> pa.RecordBatch:
    """Raises ``PAYLOAD_INVALID``."""
    return _read(request.arrow_ipc, KEY_SCHEMA)


def count_response(keys: pa.RecordBatch, counts: Int64, count_min: int) -> counter_pb2.CountEventsResponse:
    """``counts``: what the counter now has of each of ``keys``."""
    chosen = counts >= count_min
    if count_min <= 0 or not chosen.any():
        return counter_pb2.CountEventsResponse()
    counted = pa.RecordBatch.from_arrays([*keys.columns[:2], pa.array(counts)], schema=KEY_SCHEMA)
    return counter_pb2.CountEventsResponse(arrow_ipc=_written(counted.filter(pa.array(chosen))))


def counts_of_response(response: counter_pb2.CountEventsResponse) -> pa.RecordBatch:
    """The keys that were named. Raises ``PAYLOAD_INVALID``."""
    if not response.arrow_ipc:
        return pa.RecordBatch.from_pylist([], schema=KEY_SCHEMA)
    return _read(response.arrow_ipc, KEY_SCHEMA)


def lookup_request(tenant: str, keys: pa.RecordBatch) -> counter_pb2.GetCountsRequest:
    """``keys`` has the schema ``NAME_SCHEMA``."""
    return counter_pb2.GetCountsRequest(tenant=tenant, arrow_ipc=_written(keys))


def names_of(request: counter_pb2.GetCountsRequest) -> pa.RecordBatch:
    """Raises ``PAYLOAD_INVALID``."""
    return _read(request.arrow_ipc, NAME_SCHEMA)


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


def _written(keys: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, keys.schema) as writer:
        writer.write_batch(keys)
    result: bytes = sink.getvalue().to_pybytes()
    return result


def _read(data: bytes, schema: pa.Schema) -> pa.RecordBatch:
    try:
        with pa.ipc.open_stream(data) as reader:
            keys = reader.read_next_batch()
        keys.validate(full=True)
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise EvenshardError("PAYLOAD_INVALID", f"the counts cannot be read: {error}") from error
    if keys.schema != schema or any(column.null_count for column in keys.columns):
        wanted = ", ".join(f"{field.name} {field.type}" for field in schema)
        raise EvenshardError("PAYLOAD_INVALID", f"the counts need {wanted}, no nulls")
    return keys
