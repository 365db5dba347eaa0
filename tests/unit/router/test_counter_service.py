"""All counters as one: a key that several counted has the sum of their counts."""

from evenshard.api.v1 import counter_pb2
from evenshard.router.counter_service import largest


def key(tenant: str, distinct_id: str, date: str, count: int, error: int = 0) -> counter_pb2.KeyCount:
    return counter_pb2.KeyCount(tenant=tenant, distinct_id=distinct_id, date=date, count=count, count_error=error)


def test_counts_of_one_key_add_up_and_the_largest_come_first() -> None:
    first = [key("acme", "runaway", "2026-01-01", 60, 1), key("acme", "b", "2026-01-01", 50)]
    second = [
        key("acme", "runaway", "2026-01-01", 55, 2),
        key("acme", "runaway", "2026-01-02", 50),
        key("z", "b", "2026-01-01", 50),
    ]
    assert largest([first, second]) == [
        key("acme", "runaway", "2026-01-01", 115, 3),
        key("acme", "b", "2026-01-01", 50),
        key("acme", "runaway", "2026-01-02", 50),
        key("z", "b", "2026-01-01", 50),
    ]
    assert largest([]) == []
    assert [each.count for each in first] == [60, 50]
