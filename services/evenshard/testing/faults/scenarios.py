"""What is done to a shard while its disk keeps a journal; every scenario is one entry of ``SCENARIOS``.

A scenario gets a new story and plays it. To cover another operation of storage, add a function and its entry.
"""

import errno
from collections.abc import Callable, Mapping
from typing import Final

from evenshard.errors import EvenshardError
from evenshard.ids import TenantId
from evenshard.storage import fsck, fsck_repair
from evenshard.storage.log.frame import FILE_HEADER_BYTES
from evenshard.testing.disk import Operation
from evenshard.testing.faults.oracle import DAY_MS, FIRST_DAY, event_of
from evenshard.testing.faults.recording_disk import CHANGING, Done, Fault, FaultPlan, ProcessKilledError
from evenshard.testing.faults.story import SHARD, Story

LASTING: Final = CHANGING - {"begin", "statement"}
"""Operations at which it matters to die: an open transaction is nothing yet."""

IN_FIRST_FRAME: Final = FILE_HEADER_BYTES + 200
"""A byte of what the first batch of a log holds, behind what says whose it is."""
IN_FILTER: Final = 40

Scenario = Callable[[int], Story]
"""Plays it with a seed and returns the story."""


def fail_at(
    kind: Operation, folder: str, error: OSError | ProcessKilledError, done: Done = "nothing", times: int = 1
) -> FaultPlan:
    """The next operations of a kind in a folder fail."""
    left = [times]

    def plan(number: int, operation: Operation, name: str) -> Fault | None:
        if operation == kind and name.startswith(folder) and left[0]:
            left[0] -= 1
            return Fault(error, done)
        return None

    return plan


def kill_at(number_wanted: int, done: Done) -> FaultPlan:
    """The process dies at the lasting operation with this number, counted from here."""
    seen = [0]

    def plan(number: int, operation: Operation, name: str) -> Fault | None:
        if operation not in LASTING:
            return None
        seen[0] += 1
        return Fault(ProcessKilledError(), done) if seen[0] == number_wanted + 1 else None

    return plan


def append(seed: int) -> Story:
    """Groups of several batches and tenants, copies within a batch, retries, a newer epoch."""
    story = Story(seed)
    story.open()
    story.send("acme", 1, 2, 1)
    story.append(story.batch("acme", 2, 3), story.batch("globex", 1, 2), story.batch("acme", 3, 4))
    story.send("acme", 1, 2, 1)
    story.append(story.batch("globex", 5), epoch=2)
    return story


def rotate(seed: int) -> Story:
    """A new log file for every group."""
    story = Story(seed, log_file_bytes=1)
    story.open()
    story.send("acme", 1, 2)
    story.append(story.batch("globex", 1), story.batch("acme", 2, 3))
    story.send("globex", 1)
    return story


def compact(seed: int) -> Story:
    """Compaction of new rows, of late ones, and of segments into one; events come in the middle of it."""
    story = Story(seed)
    story.open()
    story.send("acme", *range(6))
    story.compact("acme")
    story.append(story.batch("acme", 5, 6, 7), story.batch("globex", 1))

    def during(number: int, operation: Operation, name: str) -> None:
        if operation == "create":
            story.disk.plan = None
            story.send("acme", 7, 8, 1)

    story.with_plan(during, story.compact)
    story.compact("acme")
    return story


def remove_logs(seed: int) -> Story:
    """Several log files go at once, after the slowest tenant's rows are indexed."""
    story = Story(seed, log_file_bytes=1)
    story.open()
    for number in range(4):
        story.send("globex" if number == 0 else "acme", number, number + 1)
    story.compact("acme")
    story.compact("globex")
    story.send("acme", 1, 9)
    return story


def remove_one_log(seed: int) -> Story:
    """The least in which a log file goes."""
    story = Story(seed, log_file_bytes=1)
    story.open()
    story.send("acme", 1)
    story.send("acme", 2)
    story.compact("acme")
    return story


def age(seed: int) -> Story:
    """A log file grows old: it is ended, and gone once all its rows are indexed, apart from segments there are."""
    story = Story(seed)
    story.open()
    story.send("acme", 1, 2)
    story.compact("acme")
    story.append(story.batch("acme", 2, 3), story.batch("globex", 1))
    story.age()
    story.send("acme", 3, 4)
    return story


def stop_and_start(seed: int) -> Story:
    """Clean stops, and starts behind them."""
    story = Story(seed)
    story.open()
    story.send("acme", 1, 2)
    story.close()
    story.open()
    story.send("acme", 2, 3)
    story.compact("acme")
    story.close()
    story.open()
    return story


def delete(seed: int) -> Story:
    """Users deleted while their rows are in the log and in segments; imported again; their bytes removed."""
    story = Story(seed, log_file_bytes=700)
    story.open()
    story.send("acme", *range(8))
    story.compact("acme")
    story.append(story.batch("acme", 5, 6, 8, 9), story.batch("globex", 1, 2))
    story.delete("acme", *{event_of(seed, number).distinct_id for number in (5, 6)})
    story.send("acme", 5, 6, 5)
    assert story.purge("acme")
    story.send("acme", *range(10))
    return story


def hide(seed: int) -> Story:
    """The least in which a deletion is acked."""
    story = Story(seed)
    story.open()
    story.send("acme", 1, 2)
    story.delete("acme", event_of(seed, 1).distinct_id)
    story.send("acme", 1)
    return story


def delete_indexed(seed: int) -> Story:
    """A user deleted whose rows are all in a segment with others': it is written anew."""
    story = Story(seed)
    story.open()
    story.send("acme", *range(8))
    story.compact("acme")
    story.delete("acme", event_of(seed, 1).distinct_id)
    assert story.purge("acme")
    story.send("acme", 1, 2)
    return story


def retain(seed: int) -> Story:
    """A horizon that rises over rows in the log and in segments; older rows come in again; the old bytes removed."""
    story = Story(seed, log_file_bytes=700)
    story.open()
    story.send("acme", *range(6))
    story.compact("acme")
    story.send("acme", 4, 6, 7)
    story.delete("acme", horizon_ms=(FIRST_DAY + 1) * DAY_MS)
    story.send("acme", *range(4))
    story.delete("acme", horizon_ms=(FIRST_DAY + 1) * DAY_MS + DAY_MS // 2)
    assert story.purge("acme")
    story.send("acme", 1, 8)
    return story


def with_damaged_log(seed: int) -> Story:
    """Not begun: a frame of the log is damaged, with copies of its events behind it."""
    before = Story(seed, log_file_bytes=2000)
    before.open()
    first = before.batch("acme", 1, 2, 3)
    before.append(first)
    before.append(before.batch("acme", 2, 1, 4), before.batch("globex", 1, 2))
    before.send("acme", 3, 1)
    return before.after_flip("log/0000000001.log", IN_FIRST_FRAME, first)


def damaged_log(seed: int) -> Story:
    """What is damaged goes into quarantine, copies of it become originals, its file goes, and nothing is answered as if
    it had never been."""
    story = with_damaged_log(seed)
    story.open()
    story.append(story.batch("acme", 3, 5, 1), story.batch("globex", 2, 3))
    story.compact("globex", "acme")
    story.send("acme", 1, 2, 5)
    story.close()
    story.open()
    return story


def damaged_segment(seed: int) -> Story:
    """A segment is found damaged by the first who reads it; what it held comes in again."""
    before = Story(seed, log_file_bytes=700)
    before.open()
    lost = before.batch("acme", *range(6))
    before.append(lost)
    before.compact("acme")
    before.append(before.batch("acme", 6, 7), before.batch("globex", 1, 2))
    (info,) = before.store._state.catalog.segments[TenantId("acme")]
    story = before.after_flip(info.parquet, info.bytes // 3, lost)
    story.open()
    story.send("acme", 0, 6, 8, 0)
    story.compact("acme", "globex")
    story.send("acme", 0, 7)
    story.close()
    story.open()
    return story


def repair(seed: int) -> Story:
    """What ``evenshard fsck --repair`` does to a filter that is damaged and to the rest of a compaction."""
    before = Story(seed)
    before.open()
    before.send("acme", 1, 2, 3)
    before.compact("acme")
    before.send("acme", 2, 4)
    before.with_plan(fail_at("sync", "segments", ProcessKilledError(), "nothing"), lambda: before.compact("acme"))
    (info,) = before.store._state.catalog.segments[TenantId("acme")]
    story = before.after_flip(info.filter, IN_FILTER)
    checked = fsck.check(story.disk, story.clock, SHARD, story.reports.append)
    assert [finding.code for finding in checked.findings] == [fsck.LEFTOVER, fsck.FILTER_DAMAGED], checked.findings
    fsck_repair.repair(story.disk, story.clock, SHARD, checked, story.reports.append)
    story.open()
    story.send("acme", 1, 5)
    return story


def writes_fail(seed: int) -> Story:
    """Writes of the log fail, before, within and behind their bytes, also at a rotation; then the disk has space."""
    story = Story(seed)
    story.open()
    story.send("acme", 1)
    dones: tuple[Done, ...] = ("nothing", "half", "all")
    for number, done in enumerate(dones, start=2):
        plan = fail_at("write", "log", OSError(errno.ENOSPC, "full"), done)
        story.with_plan(plan, lambda number=number: story.send("acme", number, 1))  # type: ignore[misc]
        story.send("acme", number, number)
    return story


def rotation_fails(seed: int) -> Story:
    """The new log file cannot be made, or its header is written in part; then the disk has space."""
    story = Story(seed, log_file_bytes=1)
    story.open()
    story.send("acme", 1)
    for number, kind in enumerate(("create", "write"), start=2):
        plan = fail_at(kind, "log", OSError(errno.ENOSPC, "full"), "half")
        story.with_plan(plan, lambda number=number: story.send("acme", number))  # type: ignore[misc]
        story.send("acme", number, 1)
    return story


def sync_fails(seed: int) -> Story:
    """A sync of the log fails: reads go on, nothing is taken, another start sets it right."""
    story = Story(seed)
    story.open()
    story.send("acme", 1)
    plan = fail_at("sync", "log", OSError(errno.EIO, "bad"))
    story.with_plan(plan, lambda: story.send("acme", 2))
    assert story.send("acme", 3) == "SHARD_UNAVAILABLE"
    story.expect()
    story.close()
    story.open()
    story.send("acme", 2, 3)
    return story


def compaction_fails(seed: int) -> Story:
    """Files of segments cannot be written or synced, the catalog refuses the commit; then everything works."""
    story = Story(seed)
    story.open()
    story.send("acme", 1, 2, 3)
    for kind, folder in (("write", "segments"), ("sync", "segments"), ("commit", "catalog")):
        plan = fail_at(kind, folder, OSError(errno.ENOSPC, "full"))
        story.with_plan(plan, lambda: _tried(story))
        story.send("acme", 1, 4)
    story.compact()
    return story


def _tried(story: Story) -> None:
    try:
        story.compact()
    except EvenshardError as error:
        if error.code not in ("DISK_FULL", "SHARD_UNAVAILABLE"):
            raise


def _life(story: Story) -> None:
    story.open()
    story.send("acme", 1, 2)
    story.send("acme", 2, 3, 1)
    story.compact("acme")


def killed_moments(seed: int) -> int:
    """How many lasting operations the life in ``killed`` has."""
    seen = [0]

    def plan(number: int, operation: Operation, name: str) -> None:
        seen[0] += operation in LASTING

    story = Story(seed, log_file_bytes=700)
    story.with_plan(plan, lambda: _life(story))
    return seen[0]


def killed(moment: int, done: Done) -> Scenario:
    """The process dies at a lasting operation of appends with rotation and compaction; its successor goes on, on a
    disk that never lost power."""

    def play(seed: int) -> Story:
        story = Story(seed, log_file_bytes=700)
        assert not story.with_plan(kill_at(moment, done), lambda: _life(story)), "the life was over before"
        story.restarted_at = len(story.disk.journal)
        story.restart()
        story.send("acme", 3, 4)
        story.send("acme", 4, 5)
        return story

    return play


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "append": append,
    "rotate": rotate,
    "compact": compact,
    "remove_logs": remove_logs,
    "remove_one_log": remove_one_log,
    "age": age,
    "stop_and_start": stop_and_start,
    "delete": delete,
    "hide": hide,
    "delete_indexed": delete_indexed,
    "retain": retain,
    "damaged_log": damaged_log,
    "damaged_segment": damaged_segment,
    "repair": repair,
    "writes_fail": writes_fail,
    "rotation_fails": rotation_fails,
    "sync_fails": sync_fails,
    "compaction_fails": compaction_fails,
}
