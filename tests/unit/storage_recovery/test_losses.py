"""How a quarantine ends: the file is mended and served again, or the loss is accepted; each event then counts once,
and the earliest copy that is left is its original."""

import errno
from collections.abc import Callable
from random import Random

import pytest
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.storage import fsck
from evenshard.storage.append import Appended
from evenshard.storage.fsck_repair import give_up, repair
from evenshard.storage.losses import accept, mend
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import FOR_EVER, Event, all_events, append_of

ACME, SHARD = TenantId("acme"), ShardId("shard-0")
DAY_MS = 86_400_000
START_MS = 19_700 * DAY_MS
FIRST_LOG = "log/0000000001.log"
ROUNDS_IN_CI, ROUNDS_OF_SOAK = 8, 400


def click(number: int, copy: int = 0) -> Event:
    return Event("click", f"u{number % 5}", START_MS + number, f"i{number}", {"i:copy": copy})


class Shard:
    """A store on a disk in memory; each compaction leaves a run of its own."""

    def __init__(self, disk: MemoryDisk | None = None, settings: StorageSettings | None = None) -> None:
        self.disk = MemoryDisk() if disk is None else disk
        self.settings = StorageSettings() if settings is None else settings
        self.clock = ManualClock()
        self.start()

    def start(self) -> None:
        self.reports: list[str] = []
        self.store = Store.open(self.disk, self.clock, SHARD, self.settings, self.reports.append)

    def add(self, *events: Event) -> list[bool]:
        (outcome,) = self.store.append([append_of(events)])
        assert isinstance(outcome, Appended), outcome
        return outcome.duplicates.tolist()

    def index(self) -> str:
        """All that is not indexed, apart; the new segment's Parquet file."""
        before = {info.id for info in self.store._state.catalog.segments.get(ACME, ())}
        self.store.compact(ACME, apart=True)
        (new,) = [info for info in self.store._state.catalog.segments[ACME] if info.id not in before]
        return new.parquet

    def rows(self) -> list[tuple[int, int, bool]]:
        """Number, copy and duplicate bit."""
        with self.store.snapshot(ACME) as snapshot:
            found = all_events(snapshot)
        return sorted((event.time - START_MS, int(str(event.properties["i:copy"])), bit) for event, bit in found)

    def given_up(self) -> int:
        with self.store.snapshot(ACME) as snapshot:
            return snapshot.rows_given_up(*FOR_EVER)

    def damage(self, file: str) -> Callable[[], None]:
        """Flips a byte of it; what is returned mends it."""
        self.disk.flip(file, 10)
        return lambda: self.disk.flip(file, 10)

    def stop(self) -> None:
        self.store.close()

    def checked(self) -> fsck.Checked:
        return fsck.check(self.disk, self.clock, SHARD, lambda _: None)

    def repair(self) -> None:
        repair(self.disk, self.clock, SHARD, self.checked(), self.reports.append)

    def give_up(self) -> None:
        self.repair()
        give_up(self.disk, self.clock, SHARD, self.reports.append)


def three_runs(shard: Shard) -> list[str]:
    """Event 1 in all runs, 2 in the second and third, 3 in the third; of 1 the first is the original, and so on."""
    files = []
    for run, numbers in enumerate(((1,), (1, 2), (1, 2, 3))):
        shard.add(*(click(number, run) for number in numbers))
        files.append(shard.index())
    assert shard.rows() == [(1, 0, False), (1, 1, True), (1, 2, True), (2, 1, False), (2, 2, True), (3, 2, False)]
    return files


def test_the_earliest_copy_in_other_segments_becomes_the_original_when_a_loss_is_accepted() -> None:
    shard = Shard()
    first, _, _ = three_runs(shard)
    shard.add(click(1, 3))
    shard.damage(first)
    shard.stop()
    shard.repair()
    shard.start()
    with pytest.raises(EvenshardError, match="rows of acme of 2023-12-09 are lost") as caught:
        shard.rows()
    assert "--repair" in caught.value.hint
    assert "--accept-loss" in caught.value.hint
    shard.stop()
    shard.give_up()
    assert f"{first}: no more in quarantine from byte 0: 1 rows at most of 2023-12-09 given up" in shard.reports
    assert shard.checked().findings == []
    assert first.removeprefix("segments/") not in shard.disk.list("segments")
    shard.start()
    left = [(1, 1, False), (1, 2, True), (1, 3, True), (2, 1, False), (2, 2, True), (3, 2, False)]
    assert shard.rows() == left
    assert shard.given_up() == 1
    assert shard.add(click(1, 4), click(3, 4)) == [True, True]
    shard.store.compact(ACME)
    shard.stop()
    shard.start()
    assert shard.rows() == sorted([*left, (1, 4, True), (3, 4, True)])
    assert shard.given_up() == 1


def test_copies_only_in_the_log_become_originals_too() -> None:
    shard = Shard()
    shard.add(click(1, 0), click(2, 0))
    file = shard.index()
    shard.add(click(1, 1))
    shard.add(click(1, 2), click(3, 2))
    shard.damage(file)
    shard.stop()
    shard.give_up()
    shard.start()
    assert shard.rows() == [(1, 1, False), (1, 2, True), (3, 2, False)]
    assert shard.add(click(1, 3), click(2, 3)) == [True, False]


def test_a_mended_segment_is_served_again_and_what_was_stored_as_new_meanwhile_is_a_copy() -> None:
    shard = Shard()
    first, _, _ = three_runs(shard)
    mended = shard.damage(first)
    shard.stop()
    shard.repair()
    shard.start()
    assert shard.add(click(1, 3), click(4, 3)) == [True, False]  # there are copies left of the first
    assert shard.index()
    shard.add(click(4, 4))
    shard.stop()
    mended()
    shard.repair()
    assert f"{first}: no more in quarantine from byte 0: 1 rows at most of 2023-12-09 whole again, and served" in (
        shard.reports
    )
    assert shard.checked().findings == []
    shard.start()
    first_three = [(1, 0, False), (1, 1, True), (1, 2, True), (1, 3, True), (2, 1, False), (2, 2, True), (3, 2, False)]
    assert shard.rows() == [*first_three, (4, 3, False), (4, 4, True)]
    assert shard.given_up() == 0


@pytest.mark.parametrize("indexed", [False, True])
def test_an_event_imported_again_while_its_original_was_away_is_a_copy_once_that_is_back(indexed: bool) -> None:
    shard = Shard()
    shard.add(click(1, 0))
    file = shard.index()
    mended = shard.damage(file)
    shard.store._state.cache.forget({info.id for info in shard.store._state.catalog.segments[ACME]})
    assert shard.add(click(1, 1)) == [False]
    if indexed:
        shard.index()
    shard.stop()
    mended()
    shard.repair()
    shard.start()
    assert shard.rows() == [(1, 0, False), (1, 1, True)]
    assert shard.add(click(1, 2)) == [True]
    shard.store.compact(ACME)
    shard.stop()
    shard.start()
    assert shard.rows() == [(1, 0, False), (1, 1, True), (1, 2, True)]


def test_a_mended_segment_that_is_damaged_again_is_set_aside_again() -> None:
    shard = Shard()
    shard.add(click(1))
    file = shard.index()
    mended = shard.damage(file)
    shard.stop()
    shard.repair()
    mended()
    shard.repair()
    shard.start()
    assert shard.rows() == [(1, 0, False)]
    (info,) = shard.store._state.catalog.segments[ACME]
    shard.damage(info.parquet)
    with pytest.raises(EvenshardError):
        shard.rows()
    assert [each.is_in_force for each in shard.store.quarantined if each.file == info.parquet] == [True]


def test_rows_of_the_log_come_back_with_its_file_unless_rows_behind_them_are_indexed() -> None:
    for indexed in (False, True):
        shard = Shard()
        shard.add(click(1, 0))
        begin = shard.disk.open(FIRST_LOG).size()
        shard.add(click(2, 0))
        shard.add(click(3, 0), click(2, 1))
        shard.disk.flip(FIRST_LOG, begin + 200)
        shard.start()
        assert shard.add(click(2, 2)) == [True]
        if indexed:
            shard.index()
        shard.stop()
        shard.disk.flip(FIRST_LOG, begin + 200)
        shard.repair()
        shard.start()
        if indexed:
            with pytest.raises(EvenshardError):
                shard.rows()
            shard.stop()
            shard.give_up()
            shard.start()
            assert shard.rows() == [(1, 0, False), (2, 1, False), (2, 2, True), (3, 0, False)]
            assert shard.given_up() == 1
        else:
            assert shard.rows() == [(1, 0, False), (2, 0, False), (2, 1, True), (2, 2, True), (3, 0, False)]
            assert shard.given_up() == 0


@pytest.mark.parametrize("gone", [False, True])
def test_rows_of_the_log_that_cannot_be_read_yet_stay_in_quarantine(gone: bool) -> None:
    shard = Shard(settings=StorageSettings(log_file_bytes=1))
    for number in range(3):
        shard.add(click(number))
    second = "log/0000000002.log"
    shard.disk.flip(second, 300)
    shard.start()
    assert [(each.file, each.first_row, each.end_row) for each in shard.store.quarantined] == [(second, 1, 2)]
    shard.stop()
    if gone:
        shard.disk.unlink(second)
    for _ in range(2):
        shard.repair()
    shard.start()
    assert {(each.first_row, each.end_row, each.state) for each in shard.store.quarantined} == {(1, 2, "in_force")}
    with pytest.raises(EvenshardError):
        shard.rows()
    shard.stop()
    shard.give_up()
    shard.start()
    assert shard.rows() == [(0, 0, False), (2, 0, False)]


def test_an_accepted_loss_is_no_finding_and_a_deletion_of_its_users_is_gone_on_with() -> None:
    shard = Shard()
    shard.add(click(1), click(2))
    shard.damage(shard.index())
    shard.store.hide_users(ACME, Epoch(1), "op", ["u1"])
    with pytest.raises(EvenshardError, match="segments/"):
        purged(shard)
    assert not shard.store.purge_status(ACME, "op").purged
    shard.stop()
    shard.give_up()
    assert shard.checked().findings == []
    shard.start()
    purged(shard)
    assert shard.store.purge_status(ACME, "op").purged
    assert shard.disk.list("segments") == []


def purged(shard: Shard) -> None:
    while shard.store.purge_step(ACME):
        pass


class PowerCutError(Exception):
    """The disk loses power at this operation."""


def lost_and_mended(seed: int) -> tuple[Shard, Callable[[], None], dict[str, list[tuple[int, int, bool]]]]:
    """A stopped shard of some runs of which some are damaged; what mends them; what is to be there afterwards, by what
    is done."""
    random = Random(seed)
    shard = Shard()
    runs: list[list[tuple[int, int]]] = []
    files = []
    for run in range(random.randrange(2, 5)):
        rows = [(random.randrange(6), 10 * run + at) for at in range(random.randrange(1, 6))]
        shard.add(*(click(number, copy) for number, copy in rows))
        runs.append(rows)
        files.append(shard.index())
    tail = [(random.randrange(6), 100 + at) for at in range(random.randrange(3))]
    if tail:
        shard.add(*(click(number, copy) for number, copy in tail))
    damaged = sorted(random.sample(range(len(runs)), random.randrange(1, len(runs) + 1)))
    mends = [shard.damage(files[number]) for number in damaged]
    shard.stop()
    shard.repair()
    left = [row for number, rows in enumerate(runs) if number not in damaged for row in rows] + tail
    return (
        shard,
        lambda: [each() for each in mends] and None,
        {"accepted": with_bits(left), "mended": with_bits([row for rows in runs for row in rows] + tail)},
    )


def with_bits(rows: list[tuple[int, int]]) -> list[tuple[int, int, bool]]:
    """The model: in the order stored, the first of a number is the original."""
    seen: set[int] = set()
    found = []
    for number, copy in rows:
        found.append((number, copy, number in seen))
        seen.add(number)
    return sorted(found)


def act_of(end: str) -> Callable[[Shard], object]:
    act = accept if end == "accepted" else mend
    return lambda shard: act(shard.disk, shard.clock, SHARD, shard.reports.append)


def try_rounds(seeds: range) -> None:
    for seed in seeds:
        for end in ("accepted", "mended"):
            shard, mends, expected = lost_and_mended(seed)
            if end == "mended":
                mends()
            act_of(end)(shard)
            shard.start()
            assert shard.rows() == expected[end], f"seed {seed}, {end}"
            assert all(shard.add(*(click(number, 1000) for number in {row[0] for row in expected[end]})))
            shard.store.compact(ACME)
            shard.stop()
            assert shard.checked().findings == [], f"seed {seed}, {end}"


def test_whatever_is_lost_and_mended_or_given_up_the_model_is_left() -> None:
    try_rounds(range(ROUNDS_IN_CI))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_whatever_is_lost_and_mended_or_given_up_the_model_is_left_many_times() -> None:
    try_rounds(range(ROUNDS_OF_SOAK))


def operations_of(seed: int, end: str) -> int:
    shard, mends, _ = lost_and_mended(seed)
    if end == "mended":
        mends()
    count = [0]

    def hook(operation: str, name: str) -> None:
        count[0] += 1

    shard.disk.hook = hook
    act_of(end)(shard)
    return count[0]


@pytest.mark.parametrize("end", ["accepted", "mended"])
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_power_may_be_cut_at_any_operation_of_it(end: str, every: int) -> None:
    seed = 3
    for at in range(0, operations_of(seed, end), every):
        shard, mends, expected = lost_and_mended(seed)
        if end == "mended":
            mends()
        left = [at]

        def hook(operation: str, name: str, left: list[int] = left) -> None:
            if left[0] == 0:
                raise PowerCutError
            left[0] -= 1

        shard.disk.hook = hook
        with pytest.raises(PowerCutError):
            act_of(end)(shard)
        shard.disk.hook = None
        again = Shard(shard.disk.crash(Random(at)))
        again.stop()
        act_of(end)(again)
        again.start()
        assert again.rows() == expected[end], f"operation {at}"


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("end", ["accepted", "mended"])
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_any_operation_of_it_may_fail_and_it_is_done_again(end: str, code: int, every: int) -> None:
    seed = 3
    for at in range(0, operations_of(seed, end), every):
        shard, mends, expected = lost_and_mended(seed)
        if end == "mended":
            mends()
        left = [at]

        def hook(operation: str, name: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == -1:
                raise OSError(code, "made to fail")

        shard.disk.hook = hook
        try:
            act_of(end)(shard)
        except (EvenshardError, OSError) as error:
            told = error.code if isinstance(error, EvenshardError) else ""
            assert told in ("", "DISK_FULL", "SHARD_UNAVAILABLE")
        shard.disk.hook = None
        act_of(end)(shard)
        shard.start()
        assert shard.rows() == expected[end], f"operation {at}"
