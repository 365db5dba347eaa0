"""Split users' rows are taken out of what a scan reads, the same whether it is known whose rows are or not."""

import random
from typing import Any

import numpy as np
import pytest
from evenshard.errors import EvenshardError
from evenshard.events.hashing import SLOT_COUNT, SLOT_SHIFT, hash_of
from evenshard.events.scan import Parts
from evenshard.queries.expression import parse
from evenshard.queries.split import Apart, Room, Split
from evenshard.testing.reference import Row
from evenshard.testing.scanned import scanned_rows
from evenshard.testing.spread import with_known_users

ALL_BYTES = 1 << 30
FIELDS = ("distinct_id", "event", "insert_id", "time")


def some_rows(chance: random.Random, count: int) -> list[Row]:
    return [
        {
            "event": chance.choice(["view", "buy"]),
            "distinct_id": chance.choice(["", *(f"user-{number}" for number in range(200))]),
            "time": at,
            "insert_id": f"{at}",
            "properties": {"plan": at},
            "duplicate": False,
        }
        for at in range(count)
    ]


def some_slots(chance: random.Random) -> Any:
    home = np.zeros(SLOT_COUNT, np.bool_)
    for _ in range(chance.choice([0, 1, 3, 40])):
        first = chance.randrange(SLOT_COUNT)
        home[first : first + chance.randrange(1, 1000)] = True
    return home if chance.random() < 0.5 else ~home


@pytest.mark.parametrize("seed", range(12))
def test_foreign_users_and_those_told_of_are_taken_and_nobody_else(seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    rows, home = some_rows(chance, 400), some_slots(chance)
    told = tuple(chance.sample([f"user-{number}" for number in range(250)], chance.choice([0, 30])))
    split = Split(None if seed == 0 else home, told, ALL_BYTES)

    def is_split(row: Row) -> bool:
        user = row["distinct_id"]
        return user != "" and (split.home is None or user in told or not home[hash_of(user) >> SLOT_SHIFT])

    pieces = [scanned_rows(rows[at : at + 90], indexed=at < 200) for at in range(0, 400, 90)]
    fields = ("event", "time")
    for known in (False, True):
        apart = Apart(split, parse('$event == "view"'), FIELDS, Room(ALL_BYTES))
        rest = apart.over(with_known_users(pieces, fields) if known else iter(pieces))
        read = [part.read() for part in rest.parts] if isinstance(rest, Parts) else list(rest)
        left = [time for some in read for time in some.kept().record.column("time").to_pylist()]
        assert left == [row["time"] for row in rows if not is_split(row)]
        taken = apart.taken()
        wanted = [row for row in rows if is_split(row) and row["event"] == "view"]
        assert apart.rows == sum(map(is_split, rows))
        assert (taken is None) == (not wanted)
        if taken is not None:
            assert taken.column("time").to_pylist() == [row["time"] for row in wanted]
            assert taken.column("distinct_id").to_pylist() == [row["distinct_id"] for row in wanted]
            assert taken.column("insert_id").to_pylist() == [row["insert_id"] for row in wanted]
            assert taken.column("i:plan").to_pylist() == [row["properties"]["plan"] for row in wanted]
            assert taken.column("indexed").to_pylist() == [row["time"] // 90 * 90 < 200 for row in wanted]


def test_where_all_are_at_home_parts_are_left_as_they_are() -> None:
    parts = with_known_users([scanned_rows(some_rows(random.Random(1), 50))], ("event", "time"))
    apart = Apart(Split(np.ones(SLOT_COUNT, np.bool_), (), 0), None, FIELDS, Room(0))
    rest = apart.over(parts)
    assert isinstance(rest, Parts)
    assert all(given is stored for given, stored in zip(rest.parts, parts.parts, strict=True))
    assert apart.taken() is None


def test_parts_that_a_scan_does_not_read_give_their_rows_back_all_the_same_and_once() -> None:
    rows = some_rows(random.Random(2), 60)
    parts = with_known_users([scanned_rows(rows[:30]), scanned_rows(rows[30:])], ("event", "time"))
    apart = Apart(Split(None, (), ALL_BYTES), None, FIELDS, Room(ALL_BYTES))
    rest = apart.over(parts)
    assert isinstance(rest, Parts)
    for _ in range(2):
        rest.parts[1].read()
    taken = apart.taken()
    assert taken is not None
    assert taken.column("time").to_pylist() == [row["time"] for row in rows if row["distinct_id"]]


def test_more_rows_than_there_is_room_for_are_refused_and_users_named() -> None:
    rows = [{**row, "distinct_id": f"u{number % 5}"} for number, row in enumerate(some_rows(random.Random(3), 60))]
    apart = Apart(Split(None, (), 500), None, FIELDS, Room(500))
    with pytest.raises(EvenshardError) as failed:
        list(apart.over(iter([scanned_rows(rows)])))
    assert (failed.value.code, failed.value.message) == (
        "QUERY_INVALID",
        "matching rows of users who are split over shards (of 'u0', 'u1', 'u2' …) exceed 500 bytes",
    )
