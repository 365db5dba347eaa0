"""Packs parts into requests to shards: at most one part a tenant in each, none above the size of a message. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from evenshard.events.batch import EventBatch
from evenshard.ids import ShardId
from evenshard.router.partition import Part
from evenshard.wire.shards import AppendRequest, BatchToAppend, append_request, packed

APPEND_BYTES_MAX = 16 << 20
"""Events in one call to a shard; a router splits what is more."""


@dataclass(frozen=True, slots=True, eq=False)
class ShardRequest:
    """One call to a shard: a batch of ``message`` for each of ``parts``."""

    shard: ShardId
    parts: Sequence[Part]
    message: AppendRequest


def pack(parts: Iterable[Part], bytes_max: int = APPEND_BYTES_MAX) -> list[ShardRequest]:
    """Requests that hold every row of ``parts`` once, those of a shard in their order.

    The batches of a request add up to at most ``bytes_max``, unless a single event is larger by itself.
    """
    by_shard: dict[ShardId, list[Part]] = {}
    for part in parts:
        by_shard.setdefault(part.shard, []).append(part)
    return [
        ShardRequest(shard, [part for part, _ in group], append_request([batch for _, batch in group]))
        for shard, its_parts in by_shard.items()
        for group in _groups(its_parts, bytes_max)
    ]


_Encoded = tuple[Part, BatchToAppend]


def _groups(parts: Iterable[Part], bytes_max: int) -> Iterator[list[_Encoded]]:
    group: list[_Encoded] = []
    tenants: set[str] = set()
    size = 0
    for part, batch in (encoded for whole in parts for encoded in _encode(whole, bytes_max)):
        if group and (part.tenant in tenants or size + len(batch.payload) > bytes_max):
            yield group
            group, tenants, size = [], set(), 0
        group.append((part, batch))
        tenants.add(part.tenant)
        size += len(batch.payload)
    yield group


def _encode(part: Part, bytes_max: int) -> Iterator[_Encoded]:
    """The part, halved until each piece fits."""
    part = _with_small_dictionary(part)
    payload = part.batch.to_ipc()
    if len(payload) <= bytes_max or part.rows == 1:
        hot_bits = b"" if part.hot is None else packed(part.hot)
        yield part, BatchToAppend(part.tenant, part.epoch, payload, hot_bits)
        return
    half = part.rows // 2
    yield from _encode(part.slice(0, half), bytes_max)
    yield from _encode(part.slice(half, part.rows - half), bytes_max)


def _with_small_dictionary(part: Part) -> Part:
    """A dictionary travels whole, also with few rows: one that has more names than rows is made anew."""
    record = part.batch.record
    events = record.column(0)
    if len(events.dictionary) <= part.rows:
        return part
    own = events.dictionary_decode().dictionary_encode()
    batch = EventBatch(pa.RecordBatch.from_arrays([own, *record.columns[1:]], schema=record.schema))
    return replace(part, batch=batch)
