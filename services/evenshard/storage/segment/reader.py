"""Reads a segment: only the columns and row groups needed, nothing that was not verified.

The footer is checked against the catalog before it is parsed, all else by the checksums of blocks in it. A reader may
be used from several threads; each call opens the file anew.
"""

from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evenshard.events.batch import REST, property_of
from evenshard.events.scan import DUPLICATE, PLACEMENT_HASH, SPREAD, ScannedRows
from evenshard.ports.disk import Disk, File
from evenshard.storage.deletions import Bools, Hiding, Int64
from evenshard.storage.segment.format import KEY_BLOCKS, TRAILER_BYTES, damaged, read_footer, verified_metadata
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.segment.order import only_chunk
from evenshard.storage.segment.stream import ReadStream

_VERIFY_BYTES = 4 << 20

GroupMatters = Callable[[tuple[int, int], tuple[int, int]], bool]
"""Asked of a row group by the bounds of its times and of its placement hashes, inclusive."""


@dataclass(frozen=True, slots=True)
class RowGroups:
    """Statistics, one entry a row group. dtypes: int64, but uint64 for hashes; bounds inclusive."""

    rows: npt.NDArray[np.int64]
    bytes: npt.NDArray[np.int64]
    """Of encoded, uncompressed columns."""
    hash_min: npt.NDArray[np.uint64]
    hash_max: npt.NDArray[np.uint64]
    time_min: npt.NDArray[np.int64]
    time_max: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.rows.size)

    def bounds(self, group: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Of the times and placement hashes of one."""
        times = int(self.time_min[group]), int(self.time_max[group])
        return times, (int(self.hash_min[group]), int(self.hash_max[group]))


class SegmentReader:
    """One segment. Raises ``DATA_DAMAGED`` naming the file, at opening and at reading."""

    def __init__(self, disk: Disk, info: SegmentInfo) -> None:
        self.info = info
        self._disk = disk
        file = _open(disk, info.parquet)
        try:
            self._metadata = verified_metadata(file, info.parquet, info.footer_checksum)
            self._footer_bytes = self._metadata.serialized_size + TRAILER_BYTES
            self._data_bytes = file.size() - self._footer_bytes
        finally:
            file.close()
        self._blocks = np.frombuffer(b64decode(self._metadata.metadata[KEY_BLOCKS.encode()]), "<u8").astype(np.uint64)
        schema = self._metadata.schema
        self.columns: tuple[str, ...] = tuple(schema.column(i).path for i in range(len(schema)))
        self._number = {name: number for number, name in enumerate(self.columns)}
        first = self._metadata.row_group(0)
        self._dictionaries = [
            name
            for name, number in self._number.items()
            if first.column(number).physical_type == "BYTE_ARRAY" and first.column(number).has_dictionary_page
        ]
        self.row_groups = _statistics(self._metadata, self._number)
        self._last_group: tuple[int, pa.Table] | None = None
        """The row group that ``read_hashes`` read last: the next range most often begins in it."""

    def scan(
        self,
        fields: Sequence[str],
        properties: Sequence[str] | None,
        start_ms: int,
        end_ms: int,
        hiding: Hiding | None = None,
        hashes: tuple[int, int] | None = None,
        matters: GroupMatters | None = None,
    ) -> Iterator[ScannedRows]:
        """Rows with ``start_ms <= time < end_ms``, a row group at a time, in segment order; without what is hidden.

        ``fields``: names of fields (``hot`` and ``placement_hash`` too); ``properties``: their names, None for all.
        ``hashes``: bounds of placement hashes; row groups beyond are not read, rows beyond may be given all the same.
        ``matters``: False of a row group, by its times and placement hashes, that need not be read.
        """
        names = self.names_for(fields, properties)
        groups = self.row_groups
        horizon_ms = start_ms if hiding is None else max(start_ms, hiding.horizon_ms)
        wanted = (groups.time_max >= horizon_ms) & (groups.time_min < end_ms)
        if hashes is not None:
            wanted &= (groups.hash_max >= np.uint64(hashes[0])) & (groups.hash_min <= np.uint64(hashes[1]))
        for group in np.flatnonzero(wanted):
            if matters is not None and not matters(*groups.bounds(int(group))):
                continue
            cut = groups.time_min[group] < start_ms or groups.time_max[group] >= end_ms
            needed = names if not cut or "time" in names else [*names, "time"]
            stored = [name for name in needed if self.stores(name)]
            with self._parquet() as parquet:
                table = self._read(parquet, [int(group)], stored)
                hidden = None if hiding is None else self._hidden(parquet, int(group), hiding, table)
            for name in needed:
                if name not in stored:
                    table = table.append_column(name, self.absent(name, int(groups.rows[group])))
            if cut:
                times = table.column("time")
                inside = pc.and_(pc.greater_equal(times, start_ms), pc.less(times, end_ms))
                table = table.filter(inside if hidden is None else pc.and_not(inside, pa.array(hidden)))
            elif hidden is not None:
                table = table.filter(pa.array(~hidden))
            if table.num_rows:
                yield ScannedRows(_one_batch(table.select(names)), True, self.bytes_of(int(group), stored))

    def hidden_rows(self, hiding: Hiding) -> int:
        """How many rows ``hiding`` hides; reads as little as tells."""
        count = 0
        with self._parquet() as parquet:
            for group in range(len(self.row_groups)):
                hidden = self._hidden(parquet, group, hiding)
                count += 0 if hidden is None else int(np.count_nonzero(hidden))
        return count

    def _hidden(
        self, parquet: pq.ParquetFile, group: int, hiding: Hiding, read: pa.Table | None = None
    ) -> Bools | None:
        """One a row of a row group; None: none is hidden. Strings are read only where a hash matches, and nothing again
        that was ``read``."""

        def column(name: str) -> pa.ChunkedArray:
            if read is not None and name in read.column_names:
                return read.column(name)
            return self._read(parquet, [group], [name]).column(name)

        groups = self.row_groups
        hidden = np.zeros(int(groups.rows[group]), np.bool_)
        if groups.time_max[group] < hiding.horizon_ms:
            return ~hidden
        if groups.time_min[group] < hiding.horizon_ms:
            hidden = column("time").to_numpy() < hiding.horizon_ms
        if hiding.has_users(int(groups.hash_min[group]), int(groups.hash_max[group])):
            placement = column(PLACEMENT_HASH).to_numpy()

            def ids(rows: Int64) -> pa.Array:
                return only_chunk(column("distinct_id").take(pa.array(rows)))

            hidden[hiding.users_among(placement, ids, in_order=True)] = True
        return hidden if hidden.any() else None

    def read_group(self, group: int, columns: Sequence[str]) -> pa.RecordBatch:
        """Columns of one row group, as one batch; repeating strings dictionary-encoded."""
        with self._parquet() as parquet:
            return _one_batch(self._read(parquet, [group], columns))

    def read_groups(self, first: int, end: int, columns: Sequence[str]) -> pa.RecordBatch:
        """Columns of the row groups ``first`` to ``end``, as one batch; repeating strings dictionary-encoded."""
        with self._parquet() as parquet:
            return _one_batch(self._read(parquet, list(range(first, end)), columns))

    def read_pieces(self, first: int, end: int, column: str) -> Sequence[pa.Array]:
        """A column of the row groups ``first`` to ``end``, as it is stored: each piece has its own dictionary."""
        with self._parquet() as parquet:
            chunks: Sequence[pa.Array] = self._read(parquet, list(range(first, end)), [column]).column(0).chunks
            return chunks

    def read_hashes(self, first: int, last: int) -> pa.Table | None:
        """All columns of the rows whose placement hash is between ``first`` and ``last``, inclusive; None: no rows."""
        groups = self.row_groups
        wanted = np.flatnonzero((groups.hash_max >= np.uint64(first)) & (groups.hash_min <= np.uint64(last)))
        if not wanted.size:
            return None
        pieces = []
        with self._parquet() as parquet:
            for group in wanted.tolist():
                if self._last_group is None or self._last_group[0] != group:
                    self._last_group = group, self._read(parquet, [group], self.columns)
                table = self._last_group[1]
                hashes = table.column(PLACEMENT_HASH).to_numpy()
                start = int(np.searchsorted(hashes, np.uint64(first), "left"))
                end = int(np.searchsorted(hashes, np.uint64(last), "right"))
                if end - start == table.num_rows:
                    pieces.append(table)
                elif end > start:  # copied: a slice would keep the whole row group, of every input of a merge
                    pieces.append(table.take(pa.array(np.arange(start, end))))
        return pa.concat_tables(pieces) if pieces else None

    def times(self) -> npt.NDArray[np.int64]:
        """Every row's time, in segment order."""
        with self._parquet() as parquet:
            result: npt.NDArray[np.int64] = (
                self._read(parquet, list(range(len(self.row_groups))), ["time"]).column("time").to_numpy()
            )
            return result

    def verify(self) -> None:
        """Reads every block against its checksum. Raises ``DATA_DAMAGED`` at the first that does not match."""
        file = _open(self._disk, self.info.parquet)
        try:
            stream = ReadStream(file, self.info.parquet, self._data_bytes, self._blocks)
            while len(stream.read(_VERIFY_BYTES)):
                pass
        finally:
            file.close()

    def verified_footer(self) -> bytes:
        """The footer, once all blocks were found to be as it says. Raises ``DATA_DAMAGED``."""
        self.verify()
        file = _open(self._disk, self.info.parquet)
        try:
            return read_footer(file, self.info.parquet)
        finally:
            file.close()

    @property
    def footer_bytes(self) -> int:
        return int(self._footer_bytes)

    @property
    def schema(self) -> pa.Schema:
        """Columns as ``read_hashes`` gives them."""
        stored = self._metadata.schema.to_arrow_schema()
        return pa.schema(
            field.with_type(pa.dictionary(pa.int32(), pa.utf8())) if field.name in self._dictionaries else field
            for field in stored
        ).remove_metadata()

    def names_for(self, fields: Sequence[str], properties: Sequence[str] | None) -> list[str]:
        """The columns there are for these fields and properties (None: all), ``duplicate`` last."""
        wanted = None if properties is None else set(properties)
        names = list(fields)
        for column in self.columns:
            held = property_of(column)
            if held is not None and (wanted is None or held[0] in wanted):
                names.append(column)
        if REST in self._number and (wanted is None or wanted):
            names.append(REST)
        names.append(DUPLICATE)
        return names

    def stores(self, name: str) -> bool:
        """Whether a column is read: ``duplicate`` and ``spread`` need not be there."""
        if name == DUPLICATE:
            return self.info.has_duplicates
        return name != SPREAD or SPREAD in self._number

    def absent(self, name: str, rows: int) -> pa.BooleanArray:
        """A column that need not be read, of so many rows."""
        if name == SPREAD and self.info.spread_rows is None:
            return pa.nulls(rows, pa.bool_())
        return none_set(rows)

    def bytes_of(self, group: int, names: Sequence[str]) -> int:
        """What columns of a row group take on disk."""
        row_group = self._metadata.row_group(group)
        return sum(row_group.column(self._number[name]).total_compressed_size for name in names)

    @contextmanager
    def _parquet(self) -> Iterator[pq.ParquetFile]:
        file = _open(self._disk, self.info.parquet)
        stream = ReadStream(file, self.info.parquet, self._data_bytes, self._blocks)
        try:
            yield pq.ParquetFile(
                pa.PythonFile(stream, mode="r"),
                metadata=self._metadata,
                read_dictionary=self._dictionaries,
            )
        except (pa.ArrowException, OSError) as error:
            if stream.failure is not None:
                raise stream.failure from error
            raise damaged(self.info.parquet, f"a page cannot be read: {error}") from error
        finally:
            file.close()

    def _read(self, parquet: pq.ParquetFile, groups: list[int], columns: Sequence[str]) -> pa.Table:
        table = parquet.read_row_groups(groups, columns=list(columns), use_threads=False)
        return table.select(list(columns)).replace_schema_metadata(None)


def none_set(rows: int) -> pa.BooleanArray:
    """So many times false."""
    return pa.BooleanArray.from_buffers(pa.bool_(), rows, [None, pa.py_buffer(bytes((rows + 7) // 8))])


def _open(disk: Disk, name: str) -> File:
    try:
        return disk.open(name)
    except FileNotFoundError as error:
        raise damaged(name, "the file is missing") from error


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.unify_dictionaries().combine_chunks().to_batches()
    if len(batches) != 1:
        raise AssertionError(f"a row group came as {len(batches)} batches")
    return batches[0]


def _statistics(metadata: pq.FileMetaData, number: dict[str, int]) -> RowGroups:
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    hashes = [group.column(number[PLACEMENT_HASH]).statistics for group in groups]
    times = [group.column(number["time"]).statistics for group in groups]
    return RowGroups(
        np.array([group.num_rows for group in groups], np.int64),
        np.array([group.total_byte_size for group in groups], np.int64),
        np.array([item.min for item in hashes], np.uint64),
        np.array([item.max for item in hashes], np.uint64),
        np.array([item.min for item in times], np.int64),
        np.array([item.max for item in times], np.int64),
    )
