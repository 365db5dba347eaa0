"""The log of slow queries: bounded, the newest first, and grouped by where, whose or what."""

from evenshard.hotkeys.slow_queries import SlowGroup, SlowQueries, SlowQuery, grouped, names_of


def query(
    at_ms: int = 0,
    place: str = "shard-0",
    tenant: str = "acme",
    kind: str = "funnel",
    event: str = "view",
    rows: int = 10,
    wait_ms: float = 0.0,
    run_ms: float = 600.0,
) -> SlowQuery:
    return SlowQuery(at_ms, place, tenant, kind, event, rows, wait_ms, run_ms, "t")


def test_what_took_long_is_kept_waiting_included_and_the_oldest_go() -> None:
    log = SlowQueries(500, kept_max=2)
    assert [log.note(query(1, wait_ms=0, run_ms=499.9)), log.note(query(2, wait_ms=300, run_ms=200))] == [False, True]
    log.note(query(3))
    log.note(query(4))
    assert ([each.at_ms for each in log.newest()], log.noted) == ([4, 3], 3)


def test_groups_by_shard_tenant_and_event_name_what_their_members_share() -> None:
    queries = [
        query(place="shard-0", tenant="acme", event="view", rows=1, wait_ms=100, run_ms=500),
        query(place="shard-1", tenant="acme", event="view", kind="flows", rows=2, wait_ms=0, run_ms=2_000),
        query(place="shard-1", tenant="other", event="*", rows=4, wait_ms=900, run_ms=1_100),
    ]
    assert grouped(queries, "shard", 10) == [
        SlowGroup("shard-1", None, None, None, 2, 2_000.0, 2_000.0, 900.0, 2_000.0, 6),
        SlowGroup("shard-0", "acme", "funnel", "view", 1, 600.0, 600.0, 100.0, 500.0, 1),
    ]
    assert grouped(queries, "tenant", 10) == [
        SlowGroup(None, "acme", None, "view", 2, 2_000.0, 2_000.0, 100.0, 2_000.0, 3),
        SlowGroup("shard-1", "other", "funnel", "*", 1, 2_000.0, 2_000.0, 900.0, 1_100.0, 4),
    ]
    assert [(each.event, each.count) for each in grouped(queries, "event", 10)] == [("view", 2), ("*", 1)]
    assert [(each.place, each.tenant, each.kind, each.count) for each in grouped(queries, "", 2)] == [
        ("shard-1", "acme", "flows", 1),
        ("shard-1", "other", "funnel", 1),
    ]
    assert grouped([], "shard", 10) == []


def test_a_p99_is_that_of_the_slowest_unless_there_are_a_hundred() -> None:
    [group] = grouped([query(run_ms=float(number)) for number in range(1, 201)], "shard", 1)
    assert (group.p99_ms, group.max_ms, group.count) == (198.0, 200.0, 200)


def test_names_are_told_in_order_and_not_all_of_many() -> None:
    assert [names_of(each) for each in ((), ("b", "a", "b"), "dcbae")] == ["*", "a, b", "a, b, c +2"]
