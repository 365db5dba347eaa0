"""Looks at every byte of a shard's directory that has a checksum, and derives again what is derived. Changes nothing.

What it verifies: the catalog's rows and digest; every frame of the log, indexed or not, their order and the marks; the
duplicate bits of the log, derived again; of every segment the footer, all blocks, order, placement, bounds and counts,
and that each event has one original; filters against those made anew. What it cannot: whether rows that were never
written should have been, and whether whole frames are missing at the end of the log of a shard that was killed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.errors import EvenshardError
from evenshard.events.batch import FIELD_NAMES
from evenshard.events.hashing import NO_IDENTITY, SLOT_SHIFT, UInt64
from evenshard.events.scan import DUPLICATE, HOT, PLACEMENT_HASH
from evenshard.ids import ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.disk import Disk
from evenshard.storage.catalog import Catalog
from evenshard.storage.catalog_rows import FILE
from evenshard.storage.deletions import Deletions, Hiding
from evenshard.storage.layers import plain
from evenshard.storage.log.frame import Frame
from evenshard.storage.log.reader import LogFileReader
from evenshard.storage.log.writer import FOLDER, file_name, file_number
from evenshard.storage.quarantine import Quarantined
from evenshard.storage.recovery import Replay
from evenshard.storage.segment.cache import SegmentCache
from evenshard.storage.segment.identities import read_filter, stored_identities, values_are_whole
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.segment.key_scratch import KeyScratch
from evenshard.storage.segment.order import in_order, sort_keys
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.segment.writer import hashes_of
from evenshard.storage.settings import StorageSettings
from evenshard.storage.start_check import TORN_CREATION, check_directory

Say = Callable[[str], None]
TORN_END, LEFTOVER, FILTER_DAMAGED, QUARANTINED = "TORN_END", "LEFTOVER", "FILTER_DAMAGED", "QUARANTINED"
"""Codes beside those of errors: all of these a start, or the first use, settles by itself."""
_REPAIR = "evenshard fsck --repair puts it into quarantine, as a start does: everything else is served"
_ENDING = "put the file back as it was, then --repair; or import them again, then --accept-loss"
_COPY = "copy the directory before anything else"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be. ``lost_rows``: at most; None: not known. ``next``: what to do."""

    file: str
    offset: int
    code: str
    lost_rows: int | None
    next: str


@dataclass(slots=True)
class Checked:
    """What was looked at, and what was found."""

    files: int = 0
    frames: int = 0
    rows: int = 0
    findings: list[Finding] = field(default_factory=list)
    damaged_segments: list[tuple[SegmentInfo, EvenshardError]] = field(default_factory=list)
    damaged_filters: list[SegmentInfo] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.findings


def check(disk: Disk, clock: Clock, shard: ShardId, say: Say) -> Checked:
    """Of the directory of ``shard``. ``say`` gets a line for each file."""
    checked = Checked()
    try:
        catalog = Catalog.copied(disk, shard)
    except EvenshardError as error:
        checked.findings.append(_of_error(error))
        _check_log_alone(disk, shard, checked, say)
        return checked
    try:
        check_directory(disk, shard, catalog, lambda _: None)
    except EvenshardError as error:
        checked.findings.append(_of_error(error))
    if catalog is None:
        return checked
    checked.files += 1
    checked.findings += [
        Finding(each.file, each.offset, QUARANTINED, each.rows, f"rows of {each.days}: {_ENDING}")
        for each in catalog.quarantined
        if each.is_in_force
    ]
    _check_log(disk, clock, shard, catalog, checked, say)
    in_force = [each for each in catalog.quarantined if each.is_in_force]
    known = {each.file for each in in_force}
    for tenant, segments in catalog.segments.items():
        sound = [info for info in segments if info.parquet not in known]
        deletions = Deletions(record for record in catalog.deletions(tenant) if not record.retired)
        has_lost = any(tenant in lost.tenants for lost in in_force)
        apart = _Identities()  # of layers no row need be an original, or have one, in its own range
        kept = [info for info in catalog.originals(tenant) if info.parquet not in known]
        for info in (*(each for each in sound if each.layer), *kept):
            _check_segment(disk, info, apart, deletions, checked, say)
        _check_segments(disk, tenant, plain(sound), deletions, checked, say, apart, has_lost=has_lost)
    for tenant in catalog.tenants():
        sound = [info for info in catalog.originals(tenant) if info.parquet not in known]
        if sound and tenant not in catalog.segments:  # they are nobody's originals
            _check_segments(disk, tenant, sound, Deletions(), checked, say, _Identities(), has_lost=True)
    return checked


def _of_error(error: EvenshardError, lost_rows: int | None = None) -> Finding:
    offset = int(error.details.get("offset", 0))
    return Finding(error.details.get("file", FILE), offset, error.code, lost_rows, f"{error.message}: {error.hint}")


def _check_log_alone(disk: Disk, shard: ShardId, checked: Checked, say: Say) -> None:
    """Without a catalog: what the frames say of themselves."""
    numbers = sorted(number for name in disk.list(FOLDER) if (number := file_number(name)) is not None)
    for number in numbers:
        name = file_name(number)
        say(name)
        file = disk.open(name)
        try:
            reader = LogFileReader(file, name, number, shard, last=number == numbers[-1])
            for piece in reader.pieces():
                if isinstance(piece, Frame):
                    checked.frames += 1
                    checked.rows += piece.rows
                else:
                    lost = None if piece.end_row is None else piece.end_row - piece.first_row
                    checked.findings.append(Finding(name, piece.offset, "DATA_DAMAGED", lost, _COPY))
        except EvenshardError as error:
            checked.findings.append(_of_error(error))
        finally:
            file.close()
        checked.files += 1


class _WholeReplay(Replay):
    """A replay that reads frames of indexed rows too, and counts."""

    def __init__(self, disk: Disk, clock: Clock, shard: ShardId, catalog: Catalog, checked: Checked, say: Say) -> None:
        settings = StorageSettings()
        super().__init__(
            disk,
            clock,
            shard,
            settings,
            catalog,
            SegmentCache(settings.identity_cache_bytes, KeyScratch(disk, 0)),
            lambda _: None,
            lambda progress: say(str(progress)),
            allow_missing=True,
        )
        self._checked = checked

    def _is_wanted(self, frame: Frame) -> bool:
        return True

    def _frame(self, name: str, number: int, frame: Frame) -> None:
        self._checked.frames += 1
        self._checked.rows += frame.rows if frame.end_row > self._catalog.mark(frame.tenant) else 0
        super()._frame(name, number, frame)


def _check_log(disk: Disk, clock: Clock, shard: ShardId, catalog: Catalog, checked: Checked, say: Say) -> None:
    replay = _WholeReplay(disk, clock, shard, catalog, checked, say)
    try:
        found = check_directory(disk, shard, catalog, lambda _: None, allow_missing=True)
        checked.files += len(found.log_numbers)
        replay.run(found)
        torn = replay.torn
    except EvenshardError as error:
        checked.findings.append(_of_error(error))
        return
    finally:
        replay.close()
    checked.findings += [_of_hole(each) for each in replay.found if each.file.startswith(FOLDER)]
    if torn is not None:
        name, offset, reason = torn
        checked.findings.append(Finding(name, offset, TORN_END, None, f"{reason}: the next start cuts it"))
    if found.torn_creation:
        next_ = f"{TORN_CREATION}: the next start removes it"
        checked.findings.append(Finding(found.torn_creation, 0, TORN_END, None, next_))
    for name in found.leftovers:
        checked.findings.append(Finding(name, 0, LEFTOVER, 0, "of no use: the next start removes it"))


def _of_hole(each: Quarantined) -> Finding:
    next_ = _REPAIR if each.rows else "nothing is lost, what was there is in segments or can be told without it"
    return Finding(each.file, each.offset, "DATA_DAMAGED", each.rows, f"{each.reason}: {next_}")


@dataclass(slots=True)
class _Identities:
    """Of one range: who is an original."""

    originals: list[UInt64] = field(default_factory=list)
    copies: list[UInt64] = field(default_factory=list)


def _check_segments(
    disk: Disk,
    tenant: TenantId,
    segments: Sequence[SegmentInfo],
    deletions: Deletions,
    checked: Checked,
    say: Say,
    apart: _Identities,
    *,
    has_lost: bool,
) -> None:
    """``apart``: identities of rows that may be the originals of others, whatever their days."""
    ranges: dict[tuple[int, int], _Identities] = {}
    for info in segments:
        identities = ranges.setdefault((info.first_day, info.last_day), _Identities())
        has_lost |= not _check_segment(disk, info, identities, deletions, checked, say)
    if has_lost:  # copies may be left of originals that are lost
        return
    for (first_day, last_day), identities in ranges.items():
        originals = np.concatenate(identities.originals) if identities.originals else np.zeros(0, np.uint64)
        copies = np.concatenate(identities.copies) if identities.copies else np.zeros(0, np.uint64)
        doubled = originals.size - np.unique(originals).size
        orphaned = int(np.count_nonzero(~np.isin(copies, np.concatenate([originals, *apart.originals]))))
        if doubled or orphaned:
            file = next(info.parquet for info in segments if (info.first_day, info.last_day) == (first_day, last_day))
            what = (
                f"{doubled} events have two originals, {orphaned} copies none ({tenant}, days {first_day}-{last_day})"
            )
            checked.findings.append(Finding(file, 0, "DATA_DAMAGED", 0, f"{what}: this is a defect, report it"))


def _check_segment(
    disk: Disk, info: SegmentInfo, identities: _Identities, deletions: Deletions, checked: Checked, say: Say
) -> bool:
    """False: it is damaged."""
    say(info.parquet)
    try:
        reader = SegmentReader(disk, info)
        reader.verify()
        _check_rows(reader, identities, deletions.hiding(info.deletions_seen))
    except EvenshardError as error:
        checked.damaged_segments.append((info, error))
        next_ = f"{error.message}: {_REPAIR}" if error.code == "DATA_DAMAGED" else f"{error.message}: {error.hint}"
        offset = int(error.details.get("offset", 0))
        checked.findings.append(Finding(info.parquet, offset, error.code, info.rows, next_))
        return False
    checked.files += 2
    checked.rows += info.rows
    _check_filter(disk, reader, checked)
    return True


def _check_rows(reader: SegmentReader, identities: _Identities, hiding: Hiding | None) -> None:
    """Of hidden rows it is not asked who is an original: they are nobody's, and go one file after another."""
    info = reader.info
    last_hash, rows, duplicates, hot = -1, 0, 0, 0
    for group in range(len(reader.row_groups)):
        record = reader.read_group(group, (*FIELD_NAMES, PLACEMENT_HASH, DUPLICATE, HOT))
        table = pa.Table.from_batches([record])
        placement: UInt64 = record.column(PLACEMENT_HASH).to_numpy()
        times: npt.NDArray[np.int64] = record.column("time").to_numpy()
        is_copy: npt.NDArray[np.bool_] = record.column(DUPLICATE).to_numpy(zero_copy_only=False)
        hashes = hashes_of(info.tenant, table)
        if not np.array_equal(hashes.placement, placement):
            raise _wrong(info, "placement hashes are not those of the rows")
        if int(placement[0]) < last_hash or not in_order(sort_keys(_with_codes(table))):
            raise _wrong(info, "rows are not in order")
        slots = placement >> np.uint64(SLOT_SHIFT)
        if slots.min() < info.slot_first or slots.max() > info.slot_last:
            raise _wrong(info, "rows lie outside the slots in the catalog")
        if times.min() < info.min_time_ms or times.max() > info.max_time_ms:
            raise _wrong(info, "rows lie outside the times in the catalog")
        last_hash = int(placement[-1])
        rows, duplicates = rows + record.num_rows, duplicates + int(is_copy.sum())
        hot += int(record.column(HOT).to_numpy(zero_copy_only=False).sum())
        has_identity = hashes.identity != NO_IDENTITY
        if hiding is not None:
            ids = record.column("distinct_id")
            hidden = hiding.rows(placement, partial(_taken, ids), times, in_order=True)
            has_identity &= True if hidden is None else ~hidden
        identities.originals.append(hashes.identity[has_identity & ~is_copy])
        identities.copies.append(hashes.identity[has_identity & is_copy])
    if (rows, duplicates, hot) != (info.rows, info.duplicates, info.hot_rows):
        raise _wrong(info, "rows, duplicates or hot rows are not as many as the catalog says")


def _taken(column: pa.Array, rows: npt.NDArray[np.int64]) -> pa.Array:
    return column.take(pa.array(rows))


def _with_codes(table: pa.Table) -> pa.Table:
    events = table.column("event")
    if pa.types.is_dictionary(events.type):
        return table
    return table.set_column(table.column_names.index("event"), "event", events.dictionary_encode())


def _wrong(info: SegmentInfo, what: str) -> EvenshardError:
    return EvenshardError("DATA_DAMAGED", f"{info.parquet}: {what}", details={"file": info.parquet})


def _check_filter(disk: Disk, reader: SegmentReader, checked: Checked) -> None:
    info = reader.info
    try:
        identities = stored_identities(reader)
        sound = bool(read_filter(disk, info).may_contain(identities[identities != NO_IDENTITY]).all())
        sound = sound and values_are_whole(disk, reader)
        reason = "it lacks rows of its segment"
    except EvenshardError as error:
        if error.code != "DATA_DAMAGED":
            checked.findings.append(_of_error(error, 0))
            return
        sound, reason = False, error.message
    if not sound:
        checked.damaged_filters.append(info)
        checked.findings.append(
            Finding(info.filter, 0, FILTER_DAMAGED, 0, f"{reason}: it is made again where it is needed, or by --repair")
        )
