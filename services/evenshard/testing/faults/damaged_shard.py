"""A small shard on real files, and whether one with damaged bytes still answers right, or says what is damaged."""

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from evenshard.errors import EvenshardError
from evenshard.events.batch import FIELD_NAMES
from evenshard.ids import TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.append import Appended
from evenshard.storage.catalog_rows import FILE as CATALOG_FILE
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.columns.lookups import Lookups
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.events import FOR_EVER, Event, all_events, append_of, stored_events
from evenshard.testing.faults.mutants import mutated
from evenshard.testing.faults.oracle import Acked, Batch, Oracle, Sent, Served, batches_in, ordered, rows_of
from evenshard.testing.faults.story import SHARD, events_left

TENANT = "acme"
RETRY = Batch(9, TENANT, (1, 2, 3, 4, 5, 6))
End = Literal["clean", "killed"]
DETECTED = frozenset({"DATA_DAMAGED", "FORMAT_TOO_NEW"})
RIGHT, NAMED, CUT = "right", "named", "cut"
"""Outcomes that may be: as if nothing had been; refused, naming the file, by the start or, where the shard put on
record what is lost, by queries that may need it, also after the next start; the log's end was cut, and it said so."""


@dataclass(frozen=True, slots=True)
class Shard:
    """The bytes of a data directory, and what they hold."""

    files: Mapping[str, bytes]
    seed: int
    batches: tuple[Batch, ...]
    end: End

    def oracle(self) -> Oracle:
        oracle = Oracle(self.seed)
        for batch in self.batches:
            oracle.note(Sent((batch,)))
            oracle.note(Acked(batch))
        return oracle


def make_shard(seed: int, *, indexed: bool, end: End, small: bool = False) -> Shard:
    """Three batches of a tenant; with ``indexed`` all but the last are in a segment. ``small``: two batches, and the
    catalog in small pages: fewer bytes that mean the same, or nothing."""
    batches: tuple[Batch, ...] = (Batch(1, TENANT, (1, 2, 1)), Batch(2, TENANT, (3, 4, 2)), Batch(3, TENANT, (5, 1)))
    batches = (batches[0], replace(batches[2], number=2)) if small else batches
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        disk = LocalDisk(Path(folder))
        store = Store.open(disk, ManualClock(), SHARD, StorageSettings(), lambda _: None)
        for batch in batches:
            (outcome,) = store.append([append_of(batch.rows(seed), TENANT)])
            assert isinstance(outcome, Appended)
            if indexed and batch.number == len(batches) - 1:
                store.compact(TenantId(TENANT))
        if end == "killed":
            store._state.catalog.close()  # SQLite would write its files anew behind our back
        else:
            store.close()
        disk.close()
        if small:
            _in_small_pages(Path(folder) / CATALOG_FILE)
        return Shard(read_files(Path(folder)), seed, batches, end)


def _in_small_pages(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in ("journal_mode=DELETE", "page_size=512"):
            connection.execute(f"PRAGMA {statement}")
        connection.execute("VACUUM")
        connection.execute("PRAGMA journal_mode=WAL")


def read_files(folder: Path) -> dict[str, bytes]:
    """All files below a folder, by relative name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def scratch() -> str | None:
    """Where files need not be durable."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() else None


@dataclass(frozen=True, slots=True)
class Damage:
    """A file of a shard with other bytes in it."""

    shard: str
    name: str
    content: bytes
    what: str
    mutant: str = ""
    """A mutant that is in force; empty: none."""


@dataclass(frozen=True)
class DamageCheck:
    """Says of a ``Damage`` how it ended: ``RIGHT``, ``NAMED``, ``CUT``, or what is wrong."""

    shards: Mapping[str, Shard]
    any_end: bool = False
    """Of a killed shard the end of the log may be lost as by a cut at any place, otherwise only its last batch; where
    the log of one that was stopped ends is on record."""

    def __call__(self, damage: Damage) -> str:
        with contextlib.ExitStack() as stack:
            if damage.mutant:
                stack.enter_context(mutated(damage.mutant))
            folder = Path(tempfile.mkdtemp(dir=scratch()))
            stack.callback(shutil.rmtree, folder)
            for name, content in {**self.shards[damage.shard].files, damage.name: damage.content}.items():
                path = folder / name
                path.parent.mkdir(exist_ok=True, parents=True)
                path.write_bytes(content)
            disk = LocalDisk(folder)
            stack.callback(disk.close)
            return self._outcome(disk, damage)

    def _outcome(self, disk: LocalDisk, damage: Damage) -> str:
        outcome, lost = self._lived(disk, damage)
        if outcome != NAMED or not lost:
            return outcome
        again, still_lost = self._lived(disk, damage, again=True)
        if again != NAMED or not lost <= still_lost:
            return f"wrong: {sorted(lost)} in quarantine, then {sorted(still_lost)}, and the next start: {again}"
        return NAMED

    def _lived(self, disk: LocalDisk, damage: Damage, *, again: bool = False) -> tuple[str, frozenset[str]]:
        """How a start and what is asked of it end, and what is on record as lost then."""
        reports: list[str] = []
        lost: frozenset[str] = frozenset()
        try:
            store = Store.open(disk, ManualClock(), SHARD, StorageSettings(), reports.append)
            try:
                return self._answers(store, damage, reports), lost
            except EvenshardError:
                if store.quarantined and (fault := self._left(disk, store, damage, again=again)):
                    return f"wrong: besides what is lost: {fault}", lost
                raise
            finally:
                lost = frozenset(each.key for each in store.quarantined)
                store.close()
        except EvenshardError as error:
            named = damage.name in f"{error.message} {error.details}"
            said = error.code in DETECTED and named
            return NAMED if said else f"wrong: {error.code}, {error.message}", lost
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be
            return f"wrong: {error!r}", lost

    def _answers(self, store: Store, damage: Damage, reports: list[str]) -> str:
        shard = self.shards[damage.shard]
        oracle = shard.oracle()
        found = {TENANT: _rows(store)}
        if (event := _ruled_out(store)) is not None:
            return f"wrong: {event} is in a segment, and its filter says it is not"
        outcome = RIGHT
        if (fault := oracle.fault(found)) is not None:
            cut = any(line.startswith(damage.name) for line in reports) or shard.files[damage.name].startswith(
                damage.content
            )
            last = [batch.number for batch in shard.batches[0 if self.any_end else -1 :]]
            oracle.doubtful = {number: oracle.promised.pop(number) for number in last}
            numbers = sorted(batches_in(found))
            prefix = numbers == [batch.number for batch in shard.batches[: len(numbers)]]
            allowed = cut and prefix and shard.end == "killed"
            if not allowed or oracle.fault(found) is not None:
                return f"wrong: {fault}, reported {reports}"
            oracle.note(Served(frozenset(numbers)))
            outcome = CUT
        oracle.note(Sent((RETRY,)))
        (appended,) = store.append([append_of(RETRY.rows(shard.seed), TENANT)])
        if isinstance(appended, EvenshardError):
            raise appended
        if appended.duplicates.tolist() != (bits := oracle.bits(RETRY)):
            return f"wrong: bits of a retry are {appended.duplicates.tolist()}, not {bits}"
        oracle.note(Acked(RETRY))
        store.compact(TenantId(TENANT))
        after = oracle.fault({TENANT: _rows(store)})
        return outcome if after is None else f"wrong: after a retry and a compaction: {after}"

    def _left(self, disk: LocalDisk, store: Store, damage: Damage, *, again: bool) -> str:
        """What is wrong with the rows besides those that are lost: whole batches, and nothing that never was. From
        the next start on the first copies that are left are no duplicates."""
        shard = self.shards[damage.shard]
        with store.snapshot(TenantId(TENANT)) as snapshot:
            found = events_left(disk, snapshot, {each.file for each in store.quarantined})
        numbers = batches_in({TENANT: found})
        batches = [batch for batch in (*shard.batches, RETRY) if batch.number in numbers]
        expected = rows_of(shard.seed, batches).get(TENANT, [])
        if not again:
            found, expected = ([(event, False) for event, _ in rows] for rows in (found, expected))
        have, want = ordered(found), ordered(expected)
        return "" if have == want else f"{have}, not {want}"


def _ruled_out(store: Store) -> Event | None:
    """An event of a segment that would be passed over by who looks it up."""
    disk = store._state.disk
    lookups = Lookups(disk, ColumnCache(0), lambda _: contextlib.nullcontext())
    with store.snapshot(TenantId(TENANT)) as snapshot:
        for info in snapshot.segments:
            held = lookups.held(info)
            for event, _ in stored_events(SegmentReader(disk, info).scan(FIELD_NAMES, None, *FOR_EVER)):
                fields = {"event": event.event, "distinct_id": event.distinct_id, "insert_id": event.insert_id}
                if not all(text is None or held.may_hold_field(field, text) for field, text in fields.items()):
                    return event
    return None


def _rows(store: Store) -> list[tuple[Event, bool]]:
    with store.snapshot(TenantId(TENANT)) as snapshot:
        return all_events(snapshot)
