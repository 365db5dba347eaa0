"""Any interleaving of append, retry, compaction, sorting, crash and restart gives the answers of a dict-based model;
so do deletions and horizons between them.

The model is a list of events with duplicate bits per tenant. What was acked is there, each with the right bit, first
stored wins; a batch that was not acked before a crash is there whole or not at all.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.storage import indexing
from evenshard.storage.append import Append, Appended
from evenshard.storage.settings import StorageSettings
from evenshard.storage.snapshot import Snapshot
from evenshard.storage.store import Store
from evenshard.storage.tail import runs
from evenshard.storage.tail.block import Block
from evenshard.storage.tenant import Visible
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, all_events, append_of, events_of_parts
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
PIECES_OF_SOAK = 8
"""For each machine; so that others get their turn between. Each run draws other ones."""
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
        self.checked: dict[str, tuple[Visible, list[str]]] = {}
        """What was last found right: nobody changes what is visible, so it need not be read again."""
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

    @rule(tenant=st.sampled_from(TENANTS))
    def compact_apart(self, tenant: str) -> None:
        self.store.compact(TenantId(tenant), apart=True)

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
            assert ordered(all_events(snapshot)) == ordered(events_of_parts(snapshot)) == expected
            snapshot.close()
        self.snapshots.clear()

    @invariant()
    def everything_acked_is_there_once_with_its_bit(self) -> None:
        if not hasattr(self, "store"):
            return
        for tenant in TENANTS:
            rows = self.store._state.tenants.get(TenantId(tenant))
            stored = ordered(self.model.stored[tenant])
            seen, found = self.checked.get(tenant, (None, []))
            if rows is not None and rows.visible is seen and found == stored:
                continue
            with self.store.snapshot(TenantId(tenant)) as snapshot:
                assert ordered(all_events(snapshot)) == ordered(events_of_parts(snapshot)) == stored
            if rows is not None:
                self.checked[tenant] = rows.visible, stored

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


EPOCH = Epoch(1)
HOT_USER = "u2"
tenants = st.sampled_from(TENANTS)
some_users = st.lists(st.sampled_from(["u1", HOT_USER, "nobody", ""]), min_size=1, max_size=2)
horizons = st.sampled_from([DAY_MS * 20_000, DAY_MS * 20_000 + 1, DAY_MS * 20_001, DAY_MS * 20_001 + 1])


def with_hot_rows(batch: list[Event], tenant: str) -> Append:
    """All rows of one user are hot."""
    hot = np.array([event.distinct_id == HOT_USER for event in batch])
    return replace(append_of(batch, tenant), hot=hot if hot.any() else None)


class DeletionMachine(StoreMachine):
    """In the model a deletion takes rows out of the list: what is hidden is nobody's original. ``known``: operations
    with their users, by number; an interrupted one is sent again, as its driver does."""

    @initialize()
    def begin_deleting(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(runs, "LOOSE_BLOCKS_MAX", 3)
        self.known: list[tuple[str, list[str], str]] = []
        self.horizon_ms = dict.fromkeys(TENANTS, -(1 << 63))

    @rule(group=groups)
    def append(self, group: list[tuple[str, list[Event]]]) -> None:
        outcomes = self.store.append([with_hot_rows(batch, tenant) for tenant, batch in group])
        for (tenant, batch), outcome in zip(group, outcomes, strict=True):
            assert isinstance(outcome, Appended)
            assert outcome.duplicates.tolist() == self.model.add(tenant, batch)
        self.sent += group

    @rule(tenant=tenants, users=some_users)
    def delete(self, tenant: str, users: list[str]) -> None:
        self.known.append((tenant, users, f"op-{len(self.known)}"))
        self.carry_out(*self.known[-1])

    def carry_out(self, tenant: str, users: list[str], operation: str) -> None:
        self.store.hide_users(TenantId(tenant), EPOCH, operation, users)
        gone = {user for user in users if user}
        kept = [(event, bit) for event, bit in self.model.stored[tenant] if event.distinct_id not in gone]
        self.model.stored[tenant] = kept

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def delete_again(self, data: st.DataObject) -> None:
        tenant, users, operation = data.draw(st.sampled_from(self.known))
        self.store.hide_users(TenantId(tenant), EPOCH, operation, users)

    @rule(tenant=tenants, horizon_ms=horizons)
    def expire(self, tenant: str, horizon_ms: int) -> None:
        now = max(self.horizon_ms[tenant], horizon_ms)
        assert self.store.raise_horizon(TenantId(tenant), EPOCH, horizon_ms) == now
        if now > self.horizon_ms[tenant]:
            self.horizon_ms[tenant] = now
            self.model.stored[tenant] = [item for item in self.model.stored[tenant] if item[0].time >= now]

    @rule(tenant=tenants, group=groups, users=some_users, at=st.sampled_from(["create", "write", "sync_directory"]))
    def delete_while_compacting(
        self, tenant: str, group: list[tuple[str, list[Event]]], users: list[str], at: str
    ) -> None:
        self.append(group)

        def hook(operation: str, name: str) -> None:
            if operation == at and name.startswith("segments"):
                self.disk.hook = None
                self.delete(tenant, users)
                self.append(group)

        self.disk.hook = hook
        self.store.compact(TenantId(tenant))
        self.disk.hook = None
        self.append(group)

    @rule(tenant=tenants, users=some_users, seed=st.integers(0, 1 << 30), durable=st.booleans())
    def crash_while_deleting(self, tenant: str, users: list[str], seed: int, durable: bool) -> None:
        self.known.append((tenant, users, f"op-{len(self.known)}"))
        catalog = self.store._state.catalog
        add_deletion = catalog.add_deletion

        def cut(*change: object) -> None:
            if durable:
                add_deletion(*change)  # type: ignore[arg-type]
            raise PowerCutError

        catalog.add_deletion = cut  # type: ignore[method-assign]
        with suppress(PowerCutError):
            self.store.hide_users(TenantId(tenant), EPOCH, self.known[-1][2], users)
        self.lose_power_within(seed)
        self.carry_out(*self.known[-1])

    @rule(tenant=tenants, group=groups, users=some_users)
    def delete_while_sorting(self, tenant: str, group: list[tuple[str, list[Event]]], users: list[str]) -> None:
        def sorted_run(blocks: Sequence[Block]) -> Block:
            self.delete(tenant, users)
            self.append(group)
            return runs.sorted_run(blocks)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(indexing, "sorted_run", sorted_run)
            self.store.sort_tail(TenantId(tenant))

    @rule(tenant=tenants)
    def purge(self, tenant: str) -> None:
        name = TenantId(tenant)
        steps = 0
        while self.store.purge_step(name):
            steps += 1
            assert steps < 100
        status = self.store.purge_status(name)
        if any(snapshot.tenant == tenant and snapshot.segments for snapshot, _ in self.snapshots):
            return  # it may wait for them
        assert (status.purged, status.rows_left, status.waits_for) == (True, 0, "")
        stored = sum(each.log_rows + each.segment_rows for each in self.store.storage(name))
        assert stored == len(self.model.stored[tenant])

    @rule(tenant=tenants, group=groups, seed=st.integers(0, 1 << 30), after=st.integers(0, 40))
    def crash_while_purging(self, tenant: str, group: list[tuple[str, list[Event]]], seed: int, after: int) -> None:
        self.append(group)
        self.delete(tenant, ["u1"])
        self.cut_power_after(after, lambda: self.purge(tenant))
        self.lose_power_within(seed)

    def lose_power_within(self, seed: int) -> None:
        """What is stored then is for the caller to say."""
        self.close_snapshots_unread()
        self.disk = self.disk.crash(Random(seed))
        self.open()

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()
        super().teardown()


DeletionMachine.TestCase.settings = settings(StoreMachine.TestCase.settings, max_examples=40, stateful_step_count=30)
TestDeletionMachine = DeletionMachine.TestCase


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("machine", [StoreMachine, DeletionMachine])
@pytest.mark.parametrize("piece", range(PIECES_OF_SOAK))
def test_many_and_long_interleavings(machine: type[StoreMachine], piece: int) -> None:
    del piece
    run_state_machine_as_test(machine, settings=settings(SETTINGS, max_examples=100, stateful_step_count=50))
