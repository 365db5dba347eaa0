"""Any one operation of the disk fails, with EIO or ENOSPC, before, within or behind what it does.

Nothing acked is lost, nothing refused comes back, nothing is a duplicate of something never stored, and a disk with
space again is enough to go on.
"""

import errno

import pytest
from evenshard.testing.faults.exploring import Counts
from evenshard.testing.faults.failing import Failing, in_part, operations_of_a_life
from evenshard.testing.faults.recording_disk import SPACE_TAKING, Done

SEED = 7
LIVES = {damaged: operations_of_a_life(SEED, damaged=damaged) for damaged in (False, True)}
CODES = (errno.EIO, errno.ENOSPC)
DONES: tuple[Done, ...] = ("nothing", "half", "all")
FAULTS = [(code, done) for code in CODES for done in DONES]


def kinds(damaged: bool) -> dict[tuple[str, str], tuple[int, int]]:
    """The first and the last call of each kind, by operation and folder."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for number, (operation, name) in enumerate(LIVES[damaged]):
        kind = operation, name.partition("/")[0]
        found[kind] = found.get(kind, (number, number))[0], number
    return found


KINDS = kinds(damaged=False)


def test_the_life_has_every_operation() -> None:
    assert {kind for kind, _ in KINDS} == {
        *("open", "create", "write", "read", "truncate", "sync", "sync_directory", "list", "unlink"),
        *("database", "database_copy", "query", "begin", "statement", "commit", "checkpoint"),
    } - {"truncate"}  # only after another failure: see the scenarios of crash states


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_the_first_and_the_last_call_of_each_kind_fail(kind: tuple[str, str]) -> None:
    turn = list(KINDS).index(kind)
    for number, at in enumerate(KINDS[kind]):
        for code, done in FAULTS[(turn + number) % 3 :: 3]:
            assert Failing(SEED, code, at, done).play().failed == LIVES[False][at]


def test_the_first_call_of_each_kind_of_a_shard_with_damage_fails() -> None:
    for number, (at, _) in enumerate(kinds(damaged=True).values()):
        code, done = FAULTS[number % len(FAULTS)]
        assert Failing(SEED, code, at, done, damaged=True).play().failed == LIVES[True][at]


def test_a_disk_that_is_full_for_a_while_is_gone_on_with_by_itself() -> None:
    for at in range(0, len(LIVES[False]), 80):
        assert not Failing(SEED, errno.ENOSPC, at, operations_failing=4).play().stopped


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("code", CODES, ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("in_part_or_wholly_done", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize("damaged", [False, True], ids=["whole", "damaged"])
@pytest.mark.parametrize("third", range(3))
def test_every_call_fails_and_power_is_cut_after_it(
    code: int, in_part_or_wholly_done: bool, damaged: bool, third: int
) -> None:
    """Of what may be done in part or wholly in spite of the error, half the calls are the one, half the other."""
    counts, calls = Counts(), 0
    for at, (kind, _) in list(enumerate(LIVES[damaged]))[third::3]:
        if in_part_or_wholly_done and not in_part(kind):
            continue
        done = DONES[1 + at // 3 % 2] if in_part_or_wholly_done else "nothing"
        played = Failing(SEED, code, at, done, damaged=damaged, power_is_cut=True).play()
        assert played.failed == LIVES[damaged][at], f"call {at}"
        counts.add(played.cuts)
        calls += 1
    print(f"seed {SEED}: {calls} calls failed; power cut after each: {counts}")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_disk_full_from_any_call_on_is_gone_on_with_by_itself() -> None:
    calls = [at for at, (kind, _) in enumerate(LIVES[False]) if kind in SPACE_TAKING]
    for at in calls:
        for failing in (2, 4, 16):
            assert not Failing(SEED, errno.ENOSPC, at, operations_failing=failing).play().stopped, f"call {at}"
    print(f"seed {SEED}: full from {len(calls)} calls on, for 2, 4 and 16 operations")
