"""A store on a recording disk, driven by a scenario; what is sent and answered goes into the disk's journal."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.ports.disk import Disk
from evenshard.storage.append import Appended
from evenshard.storage.settings import StorageSettings
from evenshard.storage.snapshot import Snapshot
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.events import Event, all_events, append_of
from evenshard.testing.faults.journal import NOTHING, DiskState
from evenshard.testing.faults.oracle import (
    Acked,
    Batch,
    Damaged,
    Deleted,
    Deleting,
    Deletion,
    Found,
    Kept,
    Oracle,
    Purged,
    Refused,
    Sent,
)
from evenshard.testing.faults.recording_disk import FaultPlan, ProcessKilledError, RecordingDisk

TENANTS = ("acme", "globex")
SHARD = ShardId("shard-0")
NOT_STORED = frozenset({"DISK_FULL", "STALE_EPOCH", "OVERLOADED"})
"""Codes of refusals after which a batch is not stored for certain; others leave it in doubt."""


def events_left(disk: Disk, snapshot: Snapshot, damaged: Collection[str]) -> list[tuple[Event, bool]]:
    """What is left of a tenant besides damaged files, and would be refused for their sake."""
    segments = tuple(each for each in snapshot.segments if each.parquet not in damaged)
    left = replace(snapshot._open(), quarantined=(), segments=segments)
    return all_events(Snapshot(disk, snapshot.tenant, snapshot.epoch, left, lambda _: None))


class Story:
    """One shard's life. Begins with ``open``."""

    def __init__(
        self,
        seed: int,
        *,
        start: DiskState = NOTHING,
        oracle: Oracle | None = None,
        next_batch: int = 0,
        log_file_bytes: int = 1 << 20,
    ) -> None:
        self.seed = seed
        self.disk = RecordingDisk.holding(start)
        self.clock = ManualClock()
        self.settings = StorageSettings(log_file_bytes=log_file_bytes)
        self.begin = Oracle(seed) if oracle is None else oracle.copy()
        """What was promised before the journal begins."""
        self.oracle = self.begin.copy()
        self.restarted_at = 0
        """The moment in the journal after which another process began; 0: none did."""
        self.reports: list[str] = []
        self._next_batch = next_batch
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        assert self._store is not None
        return self._store

    def open(self) -> Found:
        """Starts the shard; what it shows then must be right, and is promised from then on. Neither a power cut nor a
        disk that fails is damage: nothing goes into quarantine."""
        self._store = Store.open(self.disk, self.clock, SHARD, self.settings, self.reports.append)
        strange = [each for each in self._store.quarantined if each.file not in self.oracle.damaged.values()]
        assert strange == [], strange
        found = self.found()
        self.expect(found)
        self._note(self.oracle.served(found))
        return found

    def after_flip(self, file: str, offset: int, *lost: Batch) -> "Story":
        """The story of the next process, on a disk on which one bit of a file was flipped meanwhile, which loses these
        batches of one tenant."""
        state = self.disk.state()
        content = bytearray(state.files[file])
        content[offset] ^= 1
        oracle = self.oracle.copy()
        if lost:
            oracle.note(Damaged(file, lost[0].tenant, frozenset(batch.number for batch in lost)))
        return Story(
            self.seed,
            start=replace(state, files={**state.files, file: bytes(content)}),
            oracle=oracle,
            next_batch=self._next_batch,
            log_file_bytes=self.settings.log_file_bytes,
        )

    def after(self, state: DiskState, oracle: Oracle) -> "Story":
        """The story of who starts on a disk after a power cut, and is held to what was promised."""
        size = self.settings.log_file_bytes
        return Story(self.seed, start=state, oracle=oracle, next_batch=oracle.last_number, log_file_bytes=size)

    def close(self) -> None:
        """Stops the shard cleanly."""
        self.store.close()

    def batch(self, tenant: str, *events: int) -> Batch:
        """The next batch, of events by number."""
        self._next_batch += 1
        return Batch(self._next_batch, tenant, events)

    def append(self, *batches: Batch, epoch: int = 0) -> list[str]:
        """Sends a group, at the epoch the shard knows or a higher one. Returns for each batch the code it was refused
        with, or ``""``; bits must be right."""
        self._note(Sent(batches))
        appends = [append_of(batch.rows(self.seed), batch.tenant, self._epoch(batch, epoch)) for batch in batches]
        codes = []
        for batch, sent, outcome in zip(batches, appends, self.store.append(appends), strict=True):
            if isinstance(outcome, Appended):
                bits = self.oracle.bits(batch)
                assert outcome.duplicates.tolist() == bits, f"batch {batch.number}: {outcome.duplicates} for {bits}"
                self._note(Acked(batch, sent.epoch))
            elif outcome.code in NOT_STORED:
                self._note(Refused(batch))
            codes.append(outcome.code if isinstance(outcome, EvenshardError) else "")
        return codes

    def send(self, tenant: str, *events: int) -> str:
        """A group of one batch."""
        (code,) = self.append(self.batch(tenant, *events))
        return code

    def compact(self, *tenants: str) -> None:
        for tenant in tenants or TENANTS:
            self.store.compact(TenantId(tenant))

    def age(self) -> None:
        """The log file that is written to has grown old: another is begun, and whose rows keep it are indexed apart."""
        self.clock.jump_wall(self.settings.log_age_ms)
        for tenant in self.store.age_log(self.clock.now_ms()):
            self.store.compact(tenant, apart=True)

    def delete(self, tenant: str, *users: str, horizon_ms: int = 0) -> str:
        """Deletes users, or what is older than a horizon. Returns the code of the refusal, or ``""``."""
        self._next_batch += 1
        deletion = Deletion(self._next_batch, tenant, users, horizon_ms)
        name, epoch = TenantId(tenant), Epoch(max(1, self.store.epoch(TenantId(tenant))))
        self._note(Deleting(deletion))
        try:
            if users:
                self.store.hide_users(name, epoch, f"operation-{deletion.number}", users)
            else:
                self.store.raise_horizon(name, epoch, horizon_ms)
        except EvenshardError as error:
            if error.code in NOT_STORED:
                self._note(Kept(deletion))
            return error.code
        self._note(Deleted(deletion))
        self.expect()
        return ""

    def purge(self, tenant: str) -> bool:
        """Removes the bytes of what is deleted; where that is said to be done, the files that held them must be gone
        for good."""
        before = self._files()
        while self.store.purge_step(TenantId(tenant)):
            pass
        purged = self.store.purge_status(TenantId(tenant)).purged
        if purged:
            self._note(Purged(before - self._files()))
        self.expect()
        return purged

    def _files(self) -> frozenset[str]:
        return frozenset(self.disk._names)  # not an operation of the disk's

    def found(self) -> Found:
        """All rows of all tenants; of one with a damaged file, which must be refused, those that are left."""
        rows = {}
        for tenant in TENANTS:
            with self.store.snapshot(TenantId(tenant)) as snapshot:
                damaged = self.oracle.damaged.get(tenant)
                rows[tenant] = all_events(snapshot) if damaged is None else self._left(snapshot, damaged)
        return rows

    def _left(self, snapshot: Snapshot, damaged: str) -> list[tuple[Event, bool]]:
        try:
            all_events(snapshot)
        except EvenshardError as error:
            if (error.code, error.details.get("file")) != ("DATA_DAMAGED", damaged):
                raise
        else:
            raise AssertionError(f"{snapshot.tenant} was answered as if {damaged} were whole")
        return events_left(self.disk, snapshot, {damaged})

    def epochs(self) -> dict[str, int]:
        """What the shard knows of each tenant."""
        return {tenant: self.store.epoch(TenantId(tenant)) for tenant in TENANTS}

    def expect(self, found: Found | None = None) -> None:
        """What is visible is what was promised, or may be."""
        fault = self.oracle.fault(self.found() if found is None else found, self.epochs())
        assert fault is None, fault

    def with_plan(self, plan: FaultPlan, act: Callable[[], object]) -> bool:
        """Runs ``act`` under a fault plan; False: the process was killed in it."""
        self.disk.plan = plan
        try:
            act()
        except ProcessKilledError:
            return False
        finally:
            self.disk.plan = None
        return True

    def restart(self) -> None:
        """After a kill: another process starts on the same disk, which kept its power."""
        self.disk.restart()
        self.open()

    def promised_events(self, tenant: str) -> Sequence[int]:
        """The numbers of all events that may be stored."""
        known = self.oracle.promised | self.oracle.doubtful
        return sorted({event for batch in known.values() if batch.tenant == tenant for event in batch.events})

    def follow_up(self) -> None:
        """What a shard must be able to do after any recovery: take new events and retries, compact, stop, start."""
        for tenant in TENANTS:
            known = self.promised_events(tenant)
            new = 10_000 + self._next_batch
            codes = self.append(self.batch(tenant, *known, new, new + 1, new), self.batch(tenant, *known[:3], new))
            assert codes == ["", ""], codes
        self.compact()
        self.expect()
        for tenant in TENANTS:
            assert self.send(tenant, *self.promised_events(tenant)) == ""
        self.close()
        self.open()

    def _epoch(self, batch: Batch, wanted: int) -> int:
        return max(1, wanted, self.store.epoch(TenantId(batch.tenant)))

    def _note(self, what: object) -> None:
        self.oracle.note(what)
        self.disk.note(what)
