"""Hashes of events, pinned for ever by golden vectors: ``HASH_VERSION`` changes if a single bit of them does.

* **placement hash**: XXH64 (seed 0) of the UTF-8 of ``distinct_id``; for anonymous events the identity hash, so that
  retries meet. Its top 12 bits are the **slot**.
* **identity hash**: 64 bits over (tenant, event, distinct_id, time, insert_id). It finds candidates only; equality of
  the five fields decides.

XXH64: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.batch import EventBatch
from evenshard.kernels import kernel, view

HASH_VERSION = 1
SLOT_COUNT = 4096
SLOT_SHIFT = 52
NO_IDENTITY = 0
"""The identity hash of an event without insert_id: it is never a duplicate."""

_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)

UInt8 = npt.NDArray[np.uint8]
UInt64 = npt.NDArray[np.uint64]


@kernel(inline=True)
def _rotate(value, bits):  # type: ignore[no-untyped-def]
    return (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))


# Indices are unsigned (and loads unrolled): for a signed one numba asks at each access whether it counts from the end.
_1, _2, _3, _4, _5, _6, _7, _8 = (np.uint64(number) for number in range(1, 9))
_16, _24, _32, _40, _48, _56 = (np.uint64(number) for number in range(16, 57, 8))


@kernel(inline=True)
def load32(data, at):  # type: ignore[no-untyped-def]
    """Four bytes from ``data[at]`` (uint8; ``at``: uint64) as little-endian uint64. To be called from kernels."""
    return (
        np.uint64(data[at])
        | (np.uint64(data[at + _1]) << _8)
        | (np.uint64(data[at + _2]) << _16)
        | (np.uint64(data[at + _3]) << _24)
    )


@kernel(inline=True)
def load64(data, at):  # type: ignore[no-untyped-def]
    """Eight bytes from ``data[at]`` (uint8; ``at``: uint64) as little-endian uint64. To be called from kernels."""
    return (
        np.uint64(data[at])
        | (np.uint64(data[at + _1]) << _8)
        | (np.uint64(data[at + _2]) << _16)
        | (np.uint64(data[at + _3]) << _24)
        | (np.uint64(data[at + _4]) << _32)
        | (np.uint64(data[at + _5]) << _40)
        | (np.uint64(data[at + _6]) << _48)
        | (np.uint64(data[at + _7]) << _56)
    )


@kernel(inline=True)
def _round(accumulator, lane):  # type: ignore[no-untyped-def]
    return _rotate(accumulator + lane * _P2, 31) * _P1


@kernel(inline=True)
def _avalanche(value):  # type: ignore[no-untyped-def]
    value = (value ^ (value >> np.uint64(33))) * _P2
    value = (value ^ (value >> np.uint64(29))) * _P3
    return value ^ (value >> np.uint64(32))


@kernel(inline=True)
def xxh64(data, start, end):  # type: ignore[no-untyped-def]
    """XXH64 with seed 0 of ``data[start:end]`` (uint8), as uint64. To be called from kernels."""
    at, stop = np.uint64(start), np.uint64(end)
    length = stop - at
    if length >= _32:
        a, b, c, d = _P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1
        while at + _32 <= stop:
            a = _round(a, load64(data, at))
            b = _round(b, load64(data, at + _8))
            c = _round(c, load64(data, at + _16))
            d = _round(d, load64(data, at + _24))
            at += _32
        value = _rotate(a, 1) + _rotate(b, 7) + _rotate(c, 12) + _rotate(d, 18)
        for lane in (a, b, c, d):
            value = (value ^ _round(np.uint64(0), lane)) * _P1 + _P4
    else:
        value = _P5
    value += length
    while at + _8 <= stop:
        value = _rotate(value ^ _round(np.uint64(0), load64(data, at)), 27) * _P1 + _P4
        at += _8
    if at + _4 <= stop:
        value = _rotate(value ^ (load32(data, at) * _P1), 23) * _P2 + _P3
        at += _4
    while at < stop:
        value = _rotate(value ^ (np.uint64(data[at]) * _P5), 11) * _P1
        at += _1
    return _avalanche(value)


@kernel(f"void({view('int32')}, {view('uint8')}, uint64[::1])")
def hash_strings(offsets, data, out):  # type: ignore[no-untyped-def]
    """``out[i]`` = XXH64 of string i of an Arrow utf8 array."""
    for i in range(np.uint64(out.size)):
        out[i] = xxh64(data, offsets[i], offsets[i + _1])


@kernel(inline=True)
def _identity(tenant_hash, event, user, time, insert):  # type: ignore[no-untyped-def]
    """The identity hash of the hashes of its fields; never 0."""
    value = _round(tenant_hash, event)
    value = _rotate(value ^ _round(np.uint64(0), user), 27) * _P1 + _P4
    value = _rotate(value ^ _round(np.uint64(0), time), 27) * _P1 + _P4
    value = _rotate(value ^ _round(np.uint64(0), insert), 27) * _P1 + _P4
    value = _avalanche(value)
    return np.uint64(1) if value == 0 else value


@kernel(
    f"void(uint64, {view('int32')}, {view('uint64')}, {view('int32')}, {view('uint8')}, {view('int64')},"
    f"{view('int32')}, {view('uint8')}, {view('boolean')}, uint64[::1], uint64[::1])"
)
def _hash_events(  # type: ignore[no-untyped-def]
    tenant_hash,
    event_codes,
    event_hashes,
    id_offsets,
    id_data,
    times,
    insert_offsets,
    insert_data,
    has_insert,
    placement,
    identity,
):
    for i in range(np.uint64(placement.size)):
        user = xxh64(id_data, id_offsets[i], id_offsets[i + _1])
        # A missing insert_id hashes as empty, whatever bytes its slot holds.
        insert_end = insert_offsets[i + _1] if has_insert[i] else insert_offsets[i]
        insert = xxh64(insert_data, insert_offsets[i], insert_end)
        value = _identity(tenant_hash, event_hashes[np.uint64(event_codes[i])], user, np.uint64(times[i]), insert)
        placement[i] = value if id_offsets[i] == id_offsets[i + _1] else user
        identity[i] = value if has_insert[i] else np.uint64(0)


@dataclass(frozen=True, slots=True)
class StringBuffers:
    """An Arrow utf8 array as numpy views: string i is ``data[offsets[i]:offsets[i+1]]``. Nulls look empty or not: ask
    ``valid``. dtypes int32, uint8, bool."""

    offsets: npt.NDArray[np.int32]
    data: UInt8
    valid: npt.NDArray[np.bool_]


_NO_BYTES = np.zeros(0, np.uint8)


def string_buffers(array: pa.StringArray) -> StringBuffers:
    """Views of a utf8 array (sliced ones too); nothing is copied but the validity."""
    _, offsets_buffer, data_buffer = array.buffers()
    rows = len(array)
    if rows == 0 or offsets_buffer is None:
        offsets = np.zeros(rows + 1, np.int32)
    else:
        # By count: a stream from outside may give its buffers any size that is large enough.
        offsets = np.frombuffer(offsets_buffer, np.int32, rows + 1, array.offset * 4)
    data = _NO_BYTES if data_buffer is None else np.frombuffer(data_buffer, np.uint8)
    valid = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else np.ones(rows, np.bool_)
    return StringBuffers(offsets, data, valid)


def hash_of(text: str) -> int:
    """XXH64 (seed 0) of one string."""
    data = text.encode()
    out = np.empty(1, np.uint64)
    hash_strings(np.array([0, len(data)], np.int32), np.frombuffer(data, np.uint8) if data else _NO_BYTES, out)
    return int(out[0])


@dataclass(frozen=True, slots=True)
class EventHashes:
    """uint64, one an event: where it is placed, and what finds its duplicates (``NO_IDENTITY``: nothing does)."""

    placement: UInt64
    identity: UInt64


def hash_events(tenant: str, batch: EventBatch) -> EventHashes:
    """Placement and identity hashes of a batch."""
    record = batch.record
    events = record.column("event")
    names = string_buffers(events.dictionary)
    event_hashes = np.empty(len(events.dictionary), np.uint64)
    hash_strings(names.offsets, names.data, event_hashes)
    ids = string_buffers(record.column("distinct_id"))
    inserts = string_buffers(record.column("insert_id"))
    placement = np.empty(batch.rows, np.uint64)
    identity = np.empty(batch.rows, np.uint64)
    _hash_events(
        np.uint64(hash_of(tenant)),
        events.indices.to_numpy(),
        event_hashes,
        ids.offsets,
        ids.data,
        record.column("time").to_numpy(),
        inserts.offsets,
        inserts.data,
        inserts.valid,
        placement,
        identity,
    )
    return EventHashes(placement, identity)


@kernel(
    f"void(uint64, {view('int32')}, {view('uint64')}, {view('uint64')}, {view('boolean')}, {view('int64')},"
    f"{view('int32')}, {view('uint8')}, {view('boolean')}, uint64[::1])"
)
def _hash_identities(  # type: ignore[no-untyped-def]
    tenant_hash,
    event_codes,
    event_hashes,
    placement,
    anonymous,
    times,
    insert_offsets,
    insert_data,
    has_insert,
    identity,
):
    for i in range(np.uint64(identity.size)):
        if not has_insert[i]:
            identity[i] = np.uint64(0)
        elif anonymous[i]:
            identity[i] = placement[i]
        else:
            insert = xxh64(insert_data, insert_offsets[i], insert_offsets[i + _1])
            identity[i] = _identity(
                tenant_hash, event_hashes[np.uint64(event_codes[i])], placement[i], np.uint64(times[i]), insert
            )


def identity_hashes(
    tenant: str,
    events: pa.DictionaryArray,
    placement: UInt64,
    anonymous: npt.NDArray[np.bool_],
    times: npt.NDArray[np.int64],
    inserts: pa.StringArray,
) -> UInt64:
    """The identity hashes of events whose placement hashes are known, those of their users: ``hash_events`` computes
    the same. ``anonymous``: an event's ``distinct_id`` is empty."""
    names, strings = string_buffers(events.dictionary), string_buffers(inserts)
    event_hashes = np.empty(len(events.dictionary), np.uint64)
    hash_strings(names.offsets, names.data, event_hashes)
    identity = np.empty(placement.size, np.uint64)
    _hash_identities(
        np.uint64(hash_of(tenant)),
        events.indices.to_numpy(),
        event_hashes,
        placement,
        anonymous,
        times,
        strings.offsets,
        strings.data,
        strings.valid,
        identity,
    )
    return identity


def spread_hashes(tenant: str, batch: EventBatch, placement: UInt64) -> UInt64:
    """Where events of hot keys are placed: the identity hash of each, a missing insert_id hashing as empty.
    ``placement``: of each its user's, as ``hash_events`` gives it; nobody is anonymous."""
    record = batch.record
    return identity_hashes(
        tenant,
        record.column("event"),
        placement,
        np.zeros(batch.rows, np.bool_),
        record.column("time").to_numpy(),
        record.column("insert_id").fill_null(""),
    )


def slots_of(placement: UInt64) -> npt.NDArray[np.int64]:
    """The slot (0 to 4,095) of each placement hash."""
    return (placement >> np.uint64(SLOT_SHIFT)).astype(np.int64)
