"""The identity fields of one row group, laid out so that an event is looked up by two small reads of a file.

A *key page*: rows are dealt into buckets by their identity hash, sixteen in each; a record of a row is its time, the
lengths of its three strings, whether it is a duplicate, and these. First stands where each bucket begins (uint32, from
the start of the page; and where the last one ends), then the buckets, each followed by a checksum. Rows without
insert_id are left out. Pages are derived and private to a process: see ``key_scratch.py``.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.batch import EventBatch
from evenshard.events.hashing import (
    EventHashes,
    StringBuffers,
    UInt8,
    UInt64,
    hash_strings,
    identity_hashes,
    load64,
    string_buffers,
    xxh64,
)
from evenshard.events.scan import PLACEMENT_HASH
from evenshard.ids import TenantId
from evenshard.kernels import kernel, view
from evenshard.storage.segment.order import Int64, equal_bytes
from evenshard.storage.segment.reader import SegmentReader

START_BYTES: Final = 4
CHECKSUM_BYTES: Final = 8
_BUCKET_ROWS: Final = 16
_1, _8, _11, _12, _32 = (np.uint64(number) for number in (1, 8, 11, 12, 32))
_COPY_AT, _RECORD_BYTES = _11, _12
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@kernel(inline=True)
def _bucket(identity, buckets):  # type: ignore[no-untyped-def]
    return ((identity >> _32) * buckets) >> _32


@kernel(inline=True)
def _put(value, size, out, at):  # type: ignore[no-untyped-def]
    """Little-endian."""
    for byte in range(np.uint64(size)):
        out[at + byte] = np.uint8((value >> (byte * _8)) & np.uint64(0xFF))


@kernel(f"int64({view('uint64')}, uint64, {view('int32')}, {view('int32')}, {view('int32')}, {view('int32')},"
        f"{view('int32')}, int64[::1])")  # fmt: skip
def _measure(identity, buckets, id_codes, ids, event_codes, events, inserts, ends):  # type: ignore[no-untyped-def]
    """Where each bucket begins in the page, into ``ends``; returns the bytes of the page."""
    ends[:] = 0
    for row in range(np.uint64(identity.size)):
        if identity[row] != 0:
            code, event = np.uint64(id_codes[row]), np.uint64(event_codes[row])
            ends[_bucket(identity[row], buckets)] += (
                np.int64(_RECORD_BYTES)
                + (ids[code + _1] - ids[code])
                + (events[event + _1] - events[event])
                + (inserts[row + _1] - inserts[row])
            )
    at = np.int64(4 * (buckets + _1))
    for bucket in range(buckets):
        size = ends[bucket]
        ends[bucket] = at
        at += size + 8
    return at


@kernel(inline=True)
def _copy(data, start, end, out, at):  # type: ignore[no-untyped-def]
    for byte in range(np.uint64(end) - np.uint64(start)):
        out[at + byte] = data[np.uint64(start) + byte]
    return at + (np.uint64(end) - np.uint64(start))


@kernel(f"void({view('uint64')}, uint64, uint64, {view('int32')}, {view('int32')}, {view('uint8')}, {view('int32')},"
        f"{view('int32')}, {view('uint8')}, {view('int64')}, {view('int32')}, {view('uint8')}, {view('boolean')},"
        "int64[::1], uint8[::1])")  # fmt: skip
def _lay_out(  # type: ignore[no-untyped-def]
    identity, buckets, nonce, id_codes, ids, id_data, event_codes, events, event_data, times, inserts, insert_data,
    copies, ends, out,
):  # fmt: skip
    """Writes the page. ``ends``: as of ``_measure``."""
    for bucket in range(buckets):
        _put(np.uint64(ends[bucket]), 4, out, bucket * np.uint64(4))
    _put(np.uint64(out.size), 4, out, buckets * np.uint64(4))
    for row in range(np.uint64(identity.size)):
        if identity[row] == 0:
            continue
        bucket = _bucket(identity[row], buckets)
        code, event = np.uint64(id_codes[row]), np.uint64(event_codes[row])
        at = np.uint64(ends[bucket])
        _put(np.uint64(times[row]), 8, out, at)
        out[at + _8] = np.uint8(ids[code + _1] - ids[code])
        out[at + _8 + _1] = np.uint8(events[event + _1] - events[event])
        out[at + _8 + _1 + _1] = np.uint8(inserts[row + _1] - inserts[row])
        out[at + _COPY_AT] = copies[row]
        at += _RECORD_BYTES
        at = _copy(id_data, ids[code], ids[code + _1], out, at)
        at = _copy(event_data, events[event], events[event + _1], out, at)
        ends[bucket] = np.int64(_copy(insert_data, inserts[row], inserts[row + _1], out, at))
    start = np.uint64(4) * (buckets + _1)
    for bucket in range(buckets):
        end = np.uint64(ends[bucket])
        _put(xxh64(out, start, end) ^ (nonce + bucket * _SPREAD), 8, out, end)
        start = end + _8


@kernel(f"int64({view('int64')}, {view('uint64')}, {view('uint64')}, {view('uint64')}, {view('int32')},"
        f"{view('uint8')}, {view('int64')}, {view('int32')}, {view('int32')}, {view('uint8')}, {view('int32')},"
        f"{view('uint8')}, {view('uint8')}, {view('int64')}, {view('int64')}, boolean, boolean[::1])")  # fmt: skip
def _find(  # type: ignore[no-untyped-def]
    wanted, identity, buckets, nonces, ids, id_data, times, event_codes, events, event_data, inserts, insert_data,
    data, starts, ends, copies_count, found,
):  # fmt: skip
    """``found[i]``: row ``wanted[i]`` of the batch is in the bucket that stands in ``data`` from ``starts[i]`` to
    ``ends[i]``, as an original or, where ``copies_count``, at all. Returns -1, or the first bucket whose checksum is
    wrong."""
    for i in range(wanted.size):
        row = np.uint64(wanted[i])
        found[i] = False
        if ends[i] - starts[i] < 8 or ends[i] > data.size:
            return np.int64(i)
        at, end = np.uint64(starts[i]), np.uint64(ends[i]) - _8
        bucket = _bucket(identity[row], buckets[i])
        if xxh64(data, at, end) ^ (nonces[i] + bucket * _SPREAD) != load64(data, end):
            return np.int64(i)
        event = np.uint64(event_codes[row])
        while at < end:
            id_at = at + _RECORD_BYTES
            event_at = id_at + np.uint64(data[at + _8])
            insert_at = event_at + np.uint64(data[at + _8 + _1])
            next_at = insert_at + np.uint64(data[at + _8 + _1 + _1])
            if (
                load64(data, at) == np.uint64(times[row])
                and (copies_count or data[at + _COPY_AT] == 0)
                and equal_bytes(data, insert_at, next_at, insert_data, inserts[row], inserts[row + _1])
                and equal_bytes(data, id_at, event_at, id_data, ids[row], ids[row + _1])
                and equal_bytes(data, event_at, insert_at, event_data, events[event], events[event + _1])
            ):
                found[i] = True
                break
            at = next_at
    return np.int64(-1)


@kernel(f"void({view('int64')}, {view('uint64')}, {view('uint64')}, int64[::1])")
def buckets_of(wanted, identity, buckets, out):  # type: ignore[no-untyped-def]
    """The bucket of each row ``wanted[i]`` of a batch, in a page with ``buckets[i]`` of them."""
    for i in range(wanted.size):
        out[i] = np.int64(_bucket(identity[wanted[i]], buckets[i]))


@dataclass(frozen=True, slots=True)
class BatchKeys:
    """The identity fields and hashes of a batch as numpy views."""

    placement: UInt64
    identity: UInt64
    ids: StringBuffers
    times: Int64
    event_codes: npt.NDArray[np.int32]
    events: StringBuffers
    inserts: StringBuffers

    @staticmethod
    def of(batch: EventBatch, hashes: EventHashes) -> "BatchKeys":
        record = batch.record
        events = record.column("event")
        return BatchKeys(
            hashes.placement,
            hashes.identity,
            string_buffers(record.column("distinct_id")),
            record.column("time").to_numpy(),
            events.indices.to_numpy(),
            string_buffers(events.dictionary),
            string_buffers(record.column("insert_id")),
        )

    def in_buckets(
        self,
        rows: Int64,
        buckets: UInt64,
        nonces: UInt64,
        data: UInt8,
        starts: Int64,
        ends: Int64,
        *,
        copies_count: bool,
    ) -> npt.NDArray[np.bool_] | None:
        """Of rows with an insert_id: whether an equal event is in the bucket beside each, ``data[starts:ends]`` of a
        page of so many buckets and that nonce; one that is a duplicate where ``copies_count``. None: a checksum is
        wrong."""
        found = np.empty(rows.size, np.bool_)
        wrong = _find(
            rows, self.identity, buckets, nonces, self.ids.offsets, self.ids.data, self.times, self.event_codes,
            self.events.offsets, self.events.data, self.inserts.offsets, self.inserts.data, data, starts, ends,
            copies_count, found,
        )  # fmt: skip
        return found if wrong < 0 else None


@dataclass(frozen=True, slots=True)
class KeyPage:
    """A key page in memory."""

    data: UInt8
    buckets: int
    nonce: int
    """Goes into its checksums: a bucket of another page is never taken for one of this."""

    @property
    def bytes(self) -> int:
        return int(self.data.nbytes)

    def contains(self, keys: BatchKeys, rows: Int64, *, copies_count: bool) -> npt.NDArray[np.bool_]:
        """Of the given rows of a batch, all with an insert_id: whether an equal event is in the page; see
        ``BatchKeys.in_buckets``."""
        buckets, nonces = np.full(rows.size, self.buckets, np.uint64), np.full(rows.size, self.nonce, np.uint64)
        at = np.empty(rows.size, np.int64)
        buckets_of(rows, keys.identity, buckets, at)
        starts = self.data[: START_BYTES * (self.buckets + 1)].view("<u4").astype(np.int64)
        found = keys.in_buckets(rows, buckets, nonces, self.data, starts[at], starts[at + 1], copies_count=copies_count)
        if found is None:
            raise AssertionError("a key page changed in memory")
        return found


def nonce_of(segment_id: int, group: int) -> int:
    """Another one for each row group there ever is."""
    return (segment_id << 20) | group


def lay_out(
    tenant: TenantId,
    nonce: int,
    events: pa.DictionaryArray,
    ids: pa.DictionaryArray,
    times: Int64,
    insert_ids: pa.StringArray,
    copies: npt.NDArray[np.bool_],
) -> KeyPage:
    """The page of the rows of one row group. ``nonce``: as of ``nonce_of``."""
    id_strings, names, inserts = (
        string_buffers(ids.dictionary),
        string_buffers(events.dictionary),
        string_buffers(insert_ids),
    )
    id_codes, event_codes = ids.indices.to_numpy(), events.indices.to_numpy()
    users = np.empty(len(ids.dictionary), np.uint64)
    hash_strings(id_strings.offsets, id_strings.data, users)
    nobody = np.zeros(times.size, np.bool_)  # is placed by its identity, which is what is wanted
    identity = identity_hashes(tenant, events, users[id_codes], nobody, times, insert_ids)
    buckets = max(1, times.size // _BUCKET_ROWS)
    ends = np.empty(buckets, np.int64)
    size = _measure(
        identity, np.uint64(buckets), id_codes, id_strings.offsets, event_codes, names.offsets, inserts.offsets, ends
    )
    data = np.empty(size, np.uint8)
    _lay_out(
        identity, np.uint64(buckets), np.uint64(nonce), id_codes, id_strings.offsets, id_strings.data, event_codes,
        names.offsets, names.data, times, inserts.offsets, inserts.data, copies, ends, data,
    )  # fmt: skip
    return KeyPage(data, buckets, nonce)


def may_hold(reader: SegmentReader, group: int, keys: BatchKeys, rows: Int64) -> bool:
    """Whether any of some rows of a batch may be in a row group, by user and time; reads these alone."""
    record = reader.read_group(group, (PLACEMENT_HASH, "time"))
    placement, times = record.column(PLACEMENT_HASH).to_numpy(), record.column("time").to_numpy()
    firsts = np.searchsorted(placement, keys.placement[rows], "left")
    ends = np.searchsorted(placement, keys.placement[rows], "right")
    wanted = keys.times[rows]
    return any((times[first:end] == at).any() for first, end, at in zip(firsts, ends, wanted, strict=True))
