"""Look-ups in the filters of segments: what they say and count, kept or read; what is damaged rules nothing out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pytest
from evenshard.events.hashing import hash_of
from evenshard.ids import ShardId, TenantId
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.columns.lookups import Lookups, SegmentHeld
from evenshard.storage.compaction.merge import sort_table
from evenshard.storage.segment.checksum import checksum_of
from evenshard.storage.segment.filter import PREFIX_BYTES, build_filter, identity_bytes, to_bytes
from evenshard.storage.segment.identities import read_filter, stored_identities, values_are_whole
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.segment.value_filter import PLACE_BYTES, read_trailer
from evenshard.storage.segment.writer import SegmentPlace, SegmentWriter
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.tail_tables import DAY_MS, TailRow, tail_table

ACME = TenantId("acme")
PLACE = SegmentPlace(ACME, 100, 100, 0, 110, ShardId("shard-1"))
ROWS = 400


def segment(disk: MemoryDisk, **more: pa.Array) -> SegmentInfo:
    rows = [TailRow("click", f"user {at // 4}", 100 * DAY_MS + at, f"insert {at}") for at in range(ROWS)]
    table = tail_table(ACME, rows)
    for name, column in more.items():
        table = table.append_column(name.replace("_", ":", 1), column)
    writer = SegmentWriter(disk, 5, PLACE)
    writer.append(sort_table(table))
    return writer.finish()


class Disk(MemoryDisk):
    """Counts what is opened."""

    def __init__(self) -> None:
        self.opened = 0
        super().__init__(hook=self._noted)

    def _noted(self, operation: str, _: str) -> None:
        self.opened += operation == "open"


@contextmanager
def reading(_: SegmentInfo) -> Iterator[None]:
    yield


def held_by(disk: MemoryDisk, info: SegmentInfo, cache: ColumnCache | None = None) -> tuple[Lookups, SegmentHeld]:
    lookups = Lookups(disk, ColumnCache(1 << 20) if cache is None else cache, reading)
    return lookups, lookups.held(info)


def test_what_was_looked_at_counts_once_a_question_whether_it_was_kept_or_not() -> None:
    disk, cache = Disk(), ColumnCache(1 << 20)
    info = segment(disk)
    disk.opened = 0
    file = disk.open(info.filter)
    values = file.size() - identity_bytes(file.read(0, PREFIX_BYTES), file.size())
    trailer = read_trailer(file, info.filter)
    assert trailer is not None
    assert trailer.pages > 1
    places = PLACE_BYTES * trailer.pages - 4 * (trailer.pages + 1)  # the place of a page ends where the next begins
    disk.opened = 0
    for _ in range(2):
        lookups, held = held_by(disk, info, cache)
        for number in range(2 * ROWS):
            assert held.may_hold_field("insert_id", f"insert {number}") or number >= ROWS
        assert lookups.bytes == values + places
        assert disk.opened == 1 + trailer.pages


def test_a_user_whose_hash_lies_beyond_is_ruled_out_without_a_look() -> None:
    disk = Disk()
    info = segment(disk)
    lookups, held = held_by(disk, info)
    hashed = hash_of("user 1")
    assert held.within((0, 1), (hashed, hashed)).may_hold_field("distinct_id", "user 1")
    looked_at = lookups.bytes
    assert not held.within((0, 1), (hashed + 1, hashed + 2)).may_hold_field("distinct_id", "user 1")
    assert lookups.bytes == looked_at > 0


def test_properties_are_told_by_type_and_presence() -> None:
    disk = MemoryDisk()
    info = segment(
        disk, i_n=pa.array(range(ROWS)), s_text=pa.array(["a", None] * (ROWS // 2)), b_yes=pa.array([True] * ROWS)
    )
    _, held = held_by(disk, info)
    assert held.times_ms == (100 * DAY_MS, 100 * DAY_MS + ROWS - 1)
    assert not held.has_hot_rows
    asked = [("n", 3), ("n", 3.0), ("n", 3.5), ("n", "3"), ("n", True), ("text", "a"), ("text", "b"), ("yes", True),
             ("yes", False), ("missing", 1)]  # fmt: skip
    assert [held.may_hold_property(name, value) for name, value in asked] == [
        True, True, False, False, False, True, False, True, False, False,
    ]  # fmt: skip
    assert [held.may_have_property(name) for name in ("n", "text", "yes", "missing")] == [True, True, True, False]


def test_properties_without_columns_may_be_anything() -> None:
    disk = MemoryDisk()
    info = segment(disk, i_n=pa.array(range(ROWS)))
    rest = pa.array([None] * (ROWS - 1) + ['{"deep": 3}'])
    writer = SegmentWriter(disk, 6, PLACE)
    rows = [TailRow("click", "", 100 * DAY_MS + at, f"insert {at}") for at in range(ROWS)]
    writer.append(sort_table(tail_table(ACME, rows).append_column("rest", rest)))
    _, held = held_by(disk, writer.finish())
    assert held.may_hold_property("deep", 3)
    assert held.may_have_property("anything")
    assert not held.may_hold_field("insert_id", "insert 400")
    assert not held_by(disk, info)[1].may_hold_property("deep", 3)


@pytest.mark.parametrize("change", [lambda data: data[:50], lambda data: b"", lambda data: data[:-40] + bytes(40)])
def test_a_filter_that_cannot_be_trusted_rules_nothing_out(change: Callable[[bytes], bytes]) -> None:
    disk = MemoryDisk()
    info = segment(disk, i_n=pa.array(range(ROWS)))
    rewrite(disk, info.filter, change)
    _, held = held_by(disk, info)
    assert held.may_hold_field("insert_id", "insert 400")
    assert held.may_hold_property("n", -1)
    assert held.may_have_property("missing")


def test_a_segment_without_a_filter_is_read() -> None:
    disk = MemoryDisk()
    info = segment(disk)
    disk.unlink(info.filter)
    assert held_by(disk, info)[1].may_hold_field("insert_id", "insert 400")


def test_filters_of_before_there_were_values_are_read_and_rule_nothing_out() -> None:
    disk = MemoryDisk()
    info = segment(disk)
    reader = SegmentReader(disk, info)
    identities = stored_identities(reader)
    alone = bytearray(to_bytes(build_filter(identities)))
    alone[8:12] = (2).to_bytes(4, "little")
    alone[-8:] = checksum_of(bytes(alone[:-8])).to_bytes(8, "little")
    rewrite(disk, info.filter, lambda _: bytes(alone))
    assert read_filter(disk, info).may_contain(identities).all()
    assert values_are_whole(disk, reader)
    assert held_by(disk, info)[1].may_hold_field("insert_id", "insert 400")


def rewrite(disk: MemoryDisk, name: str, change: Callable[[bytes], bytes]) -> None:
    file = disk.open(name)
    data = file.read(0, file.size())
    file.truncate(0)
    file.write([change(data)])
    file.close()
