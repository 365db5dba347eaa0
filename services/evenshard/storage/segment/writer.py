"""Writes one segment: sorted rows as Parquet, and the filters of their identities and values beside it.

Both files are synced when ``finish`` returns, their names are not: the caller syncs the folder, then tells the catalog.
"""

from base64 import b64encode
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from evenshard.events.batch import FIELDS, EventBatch
from evenshard.events.hashing import (
    HASH_VERSION,
    SLOT_SHIFT,
    EventHashes,
    UInt64,
    hash_events,
    identity_hashes,
    string_buffers,
)
from evenshard.events.scan import DUPLICATE, HOT, PLACEMENT_HASH, SPREAD
from evenshard.ids import ShardId, TenantId
from evenshard.ports.disk import Disk
from evenshard.storage.segment.checksum import checksum_of
from evenshard.storage.segment.filter import build_filter, to_bytes
from evenshard.storage.segment.format import (
    FORMAT_VERSION,
    IDENTITY_HASH,
    KEY_BLOCKS,
    KEY_FORMAT,
    KEY_HAS_DUPLICATES,
    KEY_HASH_VERSION,
    KEY_SHARD,
    KEY_TENANT,
    ROW_GROUP_BYTES,
    ROW_GROUP_ROWS,
    encodings_for,
    read_footer,
)
from evenshard.storage.segment.info import SegmentInfo, file_names
from evenshard.storage.segment.loose_hashes import LooseHashes
from evenshard.storage.segment.order import only_chunk, plain_strings
from evenshard.storage.segment.stream import WriteStream
from evenshard.storage.segment.value_filter import values_bytes
from evenshard.storage.segment.value_keys import KEYS_MAX, ValueKeys
from evenshard.storage.segment.written_keys import WrittenKeys

Int32 = npt.NDArray[np.int32]

_NO_HASHES: UInt64 = np.zeros(0, np.uint64)

_COMPRESSION_LEVEL = 1


@dataclass(frozen=True, slots=True)
class SegmentPlace:
    """Where a segment belongs: see ``SegmentInfo``."""

    tenant: TenantId
    first_day: int
    last_day: int
    run: int
    written_day: int
    shard: ShardId
    deletions_seen: int = 0


@dataclass(slots=True)
class _Totals:
    rows: int = 0
    duplicates: int = 0
    hot_rows: int = 0
    spread_rows: int = 0
    unknown_rows: int = 0
    """Of which it is not known whether they are spread."""
    min_time_ms: int = np.iinfo(np.int64).max
    max_time_ms: int = np.iinfo(np.int64).min
    first_hash: int = 0
    last_hash: int = 0

    def add(self, table: pa.Table) -> None:
        hashes = only_chunk(table.column(PLACEMENT_HASH)).to_numpy()
        if self.rows and int(hashes[0]) < self.last_hash:
            raise ValueError("the rows do not follow those written before")
        times = only_chunk(table.column("time")).to_numpy()
        if not self.rows:
            self.first_hash = int(hashes[0])
        self.last_hash = int(hashes[-1])
        self.rows += table.num_rows
        self.duplicates += only_chunk(table.column(DUPLICATE)).true_count
        self.hot_rows += only_chunk(table.column(HOT)).true_count
        if SPREAD in table.column_names:
            spread = only_chunk(table.column(SPREAD))
            self.spread_rows += spread.true_count
            self.unknown_rows += spread.null_count
        self.min_time_ms = min(self.min_time_ms, int(times.min()))
        self.max_time_ms = max(self.max_time_ms, int(times.max()))


class SegmentWriter:
    """A segment being written: ``append`` sorted tables of one schema, then ``finish`` or ``discard``."""

    def __init__(
        self,
        disk: Disk,
        segment_id: int,
        place: SegmentPlace,
        keys_max: int = KEYS_MAX,
        written: WrittenKeys | None = None,
        loose: list[LooseHashes] | None = None,
    ) -> None:
        """``keys_max``: of its filter of values, while it is written. ``written`` gets the identity fields. ``loose``:
        what will be the identity hashes of all rows when ``finish`` is called, which empties it; None: they come with
        the rows, or are made of them."""
        self._disk = disk
        self._id = segment_id
        self._place = place
        self._names = file_names(segment_id)
        self._file = disk.open(self._names[0], create=True)
        self._stream = WriteStream(self._file)
        self._writer: pq.ParquetWriter | None = None
        self._totals = _Totals()
        self._loose = loose
        self._identities: list[LooseHashes] = []
        self._values = ValueKeys(segment_id, keys_max)
        self._written = written

    def discard(self) -> None:
        """Removes the files of a segment that was not finished."""
        self._stream.abandon()
        if self._writer is not None:
            self._writer.close()
        self._file.close()
        folder, _, _ = self._names[0].rpartition("/")
        for name in self._disk.list(folder):
            if f"{folder}/{name}" in self._names:
                self._disk.unlink(f"{folder}/{name}")

    @property
    def rows(self) -> int:
        return self._totals.rows

    @property
    def bytes(self) -> int:
        """Written so far."""
        return self._stream.tell()

    def append(self, table: pa.Table) -> None:
        """Rows in segment order that follow those before; at least one. Their identity hashes may be with them, in any
        order."""
        if self._loose is None:
            whole = with_identities(self._place.tenant, table)
            self._identities += identities_in(whole)
            table = without_identities(whole)
        self._totals.add(table)
        if self._writer is None:
            self._writer = self._open_writer(table)
        bytes_per_row = max(1, table.nbytes // table.num_rows)
        step = max(1, min(ROW_GROUP_ROWS, ROW_GROUP_BYTES // bytes_per_row))
        for start in range(0, table.num_rows, step):
            piece = with_own_dictionaries(table.slice(start, step))
            self._writer.write_table(piece, row_group_size=step)
            self._values.add(piece)
            if self._written is not None:
                self._written.add(self._id, piece)

    def finish(self) -> SegmentInfo:
        """Durable at return, but for the names."""
        if self._writer is None:
            raise ValueError("a segment has at least one row")
        totals, place = self._totals, self._place
        data_bytes = self._stream.tell()
        self._writer.add_key_value_metadata(self._metadata())
        self._writer.close()
        self._file.sync()
        footer = read_footer(self._file, self._names[0])
        size = self._file.size()
        if size - len(footer) != data_bytes:
            raise AssertionError("the Parquet writer wrote more than the footer at the end")
        self._file.close()
        identities = self._identities if self._loose is None else self._loose
        if sum(hashes.size for hashes in identities) != totals.rows:
            raise AssertionError("identity hashes were lost on the way into a filter")
        filter_bytes = to_bytes(build_filter(*identities))
        identities.clear()
        value_bytes = values_bytes(self._values, len(filter_bytes))
        filter_file = self._disk.open(self._names[1], create=True)
        try:
            filter_file.write([filter_bytes, value_bytes])
            filter_file.sync()
        finally:
            filter_file.close()
        return SegmentInfo(
            id=self._id,
            tenant=place.tenant,
            first_day=place.first_day,
            last_day=place.last_day,
            run=place.run,
            written_day=place.written_day,
            min_time_ms=totals.min_time_ms,
            max_time_ms=totals.max_time_ms,
            slot_first=totals.first_hash >> SLOT_SHIFT,
            slot_last=totals.last_hash >> SLOT_SHIFT,
            rows=totals.rows,
            duplicates=totals.duplicates,
            hot_rows=totals.hot_rows,
            bytes=size + len(filter_bytes) + len(value_bytes),
            files=self._names,
            footer_checksum=checksum_of(footer),
            deletions_seen=place.deletions_seen,
            spread_rows=None if totals.unknown_rows else totals.spread_rows,
        )

    def _open_writer(self, table: pa.Table) -> pq.ParquetWriter:
        encodings = encodings_for(table)
        return pq.ParquetWriter(
            pa.PythonFile(self._stream, mode="w"),
            table.schema,
            version="2.6",
            compression="zstd",
            compression_level=_COMPRESSION_LEVEL,
            use_dictionary=encodings.dictionary,
            column_encoding=encodings.other,
            write_statistics=[PLACEMENT_HASH, "time"],
            write_page_checksum=True,
            store_schema=False,
        )

    def _metadata(self) -> dict[str, str]:
        return {
            KEY_FORMAT: str(FORMAT_VERSION),
            KEY_TENANT: self._place.tenant,
            KEY_SHARD: self._place.shard,
            KEY_HAS_DUPLICATES: "true" if self._totals.duplicates else "false",
            KEY_HASH_VERSION: str(HASH_VERSION),
            KEY_BLOCKS: b64encode(self._stream.checksums().astype("<u8").tobytes()).decode(),
        }


def with_own_dictionaries(piece: pa.Table) -> pa.Table:
    """Dictionaries without the values that do not occur: they are written whole into each row group."""
    columns = []
    for column in piece.columns:
        if pa.types.is_dictionary(column.type) and column.null_count < len(column):
            array = only_chunk(column.unify_dictionaries())
            codes = array.indices.to_numpy() if not array.null_count else array.indices.fill_null(0).to_numpy()
            if not array.null_count and _rises(codes):
                first, last = int(codes[0]), int(codes[-1])
                indices = pa.array(codes - np.int32(first))
                columns.append(pa.DictionaryArray.from_arrays(indices, array.dictionary.slice(first, last + 1 - first)))
                continue
            used = np.bincount(codes, minlength=len(array.dictionary)) > 0
            renumbered = (np.cumsum(used) - 1).astype(np.int32)[codes] if codes.size else codes
            indices = pa.array(renumbered, mask=array.is_null().to_numpy(zero_copy_only=False))
            column = pa.DictionaryArray.from_arrays(indices, array.dictionary.filter(pa.array(used)))
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=piece.schema)


def _rises(codes: Int32) -> bool:
    """Whether codes rise one by one: then a piece of them uses a piece of their dictionary."""
    steps = np.diff(codes)
    return bool(codes.size and steps.min(initial=0) >= 0 and steps.max(initial=0) <= 1)


def _is_empty(column: pa.Array) -> npt.NDArray[np.bool_]:
    """For each string whether it is empty."""
    if not pa.types.is_dictionary(column.type):
        result: npt.NDArray[np.bool_] = np.diff(string_buffers(column).offsets) == 0
        return result
    empty = np.diff(string_buffers(column.dictionary).offsets) == 0
    return empty[column.indices.to_numpy()] if empty.any() else np.zeros(len(column), np.bool_)


def identity_of(tenant: TenantId, table: pa.Table) -> UInt64:
    """The identity hash of each row, from its fields and its placement hash."""
    return np.concatenate([_NO_HASHES, *(_identity_of_batch(tenant, record) for record in table.to_batches())])


def _identity_of_batch(tenant: TenantId, record: pa.RecordBatch) -> UInt64:
    """Chunk by chunk, since to join chunks means to look up each of their users in one dictionary."""
    events = record.column("event")
    return identity_hashes(
        tenant,
        events if pa.types.is_dictionary(events.type) else events.dictionary_encode(),
        record.column(PLACEMENT_HASH).to_numpy(),
        _is_empty(record.column("distinct_id")),
        record.column("time").to_numpy(),
        plain_strings(record.column("insert_id")),
    )


def with_identities(tenant: TenantId, table: pa.Table) -> pa.Table:
    """The table with ``identity_hash``, computed where it is not there."""
    if IDENTITY_HASH in table.column_names:
        return table
    return table.append_column(IDENTITY_HASH, pa.array(identity_of(tenant, table)))


def without_identities(table: pa.Table) -> pa.Table:
    """The table without ``identity_hash``: its rows go apart, and nobody knows which hash is whose."""
    return table.drop_columns([IDENTITY_HASH]) if IDENTITY_HASH in table.column_names else table


def identities_in(table: pa.Table) -> list[UInt64]:
    """The identity hashes that come with rows, in pieces."""
    if IDENTITY_HASH not in table.column_names:
        return []
    return [chunk.to_numpy() for chunk in table.column(IDENTITY_HASH).chunks]


def _encoded_events(table: pa.Table) -> pa.DictionaryArray:
    events = table.column("event")
    if not pa.types.is_dictionary(events.type):
        events = events.dictionary_encode()
    return only_chunk(events.unify_dictionaries())


def hashes_of(tenant: TenantId, table: pa.Table) -> EventHashes:
    """The hashes of each row, from its fields."""
    columns = [
        _encoded_events(table),
        plain_strings(table.column("distinct_id")),
        only_chunk(table.column("time")),
        plain_strings(table.column("insert_id")),
    ]
    record = pa.RecordBatch.from_arrays(columns, schema=pa.schema(FIELDS))
    return hash_events(tenant, EventBatch(record))
