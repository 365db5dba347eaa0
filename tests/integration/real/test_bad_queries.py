"""Questions that are wrong, too large, or given up: a precise error or a bounded answer, and everybody serves on."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import evenshard
import pytest
from evenshard.client import connect_async
from evenshard.errors import EvenshardError
from evenshard.testing.processes import ClusterProcess

FROM, TO = "2026-01-01", "2026-01-02"
START_MS = 1_767_225_600_000
USERS = 12_000
DEPTH = 1_000
SOON_S = 5.0

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def client(shared_cluster: ClusterProcess) -> Iterator[evenshard.Client]:
    with evenshard.connect(shared_cluster.router, shared_cluster.gateway, tenant="acme", timeout=60) as client:
        client.create_tenant("acme")
        events = (
            {
                "event": "view",
                "distinct_id": f"user-{number}",
                "time": START_MS + number * 1000,
                "insert_id": str(number),
                "properties": {"path": "a" * 60 + str(number), "n": number},
            }
            for number in range(USERS)
        )
        assert client.import_events(events).accepted == USERS
        yield client


def asks(client: evenshard.Client) -> dict[str, Ask]:
    """Every kind of question that takes a range and a filter."""
    return {
        "segmentation": client.segmentation,
        "funnel": lambda **options: client.funnel(["view", "view"], **options),
        "retention": lambda **options: client.retention("view", **options),
        "flows": lambda **options: client.flows("view", **options),
        "timeline": lambda **options: client.timeline("user-1", **options),
    }


KINDS = ["segmentation", "funnel", "retention", "flows", "timeline"]


def refusal(ask: Ask, **options: Any) -> EvenshardError:
    """The error of a question, which must come soon."""
    started_s = time.monotonic()
    with pytest.raises(EvenshardError) as raised:
        ask(**options)
    assert time.monotonic() - started_s < SOON_S
    return raised.value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("first", "last"), [(TO, FROM), ("1926-01-01", FROM), ("2026-02-30", TO), ("2026-01-01T00:00", TO)]
)
def test_a_range_that_is_none_is_refused(client: evenshard.Client, kind: str, first: str, last: str) -> None:
    error = refusal(asks(client)[kind], from_date=first, to_date=last)
    assert error.code in ("RANGE_INVALID", "QUERY_INVALID")
    assert first in str(error) or "from_date" in str(error)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("where", "character", "what"),
    [
        ("(" * DEPTH + "n == 1" + ")" * DEPTH, 101, "nested deeper than 100"),
        ("not " * DEPTH + "n == 1", 401, "nested deeper than 100"),
        ("n == ", 6, ""),
        ("n = 1", 3, ""),
        ('path matches "(a|aa|a?){1000}b"', 24, "too large"),
        ('path matches "("', 15, "not one"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_at_its_character(
    client: evenshard.Client, kind: str, where: str, character: int, what: str
) -> None:
    error = refusal(asks(client)[kind], from_date=FROM, to_date=TO, where=where)
    assert error.code == "QUERY_INVALID"
    assert f"where, character {character}: " in str(error)
    assert what in str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_a_filter_of_megabytes_is_refused(client: evenshard.Client, kind: str) -> None:
    error = refusal(asks(client)[kind], from_date=FROM, to_date=TO, where=" and ".join(["n == 1"] * 100_000))
    assert error.code == "QUERY_INVALID"


def test_a_catastrophic_pattern_is_matched_in_the_time_of_any_other(client: evenshard.Client) -> None:
    started_s = time.monotonic()
    answer = client.segmentation(from_date=FROM, to_date=TO, where='path matches "^(a+)+(a|aa)+b$"')
    assert time.monotonic() - started_s < SOON_S
    assert [series["overall"] for series in answer.series] == [0]


@pytest.mark.parametrize("window", ["-1", "-1d", "367d", "1 fortnight", ""])
def test_a_window_that_is_none_is_refused(client: evenshard.Client, window: str) -> None:
    error = refusal(client.funnel, steps=["view", "buy"], from_date=FROM, to_date=TO, window=window)
    assert error.code == "QUERY_INVALID"
    assert "window" in str(error)


def test_ten_thousand_values_of_a_breakdown_are_answered_and_the_others_put_together(client: evenshard.Client) -> None:
    answer = client.segmentation(by="path", limit=10_000, from_date=FROM, to_date=TO)
    assert len(answer.series) == 10_001
    assert answer.series[-1] == {"by": ["$other"], "values": [USERS - 10_000, 0], "overall": USERS - 10_000}
    groups = client.funnel(["view", "view"], by="path", limit=10_000, from_date=FROM, to_date=TO).groups
    assert len(groups) == 10_001
    assert groups[-1]["steps"][0]["count"] == USERS - 10_000
    assert refusal(client.segmentation, by="path", limit=10_001, from_date=FROM, to_date=TO).code == "QUERY_INVALID"


@pytest.mark.parametrize("kind", KINDS[:4])
def test_unknown_names_are_answered_with_nothing_and_what_may_be_meant(client: evenshard.Client, kind: str) -> None:
    unknown = {
        "segmentation": lambda: client.segmentation("vieww", from_date=FROM, to_date=TO),
        "funnel": lambda: client.funnel(["vieww", "view"], from_date=FROM, to_date=TO),
        "retention": lambda: client.retention("vieww", from_date=FROM, to_date=TO),
        "flows": lambda: client.flows("vieww", from_date=FROM, to_date=TO),
    }
    [warning] = [each for each in unknown[kind]().meta["warnings"] if "vieww" in each["message"]]
    assert "'view' meant?" in warning["message"]


async def _leave(cluster: ClusterProcess) -> None:
    """Asks a hundred things, and does not stay for one of the answers."""
    async with connect_async(cluster.router, cluster.gateway, tenant="acme") as client:
        asked = [
            asyncio.create_task(
                client.funnel(["view", "view"], by="path", from_date=FROM, to_date=TO, no_cache=True, limit=1 + number)
            )
            for number in range(100)
        ]
        await asyncio.sleep(0.2)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


def test_nobody_works_on_for_clients_that_went_away(client: evenshard.Client, shared_cluster: ClusterProcess) -> None:
    asyncio.run(_leave(shared_cluster))
    deadline_s = time.monotonic() + SOON_S
    while any(_scanning(shard) for shard in client.storage()["memory"]):
        assert time.monotonic() < deadline_s
    answer = client.segmentation(from_date=FROM, to_date=TO)
    assert [series["overall"] for series in answer.series] == [USERS]


def _scanning(memory: dict[str, Any]) -> bool:
    return any(part["part"] == "scans" and part["bytes"] for part in memory["parts"])


def test_too_short_a_time_is_told_as_such_and_hurts_nobody(client: evenshard.Client) -> None:
    error = refusal(client.funnel, steps=["view", "view"], by="path", from_date=FROM, to_date=TO, timeout=0.001)
    # The gateway gives shards less than that, and names the one that was silent if it is quicker than the client.
    told = error.message if error.code == "SHARD_UNAVAILABLE" else error.code
    assert "DEADLINE_EXCEEDED" in told
    assert client.segmentation(from_date=FROM, to_date=TO).series[0]["overall"] == USERS
