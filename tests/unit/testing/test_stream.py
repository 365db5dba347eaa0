"""The made-up stream is what it says: exact in number, the same for a seed, skewed, retried, and like life."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from evenshard.testing import stream

NOW = datetime(2026, 3, 15, 13, 37, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
EVENTS = 40_000


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    blocks = stream.ndjson_blocks(stream.make_stream(NOW, EVENTS))
    return [orjson.loads(line) for block in blocks for line in block.splitlines()]


def _first_copies(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({line["properties"]["$insert_id"]: line for line in lines}.values())


def test_a_seed_always_gives_the_same_bytes() -> None:
    def made(seed: int) -> bytes:
        return b"".join(stream.ndjson_blocks(stream.make_stream(NOW, 2_000, seed)))

    assert made(1) == made(1)
    assert made(1) != made(2)


def test_events_are_as_many_as_asked_for_and_retries_are_exact_copies(lines: list[dict[str, Any]]) -> None:
    made = stream.make_stream(NOW, EVENTS)
    copies = Counter(orjson.dumps(line) for line in lines)
    insert_ids = {line["properties"]["$insert_id"] for line in lines}
    assert made.events == EVENTS == len(copies) == len(insert_ids)
    assert made.retries == int(EVENTS * stream.RETRY_SHARE) == len(lines) - EVENTS
    assert set(copies.values()) == {1, 2}


def test_times_are_of_the_last_days_and_nearly_in_order(lines: list[dict[str, Any]]) -> None:
    times = [line["properties"]["time"] for line in lines]
    assert min(times) >= NOW_MS - stream.DAYS * stream.DAY_MS
    assert max(times) <= NOW_MS
    firsts = [line["properties"]["time"] for line in _first_copies(lines)]
    assert firsts == sorted(firsts)


def test_tenants_follow_a_power_law(lines: list[dict[str, Any]]) -> None:
    by_tenant = Counter(line["tenant"] for line in lines if line["event"] != stream.RUNAWAY_EVENT)
    assert [name for name, _ in by_tenant.most_common(4)] == list(stream.TENANTS[:4])
    assert set(by_tenant) == set(stream.TENANTS)
    assert by_tenant[stream.TENANTS[0]] / by_tenant[stream.TENANTS[1]] == pytest.approx(2**1.6, rel=0.1)


def test_one_client_runs_away_on_one_day(lines: list[dict[str, Any]]) -> None:
    keys = Counter(
        (line["tenant"], line["properties"]["distinct_id"], line["properties"]["time"] // stream.DAY_MS)
        for line in _first_copies(lines)
    )
    (worst, count), (_, next_count) = keys.most_common(2)
    assert worst == (stream.TENANTS[0], stream.RUNAWAY_ID, NOW_MS // stream.DAY_MS - 1)
    assert count == int(EVENTS * stream.RUNAWAY_SHARE)
    assert next_count < 100


def test_funnels_narrow_and_the_new_version_sells_more(lines: list[dict[str, Any]]) -> None:
    events = Counter((line["event"], line["properties"].get("app_version")) for line in _first_copies(lines))
    for version in ("4.1.0", "4.2.0"):
        steps = [events[name, version] for name in ("Product viewed", "Added to cart", "Checkout started", "Purchased")]
        assert steps == sorted(steps, reverse=True)
        assert steps[-1] > 0
    share = {v: events["Purchased", v] / events["Checkout started", v] for v in ("4.1.0", "4.2.0")}
    assert share["4.2.0"] > share["4.1.0"] + 0.1
    amounts = [line["properties"]["amount"] for line in lines if line["event"] == "Purchased"]
    assert all(isinstance(amount, float) and amount > 0 for amount in amounts)


@pytest.mark.parametrize("name", ["events.ndjson", "events.ndjson.zst"])
def test_a_written_file_holds_every_line(tmp_path: Path, name: str) -> None:
    made = stream.make_stream(NOW, 12_000)
    stream.write_stream(made, tmp_path / name)
    data = (tmp_path / name).read_bytes()
    if name.endswith(".zst"):
        data = zstandard.ZstdDecompressor().stream_reader(data).read()
    assert data == b"".join(stream.ndjson_blocks(made))
