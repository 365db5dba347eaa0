"""At its start a shard finds out whose rows are whose: of which tenants, and what a first question then still reads."""

from typing import Any

import numpy as np
from evenshard.ids import TenantId
from evenshard.shard.preparing import PREPARED_ROWS_MAX, number_users, to_prepare
from evenshard.storage.columns.sources import Wanted
from evenshard.storage.tenant import TenantStorage
from evenshard.testing.shard import ACME, Shard, click, fail


def _stored(tenant: str, log_rows: int, segment_rows: int = 0) -> TenantStorage:
    return TenantStorage(TenantId(tenant), log_rows, segment_rows, 0, 0, 0, 0)


def test_the_largest_tenants_that_fit_are_prepared() -> None:
    stored = [_stored("a", 10, 20), _stored("b", 50), _stored("c", 0, 40), _stored("none", 0), _stored("d", 10)]
    assert to_prepare(stored, 1 << 40) == ["b", "c", "a", "d"]
    assert to_prepare(stored, 32 * 90) == ["b", "c"]
    assert to_prepare(stored, 32 * 45) == ["c"]
    assert to_prepare(stored, 0) == []


def test_no_more_rows_are_prepared_than_take_a_second_or_two() -> None:
    half = PREPARED_ROWS_MAX // 2
    assert to_prepare([_stored("a", half, half + 1), _stored("b", half), _stored("c", half)], 1 << 60) == ["b", "c"]


def _two_halves() -> Shard:
    """Some users, with rows in a segment and in the log, of a shard that was just started."""
    shard = Shard()
    shard.add(*(click(number) for number in (1, 2, 3)))
    shard.store.compact(ACME)
    shard.add(*(click(number, "later") for number in (2, 3, 4)))
    shard.store.close()
    shard.open()
    return shard


def _users(shard: Shard) -> tuple[list[Any], list[str]]:
    """Whose the rows of each part are, as a question of all time finds it, and who they are."""
    with shard.store.snapshot(ACME) as snapshot:
        found = snapshot.parts(Wanted((), (), 0, 1 << 60, users=True))
    runs = [part.users for part in found.parts]
    people = found.people.ids(np.arange(len(found.people), dtype=np.int32)).to_pylist()
    return [(each.starts.tolist(), each.ends.tolist(), each.numbers.tolist()) for each in runs if each], people


def test_a_first_question_reads_no_ids_and_finds_the_same_users() -> None:
    expected = _users(_two_halves())
    assert sorted(expected[1]) == ["u1", "u2", "u3", "u4"]
    shard, reads, reported = _two_halves(), list[str](), list[str]()
    number_users(shard.store, ACME, reported.append)
    shard.disk.hook = lambda operation, name: reads.append(name) if operation == "read" else None
    assert _users(shard) == expected
    assert (reads, reported) == ([], [])


def test_what_cannot_be_read_is_reported_and_the_shard_goes_on() -> None:
    shard, reported = _two_halves(), list[str]()
    fail(shard, "read", folder="segments")
    number_users(shard.store, ACME, reported.append)
    (line,) = reported
    assert "SHARD_UNAVAILABLE" in line
    assert _users(shard) == _users(_two_halves())
