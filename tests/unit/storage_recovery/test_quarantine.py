"""Damage in the middle of a shard's files: it is named and set aside, and everybody else goes on."""

import errno

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import ShardId, TenantId
from evenshard.storage.append import Appended
from evenshard.storage.log.frame import FILE_HEADER_BYTES
from evenshard.storage.progress import Replaying
from evenshard.storage.recovery import recover
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import FOR_EVER, Event, all_events, append_of, stored_events

ACME, OTHER, SHARD = TenantId("acme"), TenantId("other"), ShardId("shard-0")
DAY_MS = 86_400_000
START_MS = 19_700 * DAY_MS
FIRST_LOG = "log/0000000001.log"


class Shard:
    """A store on a disk in memory that is killed and started again."""

    def __init__(self, **settings: int) -> None:
        self.disk = MemoryDisk()
        self.settings = StorageSettings(**settings)
        self.reports: list[str] = []
        self.store = self.start()

    def start(self) -> Store:
        self.reports.clear()
        self.store = Store.open(self.disk, ManualClock(), SHARD, self.settings, self.reports.append)
        return self.store

    def add(self, *events: Event, tenant: str = "acme") -> list[bool]:
        (outcome,) = self.store.append([append_of(events, tenant)])
        assert isinstance(outcome, Appended), outcome
        return outcome.duplicates.tolist()

    def all(self, tenant: str = "acme") -> list[tuple[Event, bool]]:
        with self.store.snapshot(TenantId(tenant)) as snapshot:
            return all_events(snapshot)

    def of_day(self, day: int, tenant: str = "acme") -> list[tuple[Event, bool]]:
        with self.store.snapshot(TenantId(tenant)) as snapshot:
            begin_ms = START_MS + day * DAY_MS
            return stored_events(
                snapshot.scan(("event", "distinct_id", "time", "insert_id"), None, begin_ms, begin_ms + DAY_MS)
            )

    def refused(self, tenant: str = "acme") -> EvenshardError:
        with pytest.raises(EvenshardError) as caught:
            self.all(tenant)
        assert caught.value.code == "DATA_DAMAGED"
        return caught.value

    def log_bytes(self, number: int = 1) -> int:
        return self.disk.open(f"log/{number:010d}.log").size()


def click(number: int, day: int = 0) -> Event:
    return Event("click", f"u{number}", START_MS + day * DAY_MS + number, "x")


def test_a_damaged_frame_costs_its_tenant_its_rows_and_nobody_else_anything() -> None:
    shard = Shard()
    shard.add(click(1))
    second = shard.log_bytes()
    shard.add(click(2), click(3))
    third = shard.log_bytes()
    shard.add(click(4), tenant="other")
    shard.disk.flip(FIRST_LOG, third - 20)
    shard.start()
    (said,) = shard.reports
    assert said.startswith(f"{FIRST_LOG}: in quarantine from byte {second} (2 rows at most of acme): ")
    error = shard.refused()
    assert error.details == {"tenant": "acme", "days": "any day", "file": FIRST_LOG, "offset": str(second)}
    assert shard.all("other") == [(click(4), False)]
    assert shard.add(click(5)) == [False]
    assert shard.add(click(4), tenant="other") == [True]
    shard.start()
    assert shard.reports == []
    assert shard.refused().details["offset"] == str(second)
    assert shard.all("other") == [(click(4), False), (click(4), True)]


def test_a_damaged_header_may_have_been_anybodys_who_had_unindexed_rows() -> None:
    shard = Shard()
    shard.add(click(9), tenant="indexed")
    shard.store.compact(TenantId("indexed"))
    shard.add(click(1))
    second = shard.log_bytes()
    shard.add(click(2))
    shard.add(click(3), tenant="other")
    shard.store.fence(TenantId("indexed"), shard.store.epoch(TenantId("indexed")))
    shard.disk.flip(FIRST_LOG, second + 30)
    shard.start()
    (record,) = shard.store.quarantined
    assert (record.file, record.offset, record.first_row, record.end_row) == (FIRST_LOG, second, 2, 3)
    assert record.tenants == ("acme", "indexed", "other")
    assert record.rows == 1


def test_frames_whose_rows_are_indexed_are_not_missed() -> None:
    shard = Shard()
    shard.add(click(1))
    begin = shard.log_bytes()
    shard.add(click(2))
    shard.store.compact(ACME)
    shard.add(click(3))
    shard.disk.flip(FIRST_LOG, begin + 40)
    shard.start()
    assert "no row is lost" in shard.reports[0]
    assert shard.all() == [(click(number), False) for number in (1, 2, 3)]


def test_the_earliest_copy_that_is_left_becomes_the_original() -> None:
    shard = Shard()
    begin = shard.log_bytes()
    shard.add(click(1), click(2))
    assert shard.add(click(1)) == [True]
    assert shard.add(click(1), click(2), click(3)) == [True, True, False]
    shard.disk.flip(FIRST_LOG, begin + 200)
    shard.start()
    assert "acme: 2 copies became originals, what they were copies of is lost" in shard.reports
    visible = shard.store._state.tenants[ACME].visible
    assert [block.duplicates.tolist() for block in visible.blocks] == [[False], [True, False, False]]
    shard.store.compact(ACME)
    shard.store.close()
    shard.start()
    (segment,) = shard.store._state.catalog.segments[ACME]
    assert (segment.rows, segment.duplicates) == (4, 1)
    assert shard.add(click(1), click(2)) == [True, True]


def test_an_event_that_was_lost_is_stored_as_new_when_it_is_imported_again() -> None:
    shard = Shard()
    begin = shard.log_bytes()
    shard.add(click(1))
    shard.add(click(2))
    shard.disk.flip(FIRST_LOG, begin + 200)
    shard.start()
    assert shard.add(click(1), click(2)) == [False, True]


def test_the_log_goes_on_in_a_new_file_behind_a_damaged_end() -> None:
    shard = Shard()
    shard.add(click(1))
    begin = shard.log_bytes()
    shard.add(click(2))
    shard.store.compact(ACME)
    end = shard.log_bytes()
    shard.disk.flip(FIRST_LOG, begin + 3)  # synced, says the catalog: not the torn end it looks like
    shard.start()
    assert shard.add(click(3)) == [False]
    assert shard.disk.list("log") == ["0000000001.log", "0000000002.log"]
    assert shard.log_bytes() == end
    shard.start()
    assert shard.all() == [(click(number), False) for number in (1, 2, 3)]
    shard.store.compact(ACME)
    assert shard.disk.list("log") == ["0000000002.log"]


def test_a_damaged_file_header_loses_nothing() -> None:
    shard = Shard(log_file_bytes=1)
    for number in range(3):
        shard.add(click(number))
    for number in (1, 2, 3):
        shard.disk.flip(f"log/000000000{number}.log", 20)
    shard.start()
    assert len(shard.reports) == 3
    assert shard.all() == [(click(number), False) for number in range(3)]
    assert shard.add(click(0), click(7)) == [True, False]
    shard.start()
    assert shard.reports == []
    assert len(shard.all()) == 5


@pytest.mark.parametrize("at", range(FILE_HEADER_BYTES, FILE_HEADER_BYTES + 700, 7))
def test_wherever_a_log_is_damaged_no_other_tenant_is_told_anything_wrong(at: int) -> None:
    shard = Shard()
    for number in range(3):
        shard.add(click(number), click(10))
        shard.add(click(number), click(10), tenant="other")
    expected = shard.all("other")
    shard.disk.flip(FIRST_LOG, min(at, shard.log_bytes() - 600))
    shard.start()
    for tenant in ("acme", "other"):
        try:
            assert shard.all(tenant) == expected
        except EvenshardError as error:
            assert error.code == "DATA_DAMAGED"  # noqa: PT017 (either is right)
    assert len(shard.store.quarantined) <= 1


def parquet(shard: Shard, day: int) -> str:
    for segment in shard.store._state.catalog.segments[ACME]:
        if segment.min_time_ms // DAY_MS == START_MS // DAY_MS + day:
            return segment.parquet
    raise LookupError(day)


def forget_what_is_in_memory(shard: Shard) -> None:
    """Of segments: whoever wants to know has to read them."""
    shard.store._state.cache.forget({segment.id for segment in shard.store._state.catalog.segments[ACME]})


def test_a_damaged_segment_costs_its_days_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("plan", "compact"):
        monkeypatch.setattr(f"evenshard.storage.compaction.{module}.SHARED_ROWS_MAX", 0)
    shard = Shard()
    shard.add(click(1, 0))
    shard.store.compact(ACME)
    shard.add(click(2, 400))
    shard.store.compact(ACME)
    file = parquet(shard, 0)
    for at in range(4, 300):
        shard.disk.flip(file, at)
    with pytest.raises(EvenshardError) as caught:
        shard.of_day(0)
    assert caught.value.details["file"] == file
    assert caught.value.details["days"] == "2023-12-09"
    assert f"{file}: in quarantine (1 rows of acme)" in shard.reports[0]
    assert shard.of_day(400) == [(click(2, 400), False)]
    shard.start()
    assert shard.reports == []
    assert shard.of_day(400) == [(click(2, 400), False)]
    with pytest.raises(EvenshardError, match="rows of acme of 2023-12-09 are lost"):
        shard.of_day(0)
    assert shard.of_day(0, "other") == []
    assert shard.add(click(1, 0), click(2, 400)) == [False, True]  # the lost one is nobody's first copy


def test_a_segment_found_damaged_by_an_import_is_set_aside_before_the_ack() -> None:
    shard = Shard()
    shard.add(click(1))
    shard.store.compact(ACME)
    file = parquet(shard, 0)
    shard.disk.flip(file, 10)
    assert shard.add(click(1)) == [True]  # it need not be read: what was just indexed is in memory
    forget_what_is_in_memory(shard)
    assert shard.add(click(1)) == [False]
    assert [record.file for record in shard.store.quarantined] == [file]
    shard.start()
    assert shard.add(click(1)) == [True]


def test_copies_of_what_was_lost_with_a_segment_become_originals_at_the_next_start() -> None:
    shard = Shard()
    shard.add(click(1))
    shard.store.compact(ACME)
    assert shard.add(click(1)) == [True]
    shard.disk.flip(parquet(shard, 0), 10)
    shard.start()
    assert "acme: 1 copies became originals, what they were copies of is lost" in shard.reports
    assert shard.add(click(1)) == [True]
    visible = shard.store._state.tenants[ACME].visible
    assert [block.duplicates.tolist() for block in visible.blocks] == [[False], [True]]


def test_what_was_stored_as_new_beside_a_copy_of_what_was_lost_counts_once() -> None:
    shard = Shard()
    shard.add(click(1), click(2))
    shard.store.compact(ACME)
    assert shard.add(click(1)) == [True]
    shard.disk.flip(parquet(shard, 0), 10)
    forget_what_is_in_memory(shard)
    shard.store._state.cache.scratch.close()
    assert shard.add(click(1), click(2)) == [False, False]
    shard.start()
    visible = shard.store._state.tenants[ACME].visible
    assert [block.duplicates.tolist() for block in visible.blocks] == [[False], [True, False]]
    assert shard.add(click(1), click(2)) == [True, True]
    shard.start()
    visible = shard.store._state.tenants[ACME].visible
    assert [block.duplicates.tolist() for block in visible.blocks] == [[False], [True, False], [True, True]]


@pytest.mark.parametrize("how", ["flipped", "missing"])
def test_a_filter_is_derived_again_from_its_segment(how: str) -> None:
    shard = Shard()
    shard.add(click(1))
    shard.store.compact(ACME)
    (segment,) = shard.store._state.catalog.segments[ACME]
    shard.store.close()
    if how == "missing":
        shard.disk.unlink(segment.filter)
    else:
        shard.disk.flip(segment.filter, 12)
    shard.start()
    assert shard.add(click(1), click(2)) == [True, False]
    assert shard.store.quarantined == ()


def test_a_disk_that_cannot_read_a_segment_is_no_damage() -> None:
    shard = Shard()
    shard.add(click(1))
    shard.store.compact(ACME)

    def hook(operation: str, name: str) -> None:
        if operation == "read" and name.endswith(".parquet"):
            raise OSError(errno.EIO, "made to fail")

    shard.disk.hook = hook
    with pytest.raises(EvenshardError) as caught:
        shard.all()
    assert caught.value.code == "SHARD_UNAVAILABLE"
    assert shard.store.quarantined == ()
    shard.disk.hook = None
    assert shard.all() == [(click(1), False)]


def given_up(shard: Shard) -> None:
    """What ``fsck --repair`` does where files are missing."""
    found = recover(shard.disk, ManualClock(), SHARD, shard.settings, shard.reports.append, allow_missing=True)
    found.writer.abandon()
    found.catalog.close()


def test_a_log_that_ends_too_early_is_refused_until_it_is_given_up() -> None:
    shard = Shard()
    shard.add(click(1))
    begin = shard.log_bytes()
    shard.add(click(2), tenant="other")
    shard.add(click(3))
    shard.store.compact(ACME)
    shard.store.close()
    shard.disk.open(FIRST_LOG).truncate(begin)  # at the end of a frame: nothing looks torn
    with pytest.raises(EvenshardError, match="the log ends before row 3, which was synced") as caught:
        shard.start()
    assert (caught.value.code, shard.log_bytes()) == ("DATA_DAMAGED", begin)
    assert "fsck --repair" in caught.value.hint
    given_up(shard)
    for _ in range(2):
        shard.start()
        assert shard.reports == []
        assert shard.all() == [(click(1), False), (click(3), False)]
        assert shard.refused("other").details["file"] == FIRST_LOG
    assert shard.add(click(2), tenant="other") == [False]
    shard.start()
    assert [row.tolist() for row in (shard.store._state.tenants[OTHER].visible.blocks[0].duplicates,)] == [[False]]


def test_a_log_that_is_gone_is_begun_anew_once_it_is_given_up() -> None:
    shard = Shard()
    shard.add(click(2), tenant="other")
    shard.add(click(1))
    shard.store.compact(ACME)
    shard.store.close()
    shard.disk.unlink(FIRST_LOG)
    with pytest.raises(EvenshardError, match="there is no log"):
        shard.start()
    given_up(shard)
    for copies in (1, 2):
        shard.start()
        assert len(shard.all()) == copies
        assert shard.refused("other").details["file"] == FIRST_LOG
        assert shard.add(click(1)) == [True]


def test_a_replay_tells_how_far_it_is() -> None:
    shard = Shard(log_file_bytes=1)
    rows = 2000
    for number in range(3):
        shard.add(*(click(number * rows + row) for row in range(rows)))
        if number == 1:
            shard.store.compact(ACME)
    told: list[str] = []
    clock = ManualClock()

    def on_progress(progress: Replaying) -> None:
        told.append(str(progress))

    store = Store.open(shard.disk, clock, SHARD, shard.settings, print, on_progress=on_progress)
    assert told == ["replaying log 1 of 2", "replaying log 2 of 2"]
    assert [each.log_rows for each in store.storage()] == [rows]
    assert str(Replaying(3, 7, 300, 1000, 30_000.0)) == "replaying log 3 of 7, 70 s left"


def test_the_data_version_tells_of_a_quarantine() -> None:
    shard = Shard()
    begin = shard.log_bytes()
    shard.add(click(1))
    shard.add(click(2))
    with shard.store.snapshot(ACME) as snapshot:
        before = snapshot.data_version
    shard.disk.flip(FIRST_LOG, begin + 200)
    shard.start()
    with shard.store.snapshot(ACME) as snapshot:
        assert snapshot.data_version != before
        with pytest.raises(EvenshardError):
            list(snapshot.scan(("time",), (), *FOR_EVER))
