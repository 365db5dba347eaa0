"""A defect in the middle of an append: what the log holds stays true, nothing stored is forgotten."""

from random import Random

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.storage.append import Appended, Synced
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.storage.tenant import TenantRows
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, all_events, append_of

ACME, SHARD = TenantId("acme"), ShardId("shard-0")
CLICK = Event("click", "ann", 1_700_000_000_000, "1")


class DefectError(Exception):
    """Neither an error of the disk nor one of ours."""


def opened(disk: MemoryDisk, reports: list[str], broken_listener: bool = False) -> Store:
    def on_sync(synced: Synced) -> object:
        if broken_listener:
            raise DefectError("nobody listens")
        return synced.rows

    return Store.open(disk, ManualClock(), SHARD, StorageSettings(), reports.append, on_sync)


def append(store: Store) -> list[bool]:
    (outcome,) = store.append([append_of([CLICK], "acme", 1)])
    assert isinstance(outcome, Appended), outcome
    return outcome.duplicates.tolist()


def shown(store: Store) -> list[tuple[Event, bool]]:
    with store.snapshot(ACME) as snapshot:
        return all_events(snapshot)


def test_a_listener_that_fails_after_the_sync_changes_nothing() -> None:
    disk, reports = MemoryDisk(), list[str]()
    store = opened(disk, reports, broken_listener=True)
    assert (append(store), append(store)) == ([False], [True])
    assert shown(store) == [(CLICK, False), (CLICK, True)]
    assert len(reports) == 2
    again = opened(disk.crash(Random(0)), reports)
    assert shown(again) == [(CLICK, False), (CLICK, True)]


def test_a_defect_after_the_write_stops_the_log_and_a_restart_reads_what_it_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk, reports = MemoryDisk(), list[str]()
    store = opened(disk, reports)
    with monkeypatch.context() as patched:
        patched.setattr(TenantRows, "publish", _raise)
        with pytest.raises(DefectError):
            store.append([append_of([CLICK], "acme", 1)])
    (refused,) = store.append([append_of([CLICK], "acme", 1)])
    assert isinstance(refused, EvenshardError)
    assert refused.code == "SHARD_UNAVAILABLE"
    again = opened(disk.crash(Random(0)), reports)
    assert append(again) == [True]
    assert shown(again) == [(CLICK, False), (CLICK, True)]


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_defect_during_the_write_stops_the_log(operation: str) -> None:
    disk, reports = MemoryDisk(), list[str]()
    store = opened(disk, reports)

    def hook(seen: str, name: str) -> None:
        if seen == operation and name.startswith("log"):
            disk.hook = None
            raise DefectError

    disk.hook = hook
    with pytest.raises(DefectError):
        store.append([append_of([CLICK], "acme", 1)])
    (refused,) = store.append([append_of([CLICK], "acme", 1)])
    assert isinstance(refused, EvenshardError)
    assert refused.code == "SHARD_UNAVAILABLE"
    seed = 7
    again = opened(disk.crash(Random(seed)), reports)
    stored = shown(again)
    assert stored in ([], [(CLICK, False)]), seed
    assert append(again) == [bool(stored)]


def _raise(*_: object) -> None:
    raise DefectError
