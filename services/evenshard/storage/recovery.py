"""Opens a shard's storage: catalog, then the log past each tenant's mark, with every duplicate bit derived again.

Nothing on the disk is changed before everything was read and all that refuses a start has been looked for. A torn end
is cut, and that is said. What is damaged goes into quarantine, by file, offset and tenants; it is never passed over.
A deletion takes effect where it came: before the first frame behind its position.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.batch import EventBatch
from evenshard.ids import ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.disk import Disk, File
from evenshard.storage.catalog import Catalog
from evenshard.storage.log.files import LogFiles
from evenshard.storage.log.frame import FILE_HEADER_BYTES, Frame, FrameKind
from evenshard.storage.log.frame import FORMAT_VERSION as LOG_VERSION
from evenshard.storage.log.reader import Hole, LogFileReader, damaged
from evenshard.storage.log.writer import FOLDER, LogWriter, create_log_file, file_name
from evenshard.storage.moving.note import Note, noted
from evenshard.storage.progress import OnProgress, Replaying
from evenshard.storage.quarantine import Quarantined, of_tenant, quarantined_segment
from evenshard.storage.replayed_rows import ReplayedRows
from evenshard.storage.segment.cache import SegmentCache
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.segment.key_scratch import KeyScratch
from evenshard.storage.settings import StorageSettings
from evenshard.storage.start_check import (
    HALF_COPIED,
    TORN_CREATION,
    Directory,
    are_known_lost,
    check_directory,
    indexed_row,
    synced_row,
)
from evenshard.storage.tenant import TenantRows

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


def recover(
    disk: Disk,
    clock: Clock,
    shard: ShardId,
    settings: StorageSettings,
    report: Report,
    on_progress: OnProgress = lambda _: None,
    *,
    allow_missing: bool = False,
) -> Recovered:
    """Raises ``DATA_DAMAGED`` and ``FORMAT_TOO_NEW`` with nothing touched; whatever it changes on disk afterwards it
    may change again after a crash. ``allow_missing``: missing files are damage like any other, not a refusal."""
    known = Catalog.copied(disk, shard)
    found = check_directory(disk, shard, known, report, allow_missing=allow_missing)
    scratch = KeyScratch(disk, settings.identity_scratch_bytes, report)
    cache = SegmentCache(settings.identity_cache_bytes, scratch)
    replay = Replay(disk, clock, shard, settings, known, cache, report, on_progress, allow_missing=allow_missing)
    try:
        replay.run(found)
        catalog = Catalog.open(disk, shard)
        try:
            return replay.settled(catalog, found)
        except BaseException:
            catalog.close()
            raise
    except BaseException:
        replay.close()
        scratch.close()
        raise


class Replay:
    """Reads the log files in order; then, and only then, changes what has to be changed."""

    def __init__(
        self,
        disk: Disk,
        clock: Clock,
        shard: ShardId,
        settings: StorageSettings,
        catalog: Catalog | None,
        cache: SegmentCache,
        report: Report,
        on_progress: OnProgress,
        *,
        allow_missing: bool,
    ) -> None:
        self._allow_missing = allow_missing
        self._disk = disk
        self._clock = clock
        self._now_ms = clock.now_ms()
        self._shard = shard
        self._settings = settings
        self._catalog = catalog if catalog is not None else Catalog.nothing()
        self._cache = cache
        self._report = report
        self._on_progress = on_progress
        self._indexed_row, self._synced_row = indexed_row(self._catalog), synced_row(self._catalog)
        self._known = {each.key: each for each in self._catalog.quarantined}
        self._found: dict[str, Quarantined] = {}
        """What was found damaged now, by key."""
        self._met: list[Quarantined] = []
        """All holes of the log, those on record too."""
        self._first_row: int | None = None
        """Of the first log file."""
        self._last: tuple[File, LogFileReader, int] | None = None
        """The last log file, what was read of it, its number."""
        self._next_row = 0
        self._open_hole: tuple[str, Hole] | None = None
        """One whose end the next file tells."""
        self._version = 0
        """Of the log file that is being read."""
        self.log_files = LogFiles()
        for info in self._catalog.all_segments:
            if any(each.file == info.parquet and each.is_in_force for each in self._known.values()):
                cache.unreadable.add(info.id)
        cache.on_unreadable = self._segment_unreadable
        self._rows = ReplayedRows(disk, self._catalog, settings, cache, self._now_ms, self._has_lost)

    def run(self, found: Directory) -> None:
        """Fills the tenants' tails; changes nothing."""
        for info in self._catalog.all_segments:
            if info.id in found.missing_segments and info.id not in self._cache.unreadable:
                self._segment_unreadable(info, damaged(info.parquet, 0, "the file is missing"))
        sizes = [self._size(number) for number in found.log_numbers]
        began_ms, total, done = self._clock.monotonic_ms(), sum(sizes), 0
        before: int | None = None
        for at, number in enumerate(found.log_numbers):
            last = number == found.log_numbers[-1]
            name = file_name(number)
            may_be_torn = last and not found.torn_creation
            file = self._disk.open(name)
            try:
                reader = self._reader(file, number, last=may_be_torn, first=before is None)
                self._join(before, number, reader)
                self._version = reader.version
                before = number
                self.log_files.add(number)
                for piece in reader.pieces(self._is_wanted):
                    elapsed_ms = self._clock.monotonic_ms() - began_ms
                    self._on_progress(Replaying(at + 1, len(sizes), done + reader.end_offset, total, elapsed_ms))
                    if isinstance(piece, Hole):
                        self._hole(name, piece)
                    else:
                        self._frame(name, number, piece)
                self._next_row = reader.end_row if reader.end_row is not None else self._next_row
            except BaseException:
                file.close()
                raise
            done += sizes[at]
            if last:
                self._last = file, reader, number
            else:
                file.close()
        self._check_end(found.torn_creation)
        self._rows.finish()

    def settled(self, catalog: Catalog, found: Directory) -> Recovered:
        """Puts on disk what was found; whoever crashes in it finds the same again."""
        catalog.quarantine_at_start(self._found.values())
        for each in self._found.values():
            lost = f"{each.rows} rows at most of {', '.join(each.tenants)}" if each.rows else "no row is lost"
            self._report(f"{each.file}: in quarantine from byte {each.offset} ({lost}): {each.reason}")
        for tenant, count in sorted(self._rows.promoted.items()):
            self._report(f"{tenant}: {count} copies became originals, what they were copies of is lost")
        for name in found.leftovers:
            self._disk.unlink(name)
            self._report(f"{name}: removed, it belongs to no segment (a compaction was interrupted)")
        if found.torn_creation:
            self._disk.unlink(found.torn_creation)
            self._disk.sync_directory(FOLDER)
            self._report(f"{found.torn_creation}: removed, {TORN_CREATION}")
        writer = self._writer_at_end()
        for each_rows in self._rows.tenants.values():
            concerned = of_tenant(catalog.quarantined, each_rows.tenant)
            if concerned:
                each_rows.visible = replace(each_rows.visible, quarantined=concerned)
        return Recovered(catalog, self._rows.tenants, writer, self.log_files, self._cache)

    @property
    def tenants(self) -> dict[TenantId, TenantRows]:
        """What ``run`` read of each."""
        return self._rows.tenants

    @property
    def found(self) -> list[Quarantined]:
        """What ``run`` found damaged that was not on record."""
        return list(self._found.values())

    def has_read(self, record: Quarantined) -> bool:
        """Whether ``run`` found all that a record of the log says is lost."""
        if self._first_row is None or not self._first_row <= record.first_row <= record.end_row <= self._next_row:
            return False
        return not any(
            hole.key == record.key or (hole.first_row < record.end_row and record.first_row < hole.end_row)
            for hole in self._met
        )

    @property
    def torn(self) -> tuple[str, int, str] | None:
        """File, offset and reason of a torn end that ``run`` found."""
        if self._last is None or not self._last[1].torn:
            return None
        _, reader, number = self._last
        return file_name(number), reader.end_offset, reader.torn

    def close(self) -> None:
        """Closes the log file that is still open, where there is one."""
        if self._last is not None:
            self._last[0].close()
            self._last = None

    def _size(self, number: int) -> int:
        file = self._disk.open(file_name(number))
        try:
            return file.size()
        finally:
            file.close()

    def _reader(self, file: File, number: int, *, last: bool, first: bool) -> LogFileReader:
        reader = LogFileReader(
            file,
            file_name(number),
            number,
            self._shard,
            last=last,
            synced_row=self._synced_row,
            expected_row=None if first or self._open_hole is not None else self._next_row,
            quarantined={
                each.offset for each in self._known.values() if each.file == file_name(number) and not each.is_mended
            },
        )
        if reader.header_fault:
            self._hole(
                file_name(number),
                Hole(0, FILE_HEADER_BYTES, reader.first_row, reader.first_row, None, reader.header_fault),
            )
        return reader

    def _join(self, before: int | None, number: int, reader: LogFileReader) -> None:
        """Checks that the file follows the one before, and what is lost where it does not."""
        name, first_row = file_name(number), reader.first_row
        if before is None:
            self._first_row = first_row
            if first_row > self._indexed_row and not are_known_lost(self._catalog, self._indexed_row, first_row):
                gap = Hole(0, 0, self._indexed_row, first_row, None, f"rows before {name} are missing")
                self._hole(file_name(number - 1), gap)
        elif self._open_hole is not None:
            file, hole = self._open_hole
            self._open_hole = None
            if first_row < hole.first_row:
                raise damaged(name, 0, f"it begins with row {first_row}, the file before ends at {hole.first_row}")
            self._hole(file, replace(hole, end_row=first_row))
        elif number != before + 1:
            reason = f"the files between {file_name(before)} and {name} are missing"
            self._hole(file_name(before + 1), Hole(0, 0, self._next_row, first_row, None, reason))
        elif first_row != self._next_row:
            self._check_known_gap(before, name, first_row)
        self._next_row = first_row

    def _check_known_gap(self, before: int, name: str, first_row: int) -> None:
        """After a damaged end the log went on in a new file, behind all that may have been lost."""
        known = any(
            each.file == file_name(before) and each.end_row == first_row and each.first_row == self._next_row
            for each in self._known.values()
        )
        if not known:
            raise damaged(name, 0, f"it begins with row {first_row}, the file before ends at {self._next_row}")

    def _check_end(self, torn_creation: str) -> None:
        """What is known to have been written, and is not there."""
        if self._last is None:
            if self._synced_row:
                gap = Hole(0, 0, 0, self._synced_row, None, "there is no log")
                self._hole(file_name(1), gap)
            self._next_row = self._synced_row
            return
        _, reader, number = self._last
        name = file_name(number)
        if self._open_hole is not None:
            _, hole = self._open_hole
            self._open_hole = None
            self._next_row = max(hole.first_row + 1, self._synced_row)  # what was a frame had a row at least
            self._hole(name, replace(hole, end_row=self._next_row))
        elif self._next_row < self._synced_row:
            reason = f"the log ends before row {self._synced_row}, which was synced"
            if torn_creation:
                reason += f", and {torn_creation} is cut short"
            key = Quarantined(name, reader.end_offset, 0, 0, 0, (), None, None, 0, "").key
            if key not in self._known and not self._allow_missing:
                raise damaged(name, reader.end_offset, reason, HALF_COPIED)
            gap = Hole(reader.end_offset, reader.end_offset, self._next_row, self._synced_row, None, reason)
            self._hole(name, gap)
            self._next_row = self._synced_row

    def _hole(self, name: str, hole: Hole) -> None:
        """Rows that are lost, of whom they may have been."""
        if hole.end_row is None:
            self._open_hole = name, hole
            return
        end_row = hole.end_row
        candidates = (hole.tenant,) if hole.tenant is not None else self._catalog.tenants()
        tenants = tuple(each for each in candidates if self._catalog.mark(each) < end_row)
        rows = end_row - hole.first_row
        if not rows:
            tenants = ()
        record = Quarantined(
            name,
            hole.offset,
            hole.end,
            hole.first_row,
            end_row,
            tenants,
            None,
            None,
            rows if tenants else 0,
            hole.reason,
        )
        self._met.append(record)
        if not self._catalog.has_quarantine(record):
            self._found[record.key] = record

    def _segment_unreadable(self, info: SegmentInfo, error: EvenshardError) -> None:
        self._cache.unreadable.add(info.id)
        record = quarantined_segment(info, error)
        if not self._catalog.has_quarantine(record):
            self._found[record.key] = record

    def _has_lost(self, tenant: TenantId) -> bool:
        """Whether rows of a tenant are known to be lost."""
        return bool(of_tenant((*self._known.values(), *self._found.values()), tenant))

    def _is_wanted(self, frame: Frame) -> bool:
        return frame.end_row > self._catalog.mark(frame.tenant)

    def _frame(self, name: str, number: int, frame: Frame) -> None:
        self.log_files.note(number, frame.tenant, frame.end_row, frame.first_row, now_ms=self._now_ms)
        mark = self._catalog.mark(frame.tenant)
        if frame.end_row <= mark:
            return
        if frame.first_row < mark:
            raise damaged(name, frame.offset, f"the catalog's mark {mark} lies within this frame")
        payload: bytes | memoryview = bytes(frame.payload)  # its own bytes: the tail keeps no whole log file
        note: Note | None = None
        try:
            if frame.kind is FrameKind.COPIED:
                note, payload = noted(bytes(payload))
            batch = EventBatch.from_ipc(payload)
        except (pa.ArrowInvalid, StopIteration, ValueError, KeyError, TypeError) as error:
            self._unusable(name, frame, f"the event batch cannot be read: {error}")
            return
        if batch.rows != frame.rows:
            self._unusable(name, frame, f"{batch.rows} rows where {frame.rows} were written")
            return
        if note is not None:
            self._rows.take_copied(frame, batch, note)
        else:
            self._rows.take(name, frame, batch, of_old=self._version < LOG_VERSION)

    def _unusable(self, name: str, frame: Frame, reason: str) -> None:
        self._hole(name, Hole(frame.offset, frame.end, frame.first_row, frame.end_row, frame.tenant, reason))

    def _writer_at_end(self) -> LogWriter:
        """Cuts a torn end; makes durable what was read, since it is visible from now on. Behind a damaged end the log
        goes on in a new file."""
        if self._last is None:
            self.log_files.add(1)
            return self._writer(
                create_log_file(self._disk, self._shard, 1, self._next_row), 1, FILE_HEADER_BYTES, self._next_row
            )
        file, reader, number = self._last
        name = file_name(number)
        if reader.torn:
            lost = file.size() - reader.end_offset
            file.truncate(reader.end_offset)
            self._report(
                f"{name}: cut at byte {reader.end_offset}, {lost} bytes of a torn write ({reader.torn}); "
                "what they held was possibly acked"
            )
        file.sync()
        self._disk.sync_directory(FOLDER)
        if self._end_is_sound(reader):
            self._last = None
            return self._writer(file, number, reader.end_offset, self._next_row)
        self.close()
        self.log_files.add(number + 1)
        new = create_log_file(self._disk, self._shard, number + 1, self._next_row)
        return self._writer(new, number + 1, FILE_HEADER_BYTES, self._next_row)

    def _end_is_sound(self, reader: LogFileReader) -> bool:
        sound = reader.end_row == self._next_row and not reader.ends_in_hole and not reader.header_fault
        return sound and reader.version == LOG_VERSION  # what is written now must not stand in a file of an older one

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
