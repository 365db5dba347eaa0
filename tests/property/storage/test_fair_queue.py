"""Turns between tenants: nothing is lost, order within a tenant is kept, no tenant waits for another's flood."""

from collections import defaultdict
from dataclasses import dataclass, field

import hypothesis.strategies as st
from evenshard.storage.fair_queue import FairQueue, FairShare
from hypothesis import given

TENANTS = "abcd"
puts = st.tuples(st.sampled_from(TENANTS), st.integers(1, 100))
steps = st.lists(st.one_of(puts, st.none()), max_size=120)
"""Items put, by tenant and size; None: one is taken."""


@dataclass
class Head:
    """The first item of a tenant's line: what others were given while it stood there."""

    before: int
    """Size of the item of this tenant taken right before; 0: it came into an empty line."""
    others: dict[str, int] = field(default_factory=lambda: defaultdict(int))


@given(steps)
def test_all_items_come_out_once_and_those_of_a_tenant_in_their_order(
    given_steps: list[tuple[str, int] | None],
) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    put: dict[str, list[int]] = defaultdict(list)
    taken: dict[str, list[int]] = defaultdict(list)
    sizes: dict[int, int] = {}
    for number, step in enumerate(given_steps):
        if step is not None:
            tenant, sizes[number] = step
            queue.put(tenant, sizes[number], (tenant, number))
            put[tenant].append(number)
        elif queue:
            size = queue.next_size()
            tenant, item = queue.pop()
            assert sizes[item] == size
            taken[tenant].append(item)
    while queue:
        tenant, item = queue.pop()
        taken[tenant].append(item)
    assert taken == put


@given(steps)
def test_a_tenant_waits_for_one_item_of_each_other_and_as_many_bytes_as_it_had_itself(
    given_steps: list[tuple[str, int] | None],
) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    lines: dict[str, list[int]] = {tenant: [] for tenant in TENANTS}
    heads: dict[str, Head] = {}
    largest = 0
    last_of: dict[str, int] = {}
    for step in [*given_steps, *[None] * len(given_steps)]:
        if step is not None:
            tenant, size = step
            largest = max(largest, size)
            if not lines[tenant]:
                heads[tenant] = Head(last_of.get(tenant, 0))
            lines[tenant].append(size)
            queue.put(tenant, size, step)
        elif queue:
            tenant, size = queue.pop()
            assert lines[tenant].pop(0) == size
            for other, head in heads.items():
                if other != tenant and lines[other]:
                    head.others[tenant] += size
            waited = heads.pop(tenant)
            for other, given_bytes in waited.others.items():
                assert given_bytes <= waited.before + largest, (tenant, other)
            last_of[tenant] = size
            if lines[tenant]:
                heads[tenant] = Head(size)


def test_a_tenant_that_comes_behind_a_flood_is_next_but_one() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(1000):
        queue.put("flood", 100, f"flood-{number}")
    assert queue.pop() == "flood-0"
    queue.put("small", 100, "small-0")
    queue.put("small", 100, "small-1")
    assert [queue.pop() for _ in range(4)] == ["small-0", "flood-1", "small-1", "flood-2"]


def test_a_tenant_that_sends_one_item_at_a_time_gets_no_more_than_its_turn() -> None:
    queue: FairQueue[str] = FairQueue()
    for _ in range(100):
        queue.put("patient", 10, "patient")
    served = {"patient": 0, "quick": 0}
    queue.put("quick", 100, "quick")
    for _ in range(44):
        tenant = queue.pop()
        served[tenant] += 1
        if tenant == "quick":
            queue.put("quick", 100, "quick")
    assert served["patient"] * 10 - served["quick"] * 100 in range(-100, 101)


def test_what_was_served_long_ago_is_forgotten() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.put("busy", 1, 0)
    for number in range(10_000):
        queue.put("busy", 1, number)
        queue.put(f"once-{number}", 1, number)
        queue.pop()
        queue.pop()
    assert len(queue._finish) <= 512
    while queue:
        queue.pop()
    for number in range(10_000):
        queue.put(f"alone-{number}", 1, number)
        queue.pop()
    assert len(queue._finish) <= 512


@given(st.integers(1, 1000), steps)
def test_a_room_is_never_overfull_and_what_is_refused_would_not_leave_as_much_free_as_its_tenant_holds(
    bytes_max: int, given_steps: list[tuple[str, int] | None]
) -> None:
    room = FairShare(bytes_max)
    held: list[tuple[str, int]] = []
    for step in given_steps:
        if step is None:
            if held:
                room.give_back(*held.pop(0))
            continue
        tenant, size = step
        of_all, of_tenant = sum(size for _, size in held), sum(size for name, size in held if name == tenant)
        taken = room.take(tenant, size)
        assert taken == (not held or of_tenant + size <= bytes_max - of_all)
        if taken:
            held.append(step)
        assert room.bytes == sum(size for _, size in held)
        assert room.bytes <= bytes_max or len(held) == 1 or held[0][1] > bytes_max


def test_greedy_tenants_leave_room_for_the_next() -> None:
    room = FairShare(1200)
    for greedy in range(1, 5):
        for _ in range(1200):
            for number in range(greedy):
                room.take(f"greedy-{number}", 1)
        assert room.take("next", 1)
        room.give_back("next", 1)
    alone = FairShare(1200)
    while alone.take("greedy", 1):
        pass
    assert alone.bytes == 600
