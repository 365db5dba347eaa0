"""A log that ends too early: after a clean stop no row of it is missed in silence; after a kill whole frames may be."""

import errno
import sqlite3
from collections.abc import Sequence
from random import Random

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.storage import fsck
from evenshard.storage.append import Appended
from evenshard.storage.fsck_repair import repair
from evenshard.storage.log.frame import FILE_HEADER_BYTES
from evenshard.storage.losses import accept
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, all_events, append_of

ACME, SHARD = TenantId("acme"), ShardId("shard-0")
FIRST_LOG, SECOND_LOG, THIRD_LOG = (f"log/000000000{number}.log" for number in (1, 2, 3))
EVERY_BYTES = 37
"""Cuts are tried at so many bytes, and around each place where a frame ends or a header does."""
SEED = 5


def click(number: int) -> Event:
    return Event("click", f"u{number}", 1_700_000_000_000 + number, "x")


class Shard:
    """Three frames of a row each, in one log file or in as many as ``log_file_bytes`` makes of them."""

    def __init__(self, **settings: int) -> None:
        self.disk = MemoryDisk()
        self.settings = StorageSettings(**settings)
        self.reports: list[str] = []
        self.start()
        self.ends = [self.add(number) for number in range(3)]
        """Of the file a frame is in, behind it."""

    def start(self) -> None:
        self.reports.clear()
        self.store = Store.open(self.disk, ManualClock(), SHARD, self.settings, self.reports.append)

    def add(self, number: int) -> int:
        (outcome,) = self.store.append([append_of([click(number)])])
        assert isinstance(outcome, Appended), outcome
        return self.store._state.writer.offset

    def kill(self) -> None:
        """Everything that was written is there."""
        self.store._state.writer.abandon()
        self.store._state.catalog.close()

    def cut(self, file: str, size: int) -> None:
        self.disk.open(file).truncate(size)

    def size(self, file: str) -> int:
        return self.disk.open(file).size()

    def rows(self) -> list[int] | str:
        """After a start; or the code that it, or whoever asks for them, is refused with."""
        try:
            self.start()
            with self.store.snapshot(ACME) as snapshot:
                return sorted(event.time % 1000 for event, _ in all_events(snapshot))
        except EvenshardError as error:
            return error.code

    def found(self) -> list[tuple[str, str, int | None]]:
        """What ``fsck`` finds: code, file and lost rows."""
        checked = fsck.check(self.disk, ManualClock(), SHARD, lambda _: None)
        return [(each.code, each.file, each.lost_rows) for each in checked.findings]


def of_every_cut(*, stopped: bool) -> tuple[Sequence[int], list[tuple[int, list[int] | str]]]:
    """Where frames end, and what is there after each cut of a log of three frames."""
    whole = Shard()
    whole.store.close() if stopped else whole.kill()
    size, found = whole.size(FIRST_LOG), []
    assert (size > whole.ends[-1]) == stopped
    near = {end + off for end in (0, FILE_HEADER_BYTES, *whole.ends, size) for off in (-1, 0, 1)}
    for cut in sorted(near.intersection(range(size + 1)) | set(range(0, size, EVERY_BYTES))):
        shard = Shard()
        shard.store.close() if stopped else shard.kill()
        shard.cut(FIRST_LOG, cut)
        found.append((cut, shard.rows()))
    return whole.ends, found


def test_of_a_shard_that_was_stopped_no_cut_of_the_log_loses_a_row_in_silence() -> None:
    ends, found = of_every_cut(stopped=True)
    assert found == [(cut, "DATA_DAMAGED" if cut < ends[-1] else [0, 1, 2]) for cut, _ in found]


def test_of_a_shard_that_was_killed_a_cut_of_the_log_leaves_the_frames_before_it() -> None:
    ends, found = of_every_cut(stopped=False)
    assert found == [(cut, [number for number, end in enumerate(ends) if end <= cut]) for cut, _ in found]


@pytest.mark.parametrize("size", [0, 64, FILE_HEADER_BYTES])
def test_a_last_file_without_its_frames_is_damage_where_the_shard_was_stopped(size: int) -> None:
    shard = Shard(log_file_bytes=1)
    shard.store.close()
    shard.cut(THIRD_LOG, size)
    with pytest.raises(EvenshardError, match="the log ends before row 3, which was synced") as caught:
        shard.start()
    assert THIRD_LOG in caught.value.message
    assert "fsck --repair" in caught.value.hint
    assert shard.size(THIRD_LOG) == size
    assert ("DATA_DAMAGED", 1) in {(code, lost_rows) for code, _, lost_rows in shard.found()}
    repair(shard.disk, ManualClock(), SHARD, fsck.check(shard.disk, ManualClock(), SHARD, print), print)
    assert shard.rows() == "DATA_DAMAGED"
    assert [(each.first_row, each.end_row, each.tenants) for each in shard.store.quarantined] == [(2, 3, (ACME,))]


@pytest.mark.parametrize("stored_since", [False, True])
def test_a_last_file_that_was_given_up_can_be_put_back_until_rows_were_stored_since(stored_since: bool) -> None:
    shard = Shard(log_file_bytes=1)
    shard.store.close()
    sound = shard.disk.open(THIRD_LOG).read(0, shard.size(THIRD_LOG))
    shard.cut(THIRD_LOG, 64)
    repair(shard.disk, ManualClock(), SHARD, fsck.check(shard.disk, ManualClock(), SHARD, print), print)
    if stored_since:  # in a file of the same name
        shard.start()
        shard.add(3)
        shard.store.close()
    shard.disk.unlink(THIRD_LOG)
    shard.disk.open(THIRD_LOG, create=True).write([sound])
    if stored_since:
        with pytest.raises(EvenshardError, match="the log ends before row 4, which was synced"):
            shard.start()
    else:
        repair(shard.disk, ManualClock(), SHARD, fsck.check(shard.disk, ManualClock(), SHARD, print), print)
        assert shard.rows() == [0, 1, 2]


def test_a_last_file_that_is_missing_is_seen_where_the_shard_was_stopped() -> None:
    shard = Shard(log_file_bytes=1)
    shard.store.close()
    shard.disk.unlink(THIRD_LOG)
    with pytest.raises(EvenshardError, match="the log ends before row 3, which was synced"):
        shard.start()


def test_a_log_that_is_gone_behind_indexed_rows_is_given_up_once() -> None:
    """Rows beyond the index were synced, the stop says: whose they were nobody knows, and no start asks again."""
    shard = Shard()
    shard.store.compact(ACME)
    shard.add(3)
    shard.store.close()
    shard.disk.unlink(FIRST_LOG)
    with pytest.raises(EvenshardError, match="there is no log, but rows up to 4 were written to it"):
        shard.start()
    repair(shard.disk, ManualClock(), SHARD, fsck.check(shard.disk, ManualClock(), SHARD, print), print)
    for _ in range(2):
        assert shard.rows() == "DATA_DAMAGED"
        assert shard.reports == []
        assert [(each.first_row, each.end_row) for each in shard.store.quarantined] == [(0, 4)]
        shard.add(4)
        shard.store.close()
    accept(shard.disk, ManualClock(), SHARD, print)
    assert shard.rows() == [0, 1, 2, 4, 4]


def test_of_a_killed_shard_a_last_file_cut_within_its_header_is_said_to_have_held_acked_rows_perhaps() -> None:
    shard = Shard(log_file_bytes=1)
    shard.kill()
    shard.cut(THIRD_LOG, 64)
    assert shard.found() == [("TORN_END", THIRD_LOG, None)]
    assert shard.rows() == [0, 1]
    (said,) = shard.reports
    assert said.startswith(f"{THIRD_LOG}: removed, ")
    assert "possibly acked" in said


class PowerCutError(Exception):
    """The disk loses power at this operation."""


@pytest.mark.parametrize("cut_off", [False, True], ids=["", "the start is cut off"])
def test_what_stands_before_a_file_whose_creation_was_cut_off_is_not_cut_itself(cut_off: bool) -> None:
    """A file is begun only when the one before is synced: what is bad at its end is damage."""
    shard = Shard()
    shard.kill()
    shard.disk.open(SECOND_LOG, create=True).write([b"EVSHLOG\n"])
    shard.disk.flip(FIRST_LOG, shard.ends[1] + 3)
    size = shard.size(FIRST_LOG)

    def hook(operation: str, name: str) -> None:
        if operation == "create":
            raise PowerCutError

    if cut_off:  # it had put the damage on record, and removed what told of it
        shard.disk.hook = hook
        with pytest.raises(PowerCutError):
            shard.start()
        shard.disk = shard.disk.crash(Random(SEED))
        assert shard.disk.list("log") == [FIRST_LOG.removeprefix("log/")]
    assert shard.rows() == "DATA_DAMAGED"
    assert shard.size(FIRST_LOG) == size
    assert [(each.file, each.offset, each.rows) for each in shard.store.quarantined] == [(FIRST_LOG, shard.ends[1], 1)]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_stop_whose_end_cannot_be_put_on_record_is_a_stop_all_the_same(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = Shard()

    def refused(next_row: int) -> None:
        raise sqlite3.OperationalError(code)

    monkeypatch.setattr(shard.store._state.catalog, "note_stop", refused)
    shard.store.close()
    (said,) = shard.reports
    assert said.startswith("where the log ends could not be put on record: ")
    assert shard.rows() == [0, 1, 2]
    assert shard.reports == []
