"""A whole life of a shard in which one operation of the disk fails, or the disk is full for a while.

Whatever fails, reads go on, what is refused is never there unasked, and what happens next is as ``Aftermath`` says.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field

from evenshard.errors import EvenshardError
from evenshard.testing.disk import Operation
from evenshard.testing.faults.crash_states import few_cuts
from evenshard.testing.faults.exploring import Counts, Explorer
from evenshard.testing.faults.oracle import DAY_MS, FIRST_DAY, event_of
from evenshard.testing.faults.recording_disk import CHANGING, SPACE_TAKING, Done, Fault
from evenshard.testing.faults.scenarios import with_damaged_log
from evenshard.testing.faults.story import Story

LOG_FILE_BYTES = 1200


@dataclass
class Failing:
    """Plays ``life`` under one fault; ``failed`` is the operation that failed (None: the life was shorter)."""

    seed: int
    code: int
    at: int
    done: Done = "nothing"
    operations_failing: int = 1
    """How many operations from ``at`` on fail that take space; 1: just that one, whatever it takes."""
    failed: tuple[Operation, str] | None = None
    after: list[str] = field(default_factory=list)
    """What came of each step from the fault on: ``""``, or how it was refused."""
    damaged: bool = False
    """Whether a frame of the log is damaged before the life begins."""
    power_is_cut: bool = False
    """Whether all states that a power cut at the end may leave are recovered from, too."""
    stopped: bool = False
    """A restart was needed."""
    seen: list[tuple[Operation, str]] = field(default_factory=list)
    """All operations."""
    cuts: Counts = field(default_factory=Counts)
    """What was recovered from with ``power_is_cut``."""

    def __post_init__(self) -> None:
        self.story = with_damaged_log(self.seed) if self.damaged else Story(self.seed, log_file_bytes=LOG_FILE_BYTES)
        self._left = self.operations_failing

    def play(self) -> "Failing":
        story = self.story
        story.disk.plan = self._plan
        self._open()
        for step in _damaged_life() if self.damaged else _life():
            before = self.failed
            code = self._tried(step)
            if self.failed is not None:
                self.after.append(code)
            if self.failed is not before:
                story.expect()
            if code == "SHARD_UNAVAILABLE" and self._stopped():
                self.stopped = True
                self._check_stopped()
                self._restart()
        story.disk.plan = None
        self._check_leftovers()
        self._check_healed()
        if self.power_is_cut:
            self.cuts = Explorer(few_cuts, follow_up_every=4, depth=0).explore(story, only_the_end=True)
        self._restart()
        return self

    def _plan(self, number: int, operation: Operation, name: str) -> Fault | None:
        self.seen.append((operation, name))
        if number < self.at or self._left == 0:
            return None
        if self.operations_failing > 1 and operation not in SPACE_TAKING:
            return None
        self._left -= 1
        self.failed = self.failed or (operation, name)
        done = "nothing" if operation == "commit" and self._full else self.done
        return Fault(OSError(self.code, "made to fail"), done if in_part(operation) else "nothing")

    @property
    def _full(self) -> bool:
        return self.code == errno.ENOSPC

    def _tried(self, step: tuple[str, tuple[int, ...]]) -> str:
        kind, events = step
        try:
            match kind:
                case "compact":
                    self.story.compact()
                case "restart":
                    self._restart()
                case "age":
                    self.story.age()
                case "delete":
                    return self.story.delete("acme", *{event_of(self.seed, number).distinct_id for number in events})
                case "retain":
                    return self.story.delete("acme", horizon_ms=FIRST_DAY * DAY_MS + DAY_MS // 4 * events[0])
                case "purge":
                    self.story.purge("acme")
                case _:
                    codes = self.story.append(
                        self.story.batch("acme", *events), self.story.batch("globex", *events), epoch=int(kind)
                    )
                    return max(codes)
        except EvenshardError as error:
            return error.code
        return ""

    def _check_stopped(self) -> None:
        """Nothing is taken before a restart, reads go on."""
        story = self.story
        if story.store._state.writer.broken is not None:
            assert story.send("acme", 3) == "SHARD_UNAVAILABLE"
        story.expect()

    def _check_healed(self) -> None:
        """One fault costs one step; only a failed sync of the log, or of a change of the catalog, costs a restart."""
        refused = [code for code in self.after if code]
        assert len(refused) <= self.operations_failing, self.after
        if self.stopped and self.failed is not None:
            kind, name = self.failed
            log_sync = kind in ("sync", "sync_directory") and name.startswith("log")
            assert log_sync or (name.startswith("catalog") and not self._full), self.failed

    def _check_leftovers(self) -> None:
        """What did not come to be takes no space: a full disk must not be filled by trying again."""
        if self._stopped() or (self.failed is not None and self.failed[0] == "unlink"):
            return  # the next start removes what is left
        segments = self.story.store._state.catalog.segments
        live = {name for infos in segments.values() for info in infos for name in info.files}
        there = {f"segments/{name}" for name in self.story.disk.list("segments")}
        assert there == live, f"left: {sorted(there - live)}, missing: {sorted(live - there)}"

    def _stopped(self) -> bool:
        """After a failed sync, or where the outcome of a change is open: nothing is taken, but reads go on."""
        writer, broken = self.story.store._state.writer, self.story.store._state._catalog_broken
        return writer.broken is not None or broken is not None

    def _restart(self) -> None:
        try:
            self.story.close()
        except (OSError, EvenshardError):
            self.story.disk.restart_connections()
        self._open()

    def _open(self) -> None:
        """Tries again as often as operations may fail, and once more."""
        for _ in range(self.operations_failing + 1):
            try:
                self.story.open()
            except (OSError, EvenshardError) as error:
                fault = error
                if isinstance(error, EvenshardError) and error.code in ("DATA_DAMAGED", "FORMAT_TOO_NEW"):
                    raise AssertionError(f"a disk that fails was taken for damage: {error}") from error
                self.after.append(type(error).__name__)
            else:
                return
        raise AssertionError("the shard does not start") from fault


def in_part(operation: Operation) -> bool:
    """Whether one that fails may have been done in part, or wholly; others change nothing, or are there or not."""
    return operation in CHANGING and operation != "create"


def _life() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Steps: a group at an epoch, a compaction, a restart, an old log, a deletion of the users of events, a horizon in
    quarters of days, a purge (of rows in the log and in segments, of rows within segments, of whole segments)."""
    yield "1", (1, 2, 1)
    yield "1", (2, 3)
    yield "2", (3, 4)
    yield "compact", ()
    yield "2", (1, 5)
    yield "2", (5, 6, 6)
    yield "restart", ()
    yield "2", (6, 2, 7)
    yield "age", ()
    yield "delete", (1, 5)
    yield "2", (5, 1)
    yield "purge", ()
    yield "2", (7, 8)
    yield "compact", ()
    yield "delete", (2,)
    yield "purge", ()
    yield "retain", (3,)
    yield "2", (9, 2)
    yield "purge", ()
    yield "retain", (8,)
    yield "purge", ()
    yield "2", (10,)


def _damaged_life() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "1", (3, 5, 1)
    yield "compact", ()
    yield "2", (1, 2, 6)
    yield "restart", ()
    yield "delete", (5,)
    yield "2", (5, 6)


def operations_of_a_life(seed: int, *, damaged: bool = False) -> list[tuple[Operation, str]]:
    """All operations of the disk it has."""
    return Failing(seed, errno.EIO, 1 << 60, damaged=damaged).play().seen
