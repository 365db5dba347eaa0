"""Any interleaving of append, retry, compaction, sorting, crash and restart gives the answers of a dict-based model.

The model is a list of events with duplicate bits per tenant. What was acked is there, each with the right bit, first
stored wins; a batch that was not acked before a crash is there whole or not at all.
"""

from dataclasses import dataclass, field
from random import Random

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.storage.append import Appended
from evenshard.storage.settings import StorageSettings
from evenshard.storage.snapshot import Snapshot
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, all_events, append_of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

TENANTS = ("acme", "globex")
SHARD = ShardId("shard-0")
DAY_MS = 86_400_000

events = st.builds(
    Event,
    st.sampled_from(["a", "b"]),
    st.sampled_from(["", "u1", "u2"]),
    st.sampled_from([DAY_MS * 20_000, DAY_MS * 20_000 + 1, DAY_MS * 20_001]),
    st.sampled_from([None, "", "x", "y"]),
    st.sampled_from([{}, {"i:n": 1}, {"s:n": "text"}, {"s:n": None, "b:long name": True}]),
)
batches = st.lists(events, min_size=1, max_size=6)
groups = st.lists(st.tuples(st.sampled_from(TENANTS), batches), min_size=1, max_size=3)


class PowerCutError(Exception):
    """The disk loses power at this operation."""


@dataclass
class Model:
    """What is stored, in order."""

    stored: dict[str, list[tuple[Event, bool]]] = field(default_factory=lambda: {tenant: [] for tenant in TENANTS})

    def bits(self, tenant: str, batch: list[Event]) -> list[bool]:
        seen = {event.identity for event, _ in self.stored[tenant]}
        bits = []
        for event in batch:
            bits.append(event.identity is not None and event.identity in seen)
            seen.add(event.identity)
        return bits

    def add(self, tenant: str, batch: list[Event]) -> list[bool]:
        bits = self.bits(tenant, batch)
        self.stored[tenant] += list(zip(batch, bits, strict=True))
        return bits


def ordered(rows: list[tuple[Event, bool]]) -> list[str]:
    return sorted(f"{fields(event)}|{bit}" for event, bit in rows)


def fields(event: Event) -> str:
    properties = {name: value for name, value in event.properties.items() if value is not None}
    return f"{event.event}|{event.distinct_id}|{event.time}|{event.insert_id!r}|{properties}"


class StoreMachine(RuleBasedStateMachine):
    """Drives one store; ``self.store`` is always open between rules."""

    @initialize(file_bytes=st.sampled_from([1, 2_000, 1 << 20]), mask=st.sampled_from([(1 << 64) - 1, 1]))
    def begin(self, file_bytes: int, mask: int) -> None:
        self.settings = StorageSettings(log_file_bytes=file_bytes, identity_hash_mask=mask)
        self.disk = MemoryDisk()
        self.clock = ManualClock()
        self.model = Model()
        self.in_doubt: list[tuple[str, list[Event]]] = []
        self.snapshots: list[tuple[Snapshot, list[str]]] = []
        self.sent: list[tuple[str, list[Event]]] = []
        self.open()

    def open(self) -> None:
        self.store = Store.open(self.disk, self.clock, SHARD, self.settings, lambda line: None)

    @rule(group=groups)
    def append(self, group: list[tuple[str, list[Event]]]) -> None:
        outcomes = self.store.append([append_of(batch, tenant) for tenant, batch in group])
        for (tenant, batch), outcome in zip(group, outcomes, strict=True):
            assert isinstance(outcome, Appended)
            assert outcome.duplicates.tolist() == self.model.add(tenant, batch)
        self.sent += group

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        self.append([data.draw(st.sampled_from(self.sent))])

    @rule(tenant=st.sampled_from(TENANTS))
    def compact(self, tenant: str) -> None:
        self.store.compact(TenantId(tenant))

    @rule(
        tenant=st.sampled_from(TENANTS), group=groups, at=st.sampled_from(["create", "write", "sync", "sync_directory"])
    )
    def compact_while_appending(self, tenant: str, group: list[tuple[str, list[Event]]], at: str) -> None:
        def hook(operation: str, name: str) -> None:
            if operation == at and name.startswith("segments"):
                self.disk.hook = None
                self.append(group)

        self.disk.hook = hook
        self.store.compact(TenantId(tenant))
        self.disk.hook = None
        self.append(group)

    @rule(tenant=st.sampled_from(TENANTS))
    def sort(self, tenant: str) -> None:
        self.store.sort_tail(TenantId(tenant))

    @rule()
    def restart(self) -> None:
        self.close_snapshots()
        self.store.close()
        self.open()

    @rule(seed=st.integers(0, 1 << 30))
    def crash(self, seed: int) -> None:
        self.lose_power(seed)

    @rule(group=groups, seed=st.integers(0, 1 << 30), after=st.integers(0, 6))
    def crash_while_appending(self, group: list[tuple[str, list[Event]]], seed: int, after: int) -> None:
        acked = self.cut_power_after(after, lambda: self.append(group))
        self.lose_power(seed, [] if acked else group)

    @rule(tenant=st.sampled_from(TENANTS), seed=st.integers(0, 1 << 30), after=st.integers(0, 30))
    def crash_while_compacting(self, tenant: str, seed: int, after: int) -> None:
        self.cut_power_after(after, lambda: self.compact(tenant))
        self.lose_power(seed)

    @rule(seed=st.integers(0, 1 << 30), again=st.integers(0, 1 << 30), after=st.integers(0, 12))
    def crash_while_starting(self, seed: int, again: int, after: int) -> None:
        self.close_snapshots()
        self.disk = self.disk.crash(Random(seed))
        self.cut_power_after(after, self.open)
        self.lose_power(again)

    @rule(group=groups)
    def write_fails(self, group: list[tuple[str, list[Event]]]) -> None:
        def hook(operation: str, name: str) -> None:
            if operation == "write" and name.startswith("log"):
                self.disk.hook = None
                raise OSError(28, "no space left on the disk")

        self.disk.hook = hook
        outcomes = self.store.append([append_of(batch, tenant) for tenant, batch in group])
        self.disk.hook = None
        assert all(isinstance(outcome, EvenshardError) and outcome.code == "DISK_FULL" for outcome in outcomes)
        self.sent += group

    @rule(tenant=st.sampled_from(TENANTS))
    def take_snapshot(self, tenant: str) -> None:
        if len(self.snapshots) < 3:
            self.snapshots.append((self.store.snapshot(TenantId(tenant)), ordered(self.model.stored[tenant])))

    @rule()
    def close_snapshots(self) -> None:
        for snapshot, expected in self.snapshots:
            assert ordered(all_events(snapshot)) == expected
            snapshot.close()
        self.snapshots.clear()

    @invariant()
    def everything_acked_is_there_once_with_its_bit(self) -> None:
        if not hasattr(self, "store"):
            return
        for tenant in TENANTS:
            with self.store.snapshot(TenantId(tenant)) as snapshot:
                assert ordered(all_events(snapshot)) == ordered(self.model.stored[tenant])

    def cut_power_after(self, operations: int, act: object) -> bool:
        """Runs ``act`` until the disk has done so many operations; True: it ended before."""
        left = [operations]

        def hook(operation: str, name: str) -> None:
            if left[0] == 0:
                raise PowerCutError
            left[0] -= 1

        self.disk.hook = hook
        try:
            act()  # type: ignore[operator]
        except PowerCutError:
            return False
        finally:
            self.disk.hook = None
        return True

    def lose_power(self, seed: int, in_doubt: list[tuple[str, list[Event]]] | None = None) -> None:
        """Crashes and starts again; of the batches in doubt the first so many were stored, whole."""
        self.close_snapshots_unread()
        self.disk = self.disk.crash(Random(seed))
        self.open()
        for tenant, batch in in_doubt or []:
            with self.store.snapshot(TenantId(tenant)) as snapshot:
                found = len(all_events(snapshot))
            if found > len(self.model.stored[tenant]):
                self.model.add(tenant, batch)

    def close_snapshots_unread(self) -> None:
        """After a power cut nothing can be read."""
        self.snapshots.clear()

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()


SETTINGS = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
StoreMachine.TestCase.settings = SETTINGS
TestStoreMachine = StoreMachine.TestCase


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_and_long_interleavings() -> None:
    run_state_machine_as_test(StoreMachine, settings=settings(SETTINGS, max_examples=2_000, stateful_step_count=50))
