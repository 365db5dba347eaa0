"""A value that one segment of many holds is found by reading at most 1 % of the bytes there are, look-ups included, and
the answer is the right one: a string of few and of many values, a number, a user, an insert_id, an event."""

from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from evenshard.events.batch import FIELDS, EventBatch, schema_of
from evenshard.hotkeys.restored import NOTHING_RESTORED
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.ports.disk import Disk
from evenshard.queries.answer import plan_segmentation
from evenshard.queries.browse_plan import TimelineScan
from evenshard.queries.funnel_answer import plan_funnel
from evenshard.queries.funnel_model import funnel_query
from evenshard.queries.model import segmentation_query
from evenshard.queries.partials import read_partial
from evenshard.queries.plan import ScanStats
from evenshard.queries.segmentation import OVERALL
from evenshard.queries.steps import parse_step
from evenshard.runtime.disk import LocalDisk
from evenshard.shard.scans import Patience, _scan
from evenshard.storage.append import Append, Appended
from evenshard.storage.compaction import plan as compaction_plan
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import ALL_SLOTS

ACME = TenantId("acme")
UTC = ZoneInfo("UTC")
DAY_MS = 86_400_000
FIRST_DAY = 18_262  # 2020-01-01
SEED = 20
USERS = 3_000
COUNTRIES = 40


@dataclass
class Shard:
    """So many days, a segment each; one day in the middle has a row with values that no other has."""

    store: Store
    days: int

    @property
    def stored_bytes(self) -> int:
        return self.store.storage(ACME)[0].bytes

    def ask(self, plan: bytes) -> tuple[pa.Table, ScanStats]:
        found, _ = _scan(self.store, ACME, Epoch(1), ALL_SLOTS, plan, lambda: None, NOTHING_RESTORED, Patience(120))
        return read_partial(found.partial), found.stats

    def dates(self) -> dict[str, str]:
        first, last = (np.datetime64(FIRST_DAY + day, "D") for day in (0, self.days - 1))
        return {"from_date": str(first), "to_date": str(last)}


def day_of_events(day: int, rows: int, odd: bool) -> EventBatch:
    random = np.random.default_rng(SEED + day)
    ids = [f"user-{at}" for at in random.integers(0, USERS, rows)]
    events = [("view", "click", "buy", "search")[at] for at in random.integers(0, 4, rows)]
    countries = [f"c{at}" for at in random.integers(0, COUNTRIES, rows)]
    orders = random.integers(0, 1 << 60, rows)
    sessions = [f"{at:016x}" for at in np.repeat(random.integers(0, 1 << 62, -(-rows // 4)), 4)[:rows].tolist()]
    inserts = [f"{at:020x}" for at in random.integers(0, 1 << 62, rows).tolist()]
    if odd:
        for at in (1, rows // 2):
            ids[at], events[at], countries[at], sessions[at] = "somebody", "rare", "xx", "the-session"
            orders[at] = 123_456_789
        inserts[1] = "the-insert-id"
    columns = {
        "event": pa.array(events).dictionary_encode().cast(FIELDS[0].type),
        "distinct_id": pa.array(ids),
        "time": pa.array((FIRST_DAY + day) * DAY_MS + np.sort(random.integers(0, DAY_MS, rows))),
        "insert_id": pa.array(inserts),
        "d:price": pa.array(random.integers(100, 99_999, rows) / 100),
        "i:order": pa.array(orders),
        "s:country": pa.array(countries),
        "s:session": pa.array(sessions),
    }
    return EventBatch(pa.RecordBatch.from_pydict(columns, schema=schema_of(list(columns)[4:])))


def built(disk: Disk, days: int, rows: int) -> Shard:
    settings = StorageSettings(tail_bytes=1 << 30)
    store = Store.open(disk, ManualClock((FIRST_DAY + days + 1) * DAY_MS), ShardId("s"), settings, print)
    for day in range(days):
        batch = day_of_events(day, rows, day == days // 2)
        (outcome,) = store.append([Append(ACME, Epoch(1), ALL_SLOTS, batch, batch.to_ipc())])
        assert isinstance(outcome, Appended)
        if day % 25 == 24 or day == days - 1:
            store.compact(ACME)
    with store.snapshot(ACME) as snapshot:
        assert len(snapshot.segments) == days
        assert snapshot.tail_rows == 0
    return Shard(store, days)


def check_all(shard: Shard) -> None:
    for where, expected in [
        ('country == "xx"', 2),
        ('session == "the-session"', 2),
        ("order == 123456789.0", 2),
        ('$distinct_id == "somebody"', 2),
        ('$insert_id == "the-insert-id"', 1),
        ('$event == "rare"', 2),
        ('country == "nowhere"', 0),
    ]:
        query = segmentation_query(where=where, unit="month", **shard.dates())
        table, stats = shard.ask(plan_segmentation(query, UTC, dedupe=True).scan.to_json())
        overall = [row["events"] for row in table.to_pylist() if row["bucket"] == OVERALL]
        check(shard, where, stats, (sum(overall), expected))
    funnel = funnel_query(
        steps=[parse_step("rare"), parse_step('rare where session == "the-session"')], **shard.dates()
    )
    table, stats = shard.ask(plan_funnel(funnel, UTC, dedupe=True).to_json())
    check(shard, "funnel", stats, (table.select(["level", "users"]).to_pylist(), [{"level": 2, "users": 1}]))


def check_timeline(shard: Shard) -> None:
    """Whole rows: of a hundred segments one is 1 %."""
    ranges = (FIRST_DAY * DAY_MS, (FIRST_DAY + shard.days) * DAY_MS)
    table, stats = shard.ask(TimelineScan(ranges, "somebody", "", None, 0, 100, True).to_json())
    check(shard, "timeline", stats, (table["s:session"].to_pylist(), ["the-session"] * 2))


def check(shard: Shard, what: str, stats: ScanStats, found_and_expected: tuple[object, object]) -> None:
    there = shard.stored_bytes
    print(f"{what}: {stats.bytes_scanned} of {there} bytes, {100 * stats.bytes_scanned / there:.3f} %")
    found, expected = found_and_expected
    assert found == expected, what
    assert 0 < stats.bytes_scanned <= there / 100, what


@pytest.fixture
def a_segment_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction_plan, "SHARED_ROWS_MAX", 1)
    monkeypatch.setattr(compaction_plan, "SMALL_ROWS", 1)


@pytest.mark.usefixtures("a_segment_a_day")
def test_a_value_in_one_segment_of_a_hundred_and_fifty_is_found_by_reading_one_percent() -> None:
    shard = built(MemoryDisk(), 150, 2_000)
    check_all(shard)
    shard.store.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("a_segment_a_day")
def test_a_value_in_one_segment_of_a_thousand_is_found_by_reading_one_percent(tmp_path: Path) -> None:
    shard = built(LocalDisk(tmp_path / "s"), 1_000, 2_000)
    check_all(shard)
    check_timeline(shard)
    shard.store.close()
