"""What is hot, decided batch by batch, against a counter that takes one event at a time."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from evenshard.events.hashing import hash_of
from evenshard.hotkeys.aggregate import aggregate
from evenshard.hotkeys.marks import HotKey, Mark, Rule
from evenshard.hotkeys.near_keys import KNOWN_KEYS_MAX, NEEDLESS_MIN
from evenshard.hotkeys.threshold import Decision, KeyWatch, Rows
from evenshard.ids import TenantId
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

DAY_MS = 86_400_000
TENANT = TenantId("acme")
MARK = Mark("rewrite", 10, 11, "nonce")

Event = tuple[str, int, int]
"""distinct_id, day, and what makes it the event it is: sent again, it is a duplicate."""


@dataclass
class Naive:
    """One event at a time; a batch's own events count as new until it is over."""

    threshold: int
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)
    hot_keys: set[tuple[str, int]] = field(default_factory=set)
    seen: set[Event] = field(default_factory=set)

    def batch(self, events: list[Event]) -> tuple[list[bool], list[bool]]:
        """For each event whether it is hot, and whether it is new."""
        hot, new, ahead = [], [], Counter(self.counts)
        for event in events:
            key = event[:2]
            hot.append(event[0] != "" and (key in self.hot_keys or ahead[key] >= self.threshold))
            new.append(event not in self.seen)
            self.seen.add(event)
            ahead[key] += 1
        for event, is_hot, is_new in zip(events, hot, new, strict=True):
            self.counts[event[:2]] += is_new
            if is_hot and is_new:
                self.hot_keys.add(event[:2])
        return hot, new

    def forget(self, users: list[str]) -> None:
        """They are deleted: nothing of them counts, and what comes again is new."""
        for keys in (self.counts, self.hot_keys, self.seen):
            for key in [key for key in keys if key[0] in users]:
                keys.pop(key) if isinstance(keys, Counter) else keys.discard(key)  # type: ignore[arg-type]


@dataclass
class Router:
    """The watch with counters beside it, which hear of rows now and then."""

    rule: Rule
    known_keys_max: int = KNOWN_KEYS_MAX
    counters: Counter[HotKey] = field(default_factory=Counter)
    marks: set[HotKey] = field(default_factory=set)
    waiting: list[Rows] = field(default_factory=list)
    lookups: int = 0

    def __post_init__(self) -> None:
        self.watch = KeyWatch(known_keys_max=self.known_keys_max)

    def enter(self, events: list[Event]) -> tuple[Rows, bool]:
        ids = pa.array([event[0] for event in events], pa.utf8())
        times = np.array([event[1] * DAY_MS + event[2] % DAY_MS for event in events], np.int64)
        hashes = np.array([hash_of(event[0]) for event in events], np.uint64)
        return self.watch.enter(TENANT, ids, times, hashes, self.rule)

    def decide(self, rows: Rows) -> Decision:
        suspects = self.watch.suspects(rows, self.rule)
        asked = [suspects.keys[number] for number in self.watch.to_look_up(rows, suspects, self.rule)]
        self.lookups += len(asked)
        return self.watch.decide(rows, suspects, self.rule, {key: self.counters[key] for key in asked})

    def settle(self, rows: Rows, decision: Decision | None, new: list[bool], chance: Random) -> None:
        """Acks arrive in two parts."""
        flags = np.array(new)
        cut = chance.randrange(len(new) + 1)
        for at in (np.arange(cut), np.arange(cut, len(new))):
            if decision is not None:
                for number in np.unique(decision.key_of_row[at[flags[at] & decision.crossing[at]]]).tolist():
                    self.watch.mark(decision.keys[number], MARK)
                    self.marks.add(decision.keys[number])
            self.waiting.append(self.watch.acknowledge(rows, at, rows.distinct_ids.take(pa.array(at)), flags[at]))
        self.watch.leave(rows)

    def tell(self) -> None:
        """The counters count what waits, and say what they have of these keys."""
        told: dict[HotKey, int] = {}
        for rows in self.waiting:
            record = aggregate(rows.distinct_ids, rows.times, rows.hashes, rows.counted).record
            for row in record.to_pylist():
                key = (TENANT, row["distinct_id"], row["day"])
                self.counters[key] += row["count"]
                told[key] = self.counters[key]
        near = [(key, count) for key, count in told.items() if count >= self.rule.count_min]
        self.watch.tell(self.waiting, near, self.rule.count_min)
        self.waiting = []

    def forget(self, users: list[str]) -> None:
        """As the driver of a deletion: here, then at the counters."""
        self.watch.forget(TENANT, users)
        for key in [key for key in self.counters if key[1] in users]:
            del self.counters[key]
        self.marks = {key for key in self.marks if key[1] not in users}

    def restart(self) -> None:
        """A new watch: it knows the marks, and what counters have near the threshold."""
        self.tell()
        self.watch = KeyWatch(known_keys_max=self.known_keys_max)
        for key in self.marks:
            self.watch.mark(key, MARK)
        near: Mapping[HotKey, int] = {
            key: count for key, count in self.counters.items() if count >= self.rule.count_min
        }
        self.watch.learn(near)


AFTER = st.sampled_from(["", "tell", "restart", "forget a", "forget b", "forget a and c"])
events = st.tuples(st.sampled_from(["a", "b", "c", ""]), st.integers(0, 1), st.integers(0, 60))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(  # what is looked up makes the router forget what it knew of another key of the batch
    1, [([("a", 0, 0), ("a", 1, 0), ("b", 0, 0)], "tell"), ([("a", 0, 0), ("a", 1, 0), ("b", 0, 0)], "")], 2, Random(0)
)
@given(
    st.integers(1, 25),
    st.lists(st.tuples(st.lists(events, min_size=1, max_size=40), AFTER), max_size=8),
    st.sampled_from([KNOWN_KEYS_MAX, 2]),
    st.randoms(use_true_random=False),
)
def test_one_batch_in_flight_is_exact_to_the_event(
    threshold: int, batches: list[tuple[list[Event], str]], known_keys_max: int, chance: Random
) -> None:
    """Also with a memory far too small for the keys that are near."""
    naive, router = Naive(threshold), Router(Rule(threshold, "rewrite"), known_keys_max)
    for batch, then in batches:
        expected, new = naive.batch(batch)
        rows, near = router.enter(batch)
        decision = router.decide(rows) if near else None
        assert (decision.hot.tolist() if decision else [False] * len(batch)) == expected
        router.settle(rows, decision, new, chance)
        if then == "tell":
            router.tell()
        elif then == "restart":
            router.restart()
        elif then:
            users = then.removeprefix("forget ").split(" and ")
            naive.forget(users)
            router.forget(users)
    router.tell()
    assert router.watch.pending_rows == 0
    assert not router.watch._sketch._counts.any()


@pytest.mark.parametrize("seed", [1, 2])
def test_batches_far_below_the_threshold_are_never_looked_at(seed: int) -> None:
    print(f"seed {seed}")
    chance = Random(seed)
    router = Router(Rule(1000, "rewrite"))
    for _ in range(20):
        batch = [(f"user-{chance.randrange(5000)}", 0, number) for number in range(2000)]
        rows, near = router.enter(batch)
        assert not near
        router.settle(rows, None, [True] * len(batch), chance)
        router.tell()
    assert router.lookups == 0


def test_rows_on_their_way_count_in_the_order_they_were_entered() -> None:
    router = Router(Rule(10, "rewrite"))
    first, _ = router.enter([("a", 0, number) for number in range(8)])
    second, near = router.enter([("a", 0, number) for number in range(8, 14)])
    assert near
    assert router.decide(second).hot.tolist() == [False, False, True, True, True, True]
    assert router.decide(first).hot.tolist() == [False] * 8
    router.watch.leave(first)  # nobody stored it
    third, _ = router.enter([("a", 0, number) for number in range(20, 26)])
    assert router.decide(third).hot.tolist() == [False] * 4 + [True] * 2


def test_what_counters_lost_is_not_forgotten_here() -> None:
    router = Router(Rule(10, "rewrite"))
    chance = Random(3)
    rows, _ = router.enter([("a", 0, number) for number in range(7)])
    router.settle(rows, router.decide(rows), [True] * 7, chance)
    router.tell()
    router.counters.clear()
    rows, _ = router.enter([("a", 0, 7), ("a", 0, 8)])
    router.settle(rows, router.decide(rows), [True] * 2, chance)
    router.tell()
    rows, _ = router.enter([("a", 0, 9), ("a", 0, 10)])
    assert router.decide(rows).hot.tolist() == [False, True]


def test_what_a_bounded_memory_forgets_is_asked_for_again() -> None:
    watch = KeyWatch(known_keys_max=10)
    watch.learn({(TENANT, f"user-{number}", 0): 600 for number in range(11)})
    rule = Rule(601, "rewrite")
    found = {}
    for number in (0, 10, 11):
        ids = pa.array([f"user-{number}"] * 2, pa.utf8())
        hashes = np.array([hash_of(f"user-{number}")] * 2, np.uint64)
        rows, near = watch.enter(TENANT, ids, np.array([5, 6], np.int64), hashes, rule)
        found[number] = near, watch.to_look_up(rows, watch.suspects(rows, rule), rule)
    assert found == {0: (True, [0]), 10: (True, []), 11: (False, [])}


@pytest.mark.parametrize("seed", [1, 2])
def test_marks_of_other_keys_make_nobody_a_suspect(seed: int) -> None:
    """Fifty thousand marks, of other users and of the same users on other days: every bucket has one."""
    print(f"seed {seed}")
    chance = Random(seed)
    router = Router(Rule(1000, "rewrite"))
    for number in range(25_000):
        router.watch.mark((TENANT, f"hot-{number}", 0), MARK)
        router.watch.mark((TENANT, f"user-{number}", 1), MARK)
    batch = [(f"user-{chance.randrange(25_000)}", 0, number) for number in range(5000)]
    rows, near = router.enter(batch)
    assert not near
    router.settle(rows, None, [True] * len(batch), chance)
    router.tell()
    batch[chance.randrange(5000)] = ("hot-24999", 0, 5000)
    rows, near = router.enter(batch)
    assert near
    decision = router.decide(rows)
    assert decision.keys == [(TENANT, "hot-24999", 0)]
    assert decision.hot.tolist() == [event[0] == "hot-24999" for event in batch]


def test_keys_whose_mark_was_removed_are_not_watched_for_ever() -> None:
    router = Router(Rule(1000, "rewrite"))
    keys = [(TENANT, f"user-{number}", 0) for number in range(1000)]
    for key in keys:
        router.watch.mark(key, MARK)
    for key in keys[:400]:
        router.watch.unmark(key)
    router.watch.forget(TENANT, [f"user-{number}" for number in range(400, 800)])
    suspects = {key[1] for key in keys if router.enter([(key[1], 0, 5)])[1]}
    assert suspects >= {f"user-{number}" for number in range(800, 1000)}
    assert len(suspects) <= 200 + NEEDLESS_MIN
    assert router.watch._sketch.watched_keys <= 200 + NEEDLESS_MIN
