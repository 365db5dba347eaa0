"""A segment's file: what is written is read, by any reader; what is damaged is named."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evenshard.errors import EvenshardError
from evenshard.events.hashing import hash_of
from evenshard.ids import ShardId, TenantId
from evenshard.ports.disk import Disk
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.columns.segment import SegmentColumns
from evenshard.storage.compaction.merge import sort_table
from evenshard.storage.segment import format as segment_format
from evenshard.storage.segment import stream
from evenshard.storage.segment import writer as segment_writer
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.segment.writer import SegmentPlace, SegmentWriter
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.tail_tables import DAY_MS, TailRow, in_segment_order, random_rows, rows_of, tail_table, with_bits

ACME = TenantId("acme")
PLACE = SegmentPlace(ACME, 100, 102, 0, 110, ShardId("shard-1"))
FIELDS = ("event", "distinct_id", "time", "insert_id")


@pytest.fixture(autouse=True)
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_writer, "ROW_GROUP_ROWS", 100)


def some_rows(count: int = 730, seed: int = 3) -> list[TailRow]:
    print("seed", seed)
    return with_bits(random_rows(Random(seed), count, [100, 101, 102]), set())


def write(disk: Disk, rows: list[TailRow], segment_id: int = 5) -> SegmentInfo:
    writer = SegmentWriter(disk, segment_id, PLACE)
    writer.append(sort_table(tail_table(ACME, rows)))
    return writer.finish()


def scanned(reader: SegmentReader, start_ms: int = 0, end_ms: int = 1 << 62) -> list[TailRow]:
    return [row for part in reader.scan(FIELDS, None, start_ms, end_ms) for row in rows_of(part.record)]


def test_what_is_written_is_read_in_segment_order() -> None:
    disk, rows = MemoryDisk(), some_rows()
    info = write(disk, rows)
    assert scanned(SegmentReader(disk, info)) == in_segment_order(ACME, rows)
    times = [row.time_ms for row in rows]
    assert replace(info, footer_checksum=0, bytes=0) == SegmentInfo(
        id=5,
        tenant=ACME,
        first_day=100,
        last_day=102,
        run=0,
        written_day=110,
        min_time_ms=min(times),
        max_time_ms=max(times),
        slot_first=info.slot_first,
        slot_last=info.slot_last,
        rows=730,
        duplicates=sum(row.duplicate for row in rows),
        hot_rows=0,
        bytes=0,
        files=("segments/0000000005.parquet", "segments/0000000005.filter"),
        footer_checksum=0,
        spread_rows=0,
    )
    assert info.bytes == sum(disk.open(name).size() for name in info.files)


def test_any_parquet_reader_opens_it(tmp_path: Path) -> None:
    disk, rows = LocalDisk(tmp_path), some_rows()
    info = write(disk, rows)
    disk.close()
    file = pq.ParquetFile(tmp_path / info.parquet, page_checksum_verification=True)
    assert rows_of(file.read()) == in_segment_order(ACME, rows)
    assert file.num_row_groups == 8
    described = {key: value for key, value in file.metadata.metadata.items() if key.startswith(b"evenshard")}
    assert described.pop(b"evenshard.block_checksums")
    assert described == {
        b"evenshard.format": b"1",
        b"evenshard.tenant": b"acme",
        b"evenshard.shard": b"shard-1",
        b"evenshard.has_duplicates": b"true",
        b"evenshard.hash_version": b"1",
    }


@pytest.mark.parametrize(
    ("start_ms", "end_ms"),
    [(0, 100 * DAY_MS), (100 * DAY_MS, 101 * DAY_MS), (100 * DAY_MS + 1, 100 * DAY_MS + 2), (103 * DAY_MS, 1 << 62)],
)
def test_a_time_range_is_exact_and_half_open(start_ms: int, end_ms: int) -> None:
    disk, rows = MemoryDisk(), some_rows()
    reader = SegmentReader(disk, write(disk, rows))
    expected = [row for row in in_segment_order(ACME, rows) if start_ms <= row.time_ms < end_ms]
    assert scanned(reader, start_ms, end_ms) == expected


def test_row_groups_outside_the_time_range_are_not_read() -> None:
    disk = MemoryDisk()
    rows = [TailRow("a", "one", 100 * DAY_MS + i, f"i{i}") for i in range(1000)]
    reader = SegmentReader(disk, write(disk, rows))
    parts = list(reader.scan(("time",), (), 100 * DAY_MS + 250, 100 * DAY_MS + 251))
    assert [part.record.to_pylist() for part in parts] == [[{"time": 100 * DAY_MS + 250, "duplicate": False}]]
    whole = sum(part.bytes_read for part in reader.scan(("time",), (), 0, 1 << 62))
    assert 0 < parts[0].bytes_read < whole / 5


def test_row_groups_that_do_not_matter_are_not_read() -> None:
    disk = MemoryDisk()
    rows = [TailRow("a", f"user {at}", 100 * DAY_MS + at, None) for at in range(1000)]
    reader = SegmentReader(disk, write(disk, rows))
    sought = hash_of("user 77")
    asked: list[tuple[int, int]] = []

    def matters(times_ms: tuple[int, int], hashes: tuple[int, int]) -> bool:
        asked.append(times_ms)
        return hashes[0] <= sought <= hashes[1]

    parts = list(reader.scan(("distinct_id",), (), 0, 1 << 62, matters=matters))
    assert len(asked) == 10
    assert min(first for first, _ in asked) == 100 * DAY_MS
    assert max(last for _, last in asked) == 100 * DAY_MS + 999
    assert [part.record.num_rows for part in parts] == [100]
    assert "user 77" in parts[0].record.column("distinct_id").to_pylist()


def test_only_what_was_asked_for_comes_and_always_the_duplicate_bit() -> None:
    disk = MemoryDisk()
    reader = SegmentReader(disk, write(disk, some_rows()))
    for fields, properties, expected in [
        (("time",), (), ["time", "duplicate"]),
        (("distinct_id", "event"), ("text",), ["distinct_id", "event", "s:text", "duplicate"]),
        ((), None, ["i:number", "s:text", "duplicate"]),
        (("placement_hash", "hot"), ("absent",), ["placement_hash", "hot", "duplicate"]),
    ]:
        parts = list(reader.scan(fields, properties, 100 * DAY_MS + 1, 1 << 62))
        assert {tuple(part.record.schema.names) for part in parts} == {tuple(expected)}
        assert all(part.indexed for part in parts)


def test_a_segment_without_duplicates_says_so_and_reads_no_bits() -> None:
    disk = MemoryDisk()
    info = write(disk, [TailRow("a", "u", 100 * DAY_MS, f"i{i}") for i in range(10)])
    assert not info.has_duplicates
    reader = SegmentReader(disk, info)
    (part,) = reader.scan(("time",), (), 0, 1 << 62)
    assert part.record.column("duplicate").to_pylist() == [False] * 10
    assert part.bytes_read == reader.bytes_of(0, ["time"]) < reader.bytes_of(0, ["time", "duplicate"])


def test_decoded_columns_of_a_segment_without_duplicates_have_none_read(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = MemoryDisk()
    info = write(disk, [TailRow("a", "u", 100 * DAY_MS, f"i{i}") for i in range(10)])
    asked: list[str] = []
    read = SegmentReader.read_groups

    def noted(self: SegmentReader, first: int, end: int, columns: Sequence[str]) -> pa.RecordBatch:
        asked.extend(columns)
        return read(self, first, end, columns)

    monkeypatch.setattr(SegmentReader, "read_groups", noted)
    segment = SegmentColumns(disk, ColumnCache(1 << 20), 1, info)
    columns = segment.columns(segment.parts[0], ["time", "duplicate"])
    assert (asked, columns["duplicate"].to_pylist()) == (["time"], [False] * 10)


def test_property_names_may_hold_anything() -> None:
    disk = MemoryDisk()
    table = sort_table(tail_table(ACME, some_rows(50)))
    names = ["s:a", "s:a.b", "s:a.b.c", "i:", "i: $x\"'\n", "s:é.list.element"]
    for name in names:
        values = [f"{name}-{i % 3}" if name[0] == "s" else i for i in range(50)]
        table = table.append_column(name, [values])
    writer = SegmentWriter(disk, 1, PLACE)
    writer.append(table)
    reader = SegmentReader(disk, writer.finish())
    (part,) = reader.scan((), [name[2:] for name in names], 0, 1 << 62)
    assert part.record.select(names).to_pylist() == table.select(names).to_pylist()
    (part,) = reader.scan((), ["a"], 0, 1 << 62)
    assert part.record.schema.names == ["s:a", "duplicate"]


def test_a_slice_by_placement_hash_is_exact() -> None:
    disk, rows = MemoryDisk(), some_rows()
    reader = SegmentReader(disk, write(disk, rows))
    hashes = sorted(
        h for part in reader.scan(("placement_hash",), (), 0, 1 << 62) for h in part.record.column(0).to_pylist()
    )
    for first, last in [
        (0, (1 << 64) - 1),
        (hashes[10], hashes[10]),
        (hashes[3] + 1, hashes[400]),
        (hashes[-1] + 1, hashes[-1] + 1),
    ]:
        table = reader.read_hashes(first, last)
        found = [] if table is None else table.column("placement_hash").to_pylist()
        assert found == [h for h in hashes if first <= h <= last]


def test_row_groups_outside_the_placement_hashes_are_not_read() -> None:
    disk, rows = MemoryDisk(), some_rows()
    reader = SegmentReader(disk, write(disk, rows))

    def found(hashes: tuple[int, int] | None) -> tuple[list[int], int]:
        parts = list(reader.scan(("placement_hash",), (), 0, 1 << 62, None, hashes))
        return [h for part in parts for h in part.record.column(0).to_pylist()], sum(part.bytes_read for part in parts)

    everything, whole = found(None)
    for wanted in (everything[0], everything[365], everything[-1]):
        some, read = found((wanted, wanted))
        assert [h for h in some if h == wanted] == [h for h in everything if h == wanted]
        assert 0 < read < whole / 2
    assert found((everything[-1] + 1, (1 << 64) - 1)) == ([], 0)


def test_rows_that_do_not_follow_are_refused() -> None:
    disk = MemoryDisk()
    table = sort_table(tail_table(ACME, some_rows(50)))
    writer = SegmentWriter(disk, 1, PLACE)
    writer.append(table)
    with pytest.raises(ValueError, match="do not follow"):
        writer.append(table)
    writer.discard()
    assert disk.list("segments") == []


def test_a_missing_file_is_named() -> None:
    disk = MemoryDisk()
    info = write(disk, some_rows(20))
    disk.unlink(info.parquet)
    with pytest.raises(EvenshardError, match=r"DATA_DAMAGED: segments/0000000005\.parquet: the file is missing"):
        SegmentReader(disk, info)


def test_a_newer_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = MemoryDisk()
    info = write(disk, some_rows(20))
    monkeypatch.setattr(segment_format, "FORMAT_VERSION", 0)
    with pytest.raises(EvenshardError, match="FORMAT_TOO_NEW"):
        SegmentReader(disk, info)


@pytest.mark.parametrize("block_bytes", [512, stream.BLOCK_BYTES])
def test_no_flipped_bit_changes_an_answer(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK_BYTES", block_bytes)
    disk, rows = MemoryDisk(), some_rows()
    info = write(disk, rows)
    expected = in_segment_order(ACME, rows)
    size = disk.open(info.parquet).size()
    random = Random(9)
    found = {"footer": 0, "page": 0}
    for _ in range(400):
        at, mask = random.randrange(size), 1 << random.randrange(8)
        disk.flip(info.parquet, at, mask)
        outcome = outcome_of(disk, info)
        assert outcome == "DATA_DAMAGED" or outcome == expected, f"byte {at} of {size}, mask {mask}"
        found["footer" if at > size - 8000 else "page"] += outcome == "DATA_DAMAGED"
        disk.flip(info.parquet, at, mask)
    assert min(found.values()) > 50, found


def outcome_of(disk: Disk, info: SegmentInfo) -> object:
    """The rows, or the code of the error that names the file."""
    try:
        return scanned(SegmentReader(disk, info))
    except EvenshardError as error:
        return error.code if info.parquet in error.message else error


def test_the_disks_own_error_comes_through() -> None:
    disk = MemoryDisk()
    info = write(disk, some_rows(20))
    reader = SegmentReader(disk, info)

    def fail(operation: str, name: str) -> None:
        if operation == "read":
            raise OSError(5, "broken cable", name)

    disk.hook = fail
    with pytest.raises(OSError, match="broken cable"):
        scanned(reader)
