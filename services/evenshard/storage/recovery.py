"""Opens a shard's storage: catalog, then the log past each tenant's mark, with every duplicate bit derived again.

A deletion takes effect where it came: before the first frame behind its position.

It cuts a torn end and says so; it never passes over damage: ``DATA_DAMAGED`` names file and offset.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa

from evenshard.events.batch import EventBatch
from evenshard.events.hashing import hash_events
from evenshard.ids import ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.disk import Disk, File
from evenshard.storage.catalog import FILE as CATALOG_FILE
from evenshard.storage.catalog import Catalog
from evenshard.storage.dedupe import decide_duplicates
from evenshard.storage.deletions import Deletion, Deletions
from evenshard.storage.log.files import LogFiles
from evenshard.storage.log.frame import FILE_HEADER_BYTES, Frame, unpacked_bits
from evenshard.storage.log.reader import LogFile, damaged, is_torn_creation, read_log_file
from evenshard.storage.log.writer import FOLDER, LogWriter, create_log_file, file_name, file_number
from evenshard.storage.segment.cache import SegmentCache
from evenshard.storage.segment.identities import IndexedIdentities
from evenshard.storage.segment.info import FOLDER as SEGMENT_FOLDER
from evenshard.storage.settings import StorageSettings
from evenshard.storage.tail.block import Block
from evenshard.storage.tenant import TenantRows, Visible

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recovered:
    """A shard's storage as found."""

    catalog: Catalog
    tenants: dict[TenantId, TenantRows]
    writer: LogWriter
    log_files: LogFiles
    cache: SegmentCache
    """Of what finding duplicates in segments reads; used by one thread at a time."""


def recover(disk: Disk, clock: Clock, shard: ShardId, settings: StorageSettings, report: Report) -> Recovered:
    """Raises ``DATA_DAMAGED`` and ``FORMAT_TOO_NEW``; whatever it changes on disk it may change again after a crash."""
    catalog = Catalog.open(disk, shard)
    try:
        _check_segment_files(disk, catalog, report)
        cache = SegmentCache(settings.identity_cache_bytes)
        replay = _Replay(disk, clock, shard, settings, catalog, cache, report)
        writer = replay.run()
        return Recovered(catalog, replay.tenants, writer, replay.log_files, cache)
    except BaseException:
        catalog.close()
        raise


def tenant_rows(
    disk: Disk, catalog: Catalog, tenant: TenantId, settings: StorageSettings, cache: SegmentCache
) -> TenantRows:
    """A tenant as the catalog knows it, without a tail."""
    segments = catalog.segments.get(tenant, ())
    mark = catalog.mark(tenant)
    visible = Visible(segments=segments, mark=mark, end_position=mark)
    return TenantRows(tenant, visible, IndexedIdentities(disk, segments, cache), settings.identity_hash_mask)


def _check_segment_files(disk: Disk, catalog: Catalog, report: Report) -> None:
    """Every live file is there; files nobody knows are left from a compaction that did not end, and go."""
    existing = {f"{SEGMENT_FOLDER}/{name}" for name in disk.list(SEGMENT_FOLDER)}
    live = {name for segments in catalog.segments.values() for segment in segments for name in segment.files}
    for name in sorted(live - existing):
        raise damaged(name, 0, "the catalog lists it, but it is missing")
    for name in sorted(existing - live):
        disk.unlink(name)
        report(f"{name}: removed, it belongs to no segment (a compaction was interrupted)")


class _Replay:
    """Reads the log files in order."""

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        shard: ShardId,
        settings: StorageSettings,
        catalog: Catalog,
        cache: SegmentCache,
        report: Report,
    ) -> None:
        self._disk = disk
        self._now_ms = clock.now_ms()
        self._shard = shard
        self._settings = settings
        self._catalog = catalog
        self._cache = cache
        self._report = report
        self._deletions: dict[TenantId, list[Deletion]] = {}
        """Those of each tenant that did not take effect yet, the last one first."""
        for name in catalog.tenants():
            self._deletions[name] = [record for record in reversed(catalog.deletions(name)) if not record.retired]
        self._indexed_row = max((catalog.mark(name) for name in catalog.tenants()), default=0)
        positions = [record.position for records in self._deletions.values() for record in records]
        self._synced_row = max([self._indexed_row, *positions])
        self.log_files = LogFiles()
        self.tenants = {name: self._tenant_rows(name) for name in catalog.tenants()}

    def run(self) -> LogWriter:
        """Fills the tenants' tails and returns the writer that goes on at the end."""
        numbers = self._numbers()
        next_row: int | None = None
        writer: LogWriter | None = None
        for number in numbers:
            last = number == numbers[-1]
            file = self._disk.open(file_name(number))
            try:
                log_file = self._read(file, number, last=last)
                if next_row is None:
                    self._check_beginning(log_file)
                elif log_file.first_row != next_row:
                    raise damaged(
                        file_name(number),
                        0,
                        f"it begins with row {log_file.first_row}, the file before ends at {next_row}",
                    )
                next_row = log_file.end_row
                self._replay(log_file)
            except BaseException:
                file.close()
                raise
            if last:
                self._settle_end(file, log_file)
                writer = self._writer(file, number, log_file.end_offset, log_file.end_row)
            else:
                file.close()
        for name, rows in self.tenants.items():
            self._apply_deletions(rows, before=None)
            seen = self._catalog.last_deletion(name)
            rows.visible = replace(rows.visible, deletions=Deletions(rows.visible.deletions.records, seen))
        return writer or self._begin()

    def _tenant_rows(self, tenant: TenantId) -> TenantRows:
        return tenant_rows(self._disk, self._catalog, tenant, self._settings, self._cache)

    def _numbers(self) -> list[int]:
        """The numbers of the log files; what is left of a creation that was cut off is removed."""
        names = self._disk.list(FOLDER)
        numbers = sorted(number for number in map(file_number, names) if number is not None)
        for before, after in pairwise(numbers):
            if after != before + 1:
                raise damaged(file_name(before + 1), 0, f"it is missing, but {file_name(after)} is there")
        if numbers and is_torn_creation(self._content(numbers[-1])):
            if len(numbers) == 1 and self._synced_row:
                raise damaged(file_name(numbers[-1]), 0, "its header is bad, and it is all there is of the log")
            self._disk.unlink(file_name(numbers[-1]))
            self._disk.sync_directory(FOLDER)
            self._report(f"{file_name(numbers[-1])}: removed, its creation was cut off")
            numbers.pop()
        return numbers

    def _content(self, number: int) -> bytes:
        file = self._disk.open(file_name(number))
        try:
            return file.read(0, FILE_HEADER_BYTES + 1)
        finally:
            file.close()

    def _read(self, file: File, number: int, *, last: bool) -> LogFile:
        data = file.read(0, file.size())
        return read_log_file(data, file_name(number), number, self._shard, last=last, synced_row=self._synced_row)

    def _check_beginning(self, log_file: LogFile) -> None:
        if log_file.first_row > self._indexed_row:
            raise damaged(
                file_name(log_file.number),
                0,
                f"rows {self._indexed_row} to {log_file.first_row - 1} are missing before it",
            )

    def _begin(self) -> LogWriter:
        if self._synced_row:
            raise damaged(file_name(1), 0, f"there is no log, but rows up to {self._synced_row} were written to it")
        self.log_files.add(1)
        return self._writer(create_log_file(self._disk, self._shard, 1, 0), 1, FILE_HEADER_BYTES, 0)

    def _settle_end(self, file: File, log_file: LogFile) -> None:
        """Cuts a torn end; makes durable what was read, since it is visible from now on."""
        name = file_name(log_file.number)
        if log_file.torn:
            lost = file.size() - log_file.end_offset
            file.truncate(log_file.end_offset)
            self._report(
                f"{name}: cut at byte {log_file.end_offset}, {lost} bytes of a torn write ({log_file.torn}); "
                "what they held was possibly acked"
            )
        file.sync()
        self._disk.sync_directory(FOLDER)

    def _writer(self, file: File, number: int, offset: int, next_row: int) -> LogWriter:
        return LogWriter(
            self._disk,
            self._shard,
            file=file,
            number=number,
            offset=offset,
            next_row=next_row,
            file_bytes_max=self._settings.log_file_bytes,
        )

    def _replay(self, log_file: LogFile) -> None:
        name = file_name(log_file.number)
        self.log_files.add(log_file.number)
        for frame in log_file.frames:
            self.log_files.note(log_file.number, frame.tenant, frame.end_row, frame.first_row)
            mark = self._catalog.mark(frame.tenant)
            if frame.end_row > mark:
                if frame.first_row < mark:
                    raise damaged(name, frame.offset, f"the catalog's mark {mark} lies within this frame")
                self._replay_frame(name, frame)

    def _replay_frame(self, name: str, frame: Frame) -> None:
        if frame.tenant not in self.tenants:
            self.tenants[frame.tenant] = self._tenant_rows(frame.tenant)
        rows = self.tenants[frame.tenant]
        try:
            batch = EventBatch.from_ipc(frame.payload)
        except pa.ArrowInvalid as error:
            raise damaged(name, frame.offset, f"the event batch cannot be read: {error}") from error
        if batch.rows != frame.rows:
            raise damaged(name, frame.offset, f"{batch.rows} rows where {frame.rows} were written")
        self._apply_deletions(rows, before=frame)
        hashes = hash_events(frame.tenant, batch)
        visible = rows.visible
        known = rows.indexed.known(frame.tenant, batch, hashes, visible.deletions) if visible.segments else None
        duplicates = decide_duplicates(
            batch, hashes.identity, known, None, rows.active, visible.blocks, rows.next_ordinal
        )
        stored = unpacked_bits(frame.bits, frame.rows)
        if not np.array_equal(duplicates, stored):
            row = int(np.flatnonzero(duplicates != stored)[0])
            raise damaged(name, frame.offset, f"the duplicate bit of row {row} is {bool(stored[row])}, but must not be")
        block = Block(
            batch,
            hashes.placement,
            duplicates,
            first_ordinal=rows.next_ordinal,
            end_position=frame.end_row,
            appended_ms=self._now_ms,
            bytes=len(frame.payload),
            hot=unpacked_bits(frame.hot_bits, frame.rows) if frame.hot_bits else None,
        )
        rows.publish([block])
        rows.sort_once()

    def _apply_deletions(self, rows: TenantRows, *, before: Frame | None) -> None:
        """Those that came before a frame; None: all."""
        waiting = self._deletions.get(rows.tenant, [])
        due: list[Deletion] = []
        while waiting and (before is None or waiting[-1].position < before.end_row):
            due.append(waiting.pop())
            if before is not None and due[-1].position > before.first_row:
                raise damaged(CATALOG_FILE, 0, f"a deletion of {rows.tenant} came within rows stored at once")
        if due:
            rows.hide(rows.hidden_by(*due))
