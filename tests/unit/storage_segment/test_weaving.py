"""What questions of users read is woven into one part by the second that finds it so; anew when enough has come, never
for a question of fewer days, and not at all where there is no room.

Whoever is answered from it finds what is stored.
"""

from typing import Any

import numpy as np
import pytest
from evenshard.events.scan import duplicate_rows
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.storage.columns import loom
from evenshard.storage.columns.sources import Wanted
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, append_of, names_of

ACME = TenantId("acme")
BASE_MS = 20_000 * 86_400_000
FIELDS = ("event", "time")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sources were woven, each time."""
    found: list[int] = []
    weave = loom.weave

    def counting(key: Any, sources: Any, *others: Any) -> Any:
        found.append(len(sources))
        return weave(key, sources, *others)

    monkeypatch.setattr(loom, "weave", counting)
    monkeypatch.setattr(loom, "ROWS_MIN", 1)
    return found


def store_of(cache_bytes: int = 1 << 20) -> Store:
    """Two blocks and a segment, of some 60 rows each, not in the order of time."""
    kept = StorageSettings(column_cache_bytes=cache_bytes)
    store = Store.open(MemoryDisk(), ManualClock(), ShardId("s"), kept, lambda _: None)
    append(store, 1)
    store.compact(ACME)
    append(store, 0)
    append(store, 2)
    return store


def append(store: Store, number: int, rows: int = 60) -> None:
    """Of five users and nobody, within a second; the first is at 1999 ms and a copy, if it was appended before. Zoe has
    one event, before all others."""
    batch = [
        Event(
            ("view", "buy", "click")[at % 3], ("ann", "bob", "cy", "", "dé", "eve")[at % 6],
            BASE_MS + ((997 * at + 17 * number) % 1000 + 1000 * number if at else 1999), None if at else "x", {},
        )
        for at in range(rows)
    ]  # fmt: skip
    batch += [Event("view", "zoe", BASE_MS - 500)] if number == 1 else []
    store.append([append_of(batch, ACME)])


def parts(
    store: Store, *, start_ms: int = BASE_MS - 1000, end_ms: int = BASE_MS + 10_000, fields: tuple[str, ...] = FIELDS,
    woven: bool = True,
) -> Any:  # fmt: skip
    with store.snapshot(ACME) as snapshot:
        wanted = Wanted(fields, (), start_ms, end_ms, users=True, copies_apart=woven)
        found = snapshot.parts(wanted)
        names = names_of(found.people)
        return [(part, part.read(), names) for part in found.parts]


def counted(store: Store, *, start_ms: int, end_ms: int, woven: bool) -> Any:
    """By those who do not ask for users: rows that are no copies, the account, and in how many parts."""
    with store.snapshot(ACME) as snapshot:
        wanted = Wanted(FIELDS, (), start_ms, end_ms, users=False, copies_apart=woven)
        found = [(part, part.read(), ()) for part in snapshot.parts(wanted).parts]
    rows = []
    for _, some, _ in found:
        times, events = (some.record.column(name).to_pylist() for name in ("time", "event"))
        rows += [(times[row], events[row]) for row in set(meant(some)) - set(duplicate_rows(some.record).tolist())]
    return sorted(rows), account(found), len(found)


def meant(some: Any) -> list[int]:
    return np.arange(some.record.num_rows)[slice(None) if some.keep is None else some.keep].tolist()


def by_user(found: Any) -> dict[str, list[Any]]:
    """Of rows that are no copies: time and event of each user's, which come by time."""
    rows: dict[str, list[Any]] = {name: [] for _, _, names in found for name in names}
    for part, some, names in found:
        users, copies = part.users, set(duplicate_rows(some.record).tolist())
        copies |= set() if some.keep is None else set(np.flatnonzero(~some.keep).tolist())
        times = some.record.column("time").to_pylist()
        events = some.record.column("event").to_pylist() if "event" in some.record.schema.names else times
        for run, user in enumerate(users.numbers.tolist()):
            places = range(users.starts[run], users.ends[run])
            mine = [place if users.order is None else int(users.order[place]) for place in places]
            assert [times[row] for row in mine] == sorted(times[row] for row in mine)
            rows[names[user]] += [(times[row], events[row]) for row in mine if row not in copies]
    return {name: sorted(mine) for name, mine in rows.items()}


def columns_bytes(store: Store) -> int:
    return next(part.bytes for part in store.memory() if part.part == "columns")


def account(found: Any) -> Any:
    """Rows, bytes, and the events of copies, of the log and of segments."""
    copies: dict[bool, list[str]] = {False: [], True: []}
    for _, some, _ in found:
        at = sorted(set(duplicate_rows(some.record).tolist()) & set(meant(some)))
        copies[some.indexed] += some.record.column(0).take(at).to_pylist() if len(at) else []
    copies = {indexed: sorted(found) for indexed, found in copies.items()}
    return sum(len(meant(some)) for _, some, _ in found), sum(some.bytes_read for _, some, _ in found), copies


def test_a_question_is_answered_from_what_is_woven_as_from_what_is_stored(made: list[int]) -> None:
    store = store_of()
    plain, first_asked = parts(store, woven=False), parts(store)
    assert made == []
    assert by_user(first_asked) == by_user(plain)
    woven, again = parts(store), parts(store)
    assert made == [3]
    assert by_user(woven) == by_user(again) == by_user(plain)
    assert account(woven) == account(again) == account(plain)
    (first, _, _), *others = woven
    assert first.users.order is None
    assert (np.diff(first.users.numbers) > 0).all()
    assert [len(part.users.numbers) for part, _, _ in others] == [0, 0], "copies and nobody's rows"
    store.close()


@pytest.mark.parametrize("seed", range(12))
def test_questions_of_any_range_in_any_order_find_what_is_stored(made: list[int], seed: int) -> None:
    chance = np.random.default_rng(seed)
    store = store_of()
    ranges = [sorted(chance.integers(-1000, 3500, 2).tolist()) for _ in range(3)]
    for number in range(3, 40):
        match int(chance.integers(0, 20)):
            case 0:
                append(store, number % 4, rows=int(chance.integers(1, 80)))
            case 1:
                store.compact(ACME)
            case 2:
                store.sort_tail(ACME)
            case 3:
                store.hide_users(ACME, Epoch(1), f"op{number}", [["ann", "bob", "zoe"][int(chance.integers(0, 3))]])
        start, end = ranges[int(chance.integers(0, 3))]
        days = {"start_ms": BASE_MS + start, "end_ms": BASE_MS + end + 1}
        fields = FIELDS if chance.random() < 0.7 else ("time",)
        found, plain = parts(store, **days, fields=fields), parts(store, **days, fields=fields, woven=False)
        assert by_user(found) == by_user(plain)
        assert account(found) == account(plain)
        assert counted(store, **days, woven=True)[:2] == counted(store, **days, woven=False)[:2]
    store.close()


def test_who_only_counts_finds_what_is_woven_and_never_weaves(made: list[int]) -> None:
    store = store_of()
    week = {"start_ms": BASE_MS - 1000, "end_ms": BASE_MS + 10_000}
    for _ in range(3):
        assert counted(store, **week, woven=True) == counted(store, **week, woven=False)
    assert made == []
    parts(store)
    parts(store)
    rows, told, count = counted(store, **week, woven=True)
    assert (made, (rows, told)) == ([3], counted(store, **week, woven=False)[:2])
    assert count == 3, "all that is woven, and of the log and of segments what is nobody's or a copy"
    store.append([append_of([Event("view", "ann", BASE_MS + 5)], ACME)])
    assert counted(store, **week, woven=True)[:2] == counted(store, **week, woven=False)[:2]
    store.close()


def test_what_is_woven_of_a_week_serves_its_days(made: list[int]) -> None:
    store = store_of()
    week = {"start_ms": BASE_MS + 300, "end_ms": BASE_MS + 2500}
    parts(store, **week)
    parts(store, **week)
    assert made == [3]
    for start_ms, end_ms, count in ((300, 2500, 1), (400, 2400, 1), (1000, 2000, 1), (299, 2500, 3), (300, 2501, 3)):
        found = parts(store, start_ms=BASE_MS + start_ms, end_ms=BASE_MS + end_ms)
        assert sum(len(part.users.numbers) > 0 for part, _, _ in found) == count
        assert by_user(found) == by_user(
            parts(store, start_ms=BASE_MS + start_ms, end_ms=BASE_MS + end_ms, woven=False)
        )
    assert made == [3]
    store.close()


def test_weeks_that_take_turns_are_not_woven_in_turn(made: list[int]) -> None:
    store = store_of()
    weeks = [{"start_ms": BASE_MS + start, "end_ms": BASE_MS + start + 2000} for start in (300, 400)]
    for number in range(12):
        parts(store, **weeks[number % 2])
    assert made == [3]
    for _ in range(2 + loom.UNSERVED_MAX):
        parts(store, **weeks[1])
    assert made == [3, 3], "what serves nobody any more makes room"
    store.close()


def test_of_times_alone_less_is_read(made: list[int]) -> None:
    store = store_of()
    parts(store)
    parts(store)
    plain, woven = parts(store, woven=False, fields=("time",)), parts(store, fields=("time",))
    assert [some.record.schema.names for _, some, _ in woven] == [["time", "duplicate"]] * 3
    assert sum(some.bytes_read for _, some, _ in woven) == sum(some.bytes_read for _, some, _ in plain)
    assert made == [3]
    store.close()


def test_few_new_rows_stay_beside_and_many_are_woven_too(made: list[int]) -> None:
    store = store_of()
    parts(store)
    parts(store)
    append(store, 3, rows=10)
    for _ in range(2):
        found = parts(store)
        assert (made, len(found)) == ([3], 4)
        assert by_user(found) == by_user(parts(store, woven=False))
    append(store, 4)
    assert len(parts(store)) == 5
    found = parts(store)
    assert (made, len(found)) == ([3, 5], 3)
    assert by_user(found) == by_user(parts(store, woven=False))
    store.close()


@pytest.mark.parametrize(
    ("start_ms", "end_ms"), [(0, 10_000), (-500, 10_000), (0, 1500), (-1000, 2500), (500, 10_000), (1998, 10_000)]
)
def test_what_is_woven_is_not_for_questions_of_fewer_days_and_stays(
    made: list[int], start_ms: int, end_ms: int
) -> None:
    store = store_of()
    parts(store)
    parts(store)
    days = {"start_ms": BASE_MS + start_ms, "end_ms": BASE_MS + end_ms}
    for _ in range(3):
        assert by_user(parts(store, **days)) == by_user(parts(store, **days, woven=False))
    parts(store)
    assert made == [3]
    store.compact(ACME)
    assert by_user(parts(store)) == by_user(parts(store, woven=False))
    store.close()


@pytest.mark.parametrize("user", ["ann", "zoe"])
def test_who_is_deleted_is_not_woven(made: list[int], user: str) -> None:
    store = store_of()
    parts(store)
    parts(store)
    held_bytes = columns_bytes(store)
    store.hide_users(ACME, Epoch(1), "op", [user])
    for _ in range(3):
        found = by_user(parts(store))
        assert found == by_user(parts(store, woven=False))
        assert not found[user]
    assert columns_bytes(store) < held_bytes - 100 * loom.ROW_BYTES, "what was woven is gone"
    assert made == [3], "not all rows are meant, and nothing is woven of some"
    store.close()


def test_without_room_nothing_is_woven_again_and_again(made: list[int]) -> None:
    store = store_of()
    plain = by_user(parts(store, woven=False))
    else_bytes = columns_bytes(store)
    store.close()
    for cache_bytes, times in ((loom.ROW_BYTES * loom.CACHE_SHARE * 180 - 1, []), (else_bytes + 800, [3])):
        made.clear()
        store = store_of(cache_bytes)
        parts(store, woven=False)
        for _ in range(4):
            assert by_user(parts(store)) == plain
        assert made == times
        store.close()


def test_sources_that_change_all_the_time_are_not_woven(made: list[int]) -> None:
    store = store_of()
    for number in range(3, 9):
        append(store, number)
        parts(store)
    assert made == []
    store.close()
