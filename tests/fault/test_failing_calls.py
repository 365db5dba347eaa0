"""Any one operation of the disk fails, with EIO or ENOSPC, before, within or behind what it does.

Nothing acked is lost, nothing refused comes back, nothing is a duplicate of something never stored, and a disk with
space again is enough to go on.
"""

import errno

import pytest
from evenshard.testing.faults.failing import Failing, operations_of_a_life
from evenshard.testing.faults.recording_disk import SPACE_TAKING, Done

SEED = 7
LIFE = operations_of_a_life(SEED)
FAULTS: list[tuple[int, Done]] = [
    (code, done) for code in (errno.EIO, errno.ENOSPC) for done in ("nothing", "half", "all")
]
FIRST = {(kind, name.partition("/")[0]): number for number, (kind, name) in reversed(list(enumerate(LIFE)))}
LAST = {(kind, name.partition("/")[0]): number for number, (kind, name) in enumerate(LIFE)}


def test_the_life_has_every_operation() -> None:
    assert {kind for kind, _ in FIRST} == {
        *("open", "create", "write", "read", "truncate", "sync", "sync_directory", "list", "unlink"),
        *("database", "database_copy", "query", "begin", "statement", "commit", "checkpoint"),
    } - {"truncate"}  # only after another failure: see the scenarios of crash states


@pytest.mark.parametrize("kind", FIRST, ids="-".join)
def test_the_first_and_the_last_call_of_each_kind_fail(kind: tuple[str, str]) -> None:
    for number, at in enumerate((FIRST[kind], LAST[kind])):
        for code, done in FAULTS[number % 2 :: 3]:
            assert Failing(SEED, code, at, done).play().failed == LIFE[at]


def test_a_disk_that_is_full_for_a_while_is_gone_on_with_by_itself() -> None:
    for at in range(0, len(LIFE), 40):
        assert not Failing(SEED, errno.ENOSPC, at, operations_failing=4).play().stopped


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("done", ["nothing", "half", "all"])
def test_every_call_fails_and_power_is_cut_after_it(code: int, done: Done) -> None:
    for at, operation in enumerate(LIFE):
        played = Failing(SEED, code, at, done, power_is_cut=True).play()
        assert played.failed == operation, f"call {at}"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_disk_full_from_any_call_on_is_gone_on_with_by_itself() -> None:
    for at, (kind, _) in enumerate(LIFE):
        if kind in SPACE_TAKING:
            for failing in (2, 4, 16):
                assert not Failing(SEED, errno.ENOSPC, at, operations_failing=failing).play().stopped, f"call {at}"
