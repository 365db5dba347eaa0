"""Ends quarantines of a shard that does not run: what was mended is served again, a loss that is accepted is closed.

Either changes who is left of an event's copies. So every range that had a segment in quarantine is written anew, each
event with one original: the earliest there is, or, where that is lost, the earliest copy. New segments, the end of the
quarantine and the removal of a lost segment are one transaction: whoever crashes finds all as it was, or done. Copies
in the log need nothing: a start derives their bits again.
"""

import errno
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.disk import Disk
from evenshard.storage.catalog import Catalog
from evenshard.storage.compaction.compact import Compaction, compact
from evenshard.storage.compaction.plan import Task, storage_day
from evenshard.storage.compaction.settle import as_it_is, with_one_original
from evenshard.storage.deletions import Deletions
from evenshard.storage.log.writer import FOLDER as LOG_FOLDER
from evenshard.storage.progress import OnProgress
from evenshard.storage.quarantine import Quarantined, State
from evenshard.storage.recovery import Replay
from evenshard.storage.segment.cache import SegmentCache
from evenshard.storage.segment.info import FOLDER, MAIN_RUN, SegmentInfo
from evenshard.storage.segment.key_scratch import KeyScratch
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.settings import StorageSettings
from evenshard.storage.start_check import check_directory

Say = Callable[[str], None]
_Range = tuple[TenantId, str, int, int]


@dataclass(frozen=True, slots=True)
class _Shard:
    disk: Disk
    clock: Clock
    name: ShardId
    catalog: Catalog
    say: Say


def mend(disk: Disk, clock: Clock, shard: ShardId, say: Say) -> int:
    """Ends the quarantine of what can be read again, every byte of it verified; how many that were. Raises as a start.

    Rows of the log come back only where nothing behind them was indexed meanwhile: they lie before the mark otherwise.
    """
    catalog = Catalog.copied(disk, shard)
    if catalog is None or not any(each.is_in_force for each in catalog.quarantined):
        return 0
    readable = [each for each in catalog.quarantined if each.is_in_force and _is_readable_segment(disk, catalog, each)]
    readable += _readable_in_log(disk, clock, shard, catalog, say)
    return _end(disk, clock, shard, readable, "mended", say)


def accept(disk: Disk, clock: Clock, shard: ShardId, say: Say) -> int:
    """Ends every quarantine that is in force: what it held is given up, its segments' files are removed. How many."""
    catalog = Catalog.copied(disk, shard)
    lost = [] if catalog is None else [each for each in catalog.quarantined if each.is_in_force]
    return _end(disk, clock, shard, lost, "accepted", say)


def _is_readable_segment(disk: Disk, catalog: Catalog, record: Quarantined) -> bool:
    info = _segment_of(catalog, record)
    if info is None:
        return False
    try:
        SegmentReader(disk, info).verify()
    except EvenshardError as error:
        if error.code != "DATA_DAMAGED":
            raise
        return False
    return True


def _readable_in_log(disk: Disk, clock: Clock, shard: ShardId, catalog: Catalog, say: Say) -> list[Quarantined]:
    """Those of the log whose bytes are there again and whose rows a start would serve."""
    asked = [each for each in catalog.quarantined if each.is_in_force and each.file.startswith(f"{LOG_FOLDER}/")]
    if not asked:
        return []
    settings = StorageSettings()
    on_progress: OnProgress = lambda progress: say(str(progress))  # noqa: E731
    cache = SegmentCache(settings.identity_cache_bytes, KeyScratch(disk, 0))
    replay = Replay(disk, clock, shard, settings, catalog, cache, lambda _: None, on_progress, allow_missing=True)
    try:
        replay.run(check_directory(disk, shard, catalog, lambda _: None, allow_missing=True))
    finally:
        replay.close()
    return [
        each
        for each in asked
        if replay.has_read(each) and all(catalog.mark(tenant) <= each.first_row for tenant in each.tenants)
    ]


def _segment_of(catalog: Catalog, record: Quarantined) -> SegmentInfo | None:
    """The live segment that a record is of."""
    infos = (info for group in catalog.segments.values() for info in group)
    return next((info for info in infos if info.parquet == record.file), None)


def _end(disk: Disk, clock: Clock, shard: ShardId, records: Iterable[Quarantined], state: State, say: Say) -> int:
    ended = [each.ended(state) for each in records]
    if not ended:
        return 0
    catalog = Catalog.open(disk, shard)
    try:
        work = _Shard(disk, clock, shard, catalog, say)
        of_segments: dict[_Range, list[tuple[Quarantined, SegmentInfo]]] = {}
        others = []
        for each in ended:
            info = _segment_of(catalog, each)
            if info is None:
                others.append(each)
            else:
                of_segments.setdefault((info.tenant, info.layer, info.first_day, info.last_day), []).append(
                    (each, info)
                )
        for of_range in of_segments.values():
            _end_in_range(work, of_range)
        if others:
            catalog.end_quarantine(others)
            _say(say, others)
    except (OSError, sqlite3.Error) as error:
        raise _refusal(error) from error
    finally:
        catalog.close()
    return len(ended)


def _refusal(error: OSError | sqlite3.Error) -> EvenshardError:
    full = getattr(error, "errno", 0) == errno.ENOSPC or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
    code = "DISK_FULL" if full else "SHARD_UNAVAILABLE"
    return EvenshardError(code, f"a quarantine could not be ended: {error}", "see to the disk, then the same again")


def _end_in_range(work: _Shard, ended: Sequence[tuple[Quarantined, SegmentInfo]]) -> None:
    """Writes what can be read of a range anew; the lost segments, and what was replaced, are live no more."""
    catalog, first = work.catalog, ended[0][1]
    tenant = first.tenant
    lost = [info for record, info in ended if record.is_accepted]
    mended = {info.id for record, info in ended if not record.is_accepted}
    in_force = {each.file for each in catalog.quarantined if each.is_in_force}
    of_range = [
        info
        for info in catalog.segments[tenant]
        if (info.layer, info.first_day, info.last_day) == (first.layer, first.first_day, first.last_day)
    ]
    readable = [info for info in of_range if info.id in mended or info.parquet not in in_force]
    stays = len(readable) + len(lost) < len(of_range)
    written = _written_anew(work, tenant, readable, max(info.run for info in of_range) + 1 if stays else MAIN_RUN)
    records = [record for record, _ in ended]
    removed = [*written.removed, *(info.id for info in lost)]
    catalog.commit(tenant, written.added, removed, catalog.mark(tenant), ended=records)
    _say(work.say, records)
    _unlink(work, [info for info in of_range if info.id in removed])


def _unlink(work: _Shard, infos: Iterable[SegmentInfo]) -> None:
    existing = {f"{FOLDER}/{name}" for name in work.disk.list(FOLDER)}
    for name in (name for info in infos for name in info.files if name in existing):
        try:
            work.disk.unlink(name)
        except OSError as error:
            work.say(f"{name}: not removed ({error}); the next start removes it")


def _written_anew(work: _Shard, tenant: TenantId, infos: Sequence[SegmentInfo], run: int) -> Compaction:
    if not infos:
        return Compaction((), (), 0, 0)
    in_order = sorted(infos, key=lambda info: (info.run, info.slot_first, info.id))
    deletions = Deletions(
        (record for record in work.catalog.deletions(tenant) if not record.retired), work.catalog.last_deletion(tenant)
    )
    task = Task(infos[0].first_day, infos[0].last_day, run, tuple(info.id for info in in_order))
    layer = infos[0].layer
    try:
        written = compact(
            work.disk,
            work.catalog.next_segment_id,
            tenant,
            (),
            in_order,
            storage_day(work.clock.now_ms()),
            shard=work.name,
            deletions=deletions,
            tasks=[task],
            settle=as_it_is if layer else with_one_original,
        )
        return replace(written, added=tuple(replace(info, layer=layer) for info in written.added))
    except EvenshardError as error:
        if error.code == "DATA_DAMAGED":
            hint = "put that into quarantine first: evenshard fsck DIR --repair"
            raise EvenshardError(error.code, error.message, hint, details=error.details) from error
        raise


def _say(say: Say, records: Iterable[Quarantined]) -> None:
    for each in records:
        rows = f"{each.rows} rows at most of {each.days}"
        what = "given up" if each.is_accepted else "whole again, and served"
        say(f"{each.file}: no more in quarantine from byte {each.offset}: {rows} {what}")
