"""Placement and identity hashes are pinned for ever: a change here loses every stored event's place."""

import numpy as np
import pyarrow as pa
import pytest
from evenshard.events.batch import FIELDS, EventBatch
from evenshard.events.hashing import HASH_VERSION, hash_events, hash_of, hash_strings, slots_of

GOLDEN = [
    ("t", "view", "u1", 1767225600000, "i-1", 0x06E8417D0FE6613F, 0x0DD1C6EB6E0FB08E),
    ("t", "view", "u1", 1767225600000, None, 0x06E8417D0FE6613F, 0x0000000000000000),
    ("t", "view", "", 1767225600000, "i-1", 0xA315F3B1FD0CDF31, 0xA315F3B1FD0CDF31),
    ("t", "view", "", 1767225600000, None, 0x061C5C4BC2D7D66C, 0x0000000000000000),
    ("t", "view", "", 1767225600001, None, 0x33F5A6024C0E63A8, 0x0000000000000000),
    ("t2", "view", "u1", 1767225600000, "i-1", 0x06E8417D0FE6613F, 0x3B45DC12033614C7),
    ("t", "buy", "u1", 1767225600000, "i-1", 0x06E8417D0FE6613F, 0xFA5BB2BEE6D03A62),
    ("t", "Ärger 😀", "jürgen", 1767225600000, "a b~!", 0x36B5C434DE265EA8, 0x7EA2885C8DD0FC94),
    ("t", "e" * 255, "x" * 255, 31536000000, "k" * 64, 0x568B95DC7DDBE218, 0x116417C3794B87A8),
    (
        "t",
        "view",
        "exactly-thirty-two-bytes-long-id",
        1767225600123,
        "0123456789abcdef0123456789abcdef",
        0x2798C13EF740E76E,
        0x0B63DF4F7AB5F265,
    ),
    ("t", "view", "seven77", 1, "1234", 0xFC4513A8F84EAF0A, 0x5B4E2102E7FA50DE),
]


def batch(rows: list[tuple[str, str, int, str | None]]) -> EventBatch:
    columns = list(zip(*rows, strict=True))
    arrays = [
        pa.array(columns[0]).dictionary_encode(),
        pa.array(columns[1]),
        pa.array(columns[2], pa.int64()),
        pa.array(columns[3], pa.utf8()),
    ]
    return EventBatch(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(FIELDS)))


def test_hashes_are_those_of_version_1() -> None:
    assert HASH_VERSION == 1
    for tenant, *fields, placement, identity in GOLDEN:
        hashes = hash_events(tenant, batch([tuple(fields)]))  # type: ignore[list-item]
        assert (int(hashes.placement[0]), int(hashes.identity[0])) == (placement, identity), fields


def test_rows_of_one_batch_hash_as_they_do_alone() -> None:
    rows = [row for row in GOLDEN if row[0] == "t"]
    together = batch([row[1:5] for row in rows])
    hashes = hash_events("t", together)
    assert hashes.placement.tolist() == [row[5] for row in rows]
    assert hashes.identity.tolist() == [row[6] for row in rows]
    sliced = hash_events("t", EventBatch(together.record.slice(2, 4)))
    assert sliced.placement.tolist() == [row[5] for row in rows[2:6]]
    assert sliced.identity.tolist() == [row[6] for row in rows[2:6]]


def test_a_missing_insert_id_hashes_as_empty_whatever_its_slot_holds() -> None:
    clean = batch([("view", "", 1767225600000, None)])
    dirty = pa.Array.from_buffers(
        pa.utf8(), 1, [pa.py_buffer(b"\0"), pa.py_buffer(np.array([0, 3], np.int32)), pa.py_buffer(b"abc")]
    )
    arrays = [*clean.record.columns[:3], dirty]
    record = pa.RecordBatch.from_arrays(arrays, schema=clean.record.schema)
    assert hash_events("t", EventBatch(record)).placement.tolist() == [GOLDEN[3][5]]


def test_slots_are_the_top_12_bits() -> None:
    assert slots_of(np.array([0, 1 << 52, (1 << 64) - 1], np.uint64)).tolist() == [0, 1, 4095]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0xEF46DB3751D8E999),
        ("a", 0xD24EC4F1A98C6E5B),
        ("abc", 0x44BC2CF5AD770999),
        ("Nobody inspects the spammish repetition", 0xFBCEA83C8A378BF1),
    ],
)
def test_texts_hash_as_published_for_xxh64(text: str, value: int) -> None:
    assert hash_of(text) == value


@pytest.mark.parametrize(
    ("size", "value"), [(1, 0x4FCE394CC88952D8), (14, 0xCFFA8DB881BC3A3D), (101, 0x0EAB543384F878AD)]
)
def test_the_sanity_buffer_hashes_as_published_for_xxh64(size: int, value: int) -> None:
    data, state = bytearray(), 2654435761
    for _ in range(size):
        data.append(state >> 24)
        state = state * state % (1 << 32)
    out = np.empty(1, np.uint64)
    hash_strings(np.array([0, size], np.int32), np.frombuffer(bytes(data), np.uint8), out)
    assert int(out[0]) == value
