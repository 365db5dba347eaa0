"""Every question is answered the same whether what cannot matter is passed over or read: partials, names that were
seen, duplicates and rewritten events, rows of split users, whatever was appended, indexed, deleted or is hot, whatever
slots are owned."""

import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from evenshard.events.hashing import SLOT_COUNT
from evenshard.hotkeys.restored import NOTHING_RESTORED
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.queries import answer, flows_answer, funnel_answer, retention_answer, scans
from evenshard.queries.browse_plan import TimelineScan
from evenshard.queries.cohort_plan import CohortScans, DidScan, ReachedScan, with_cohorts
from evenshard.queries.flows_model import flows_query
from evenshard.queries.funnel_model import funnel_query
from evenshard.queries.model import segmentation_query
from evenshard.queries.partials import read_partial
from evenshard.queries.retention_model import retention_query
from evenshard.queries.split import Split
from evenshard.queries.steps import parse_exclusion, parse_step
from evenshard.shard import scans as shard_scans
from evenshard.shard.rows import _messages
from evenshard.shard.scans import Patience
from evenshard.storage.columns import segment
from evenshard.storage.compaction import plan as compaction_plan
from evenshard.storage.segment import writer
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.disk import MemoryDisk
from evenshard.testing.events import Event, append_of
from evenshard.wire.scans import RowsWanted

ACME = TenantId("acme")
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
BASE_MS = 1_704_067_200_000
DAYS = ["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04", "2024-01-05", "2024-01-06"]
USERS = ["", "ann", "bob", "cy", "größe", "dora"]
NAMES = ["view", "buy", "click", "rare", "nothing"]
UTC = ZoneInfo("UTC")


@dataclass(frozen=True)
class WithCohort:
    """A question that asks who belongs."""

    plan: Any
    cohort: CohortScans

    def to_json(self) -> bytes:
        return with_cohorts(self.plan.to_json(), [self.cohort])


class World:
    """A store of random events, some days of it segments, and questions about it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.store = Store.open(MemoryDisk(), ManualClock(), ShardId("s"), StorageSettings(), lambda _: None)
        self.hot = self.random.random() < 0.3
        for number in range(self.random.randint(2, 7)):
            batch = [self._event() for _ in range(self.random.randint(1, 30))]
            bits = np.array([self.hot and event.distinct_id == "bob" for event in batch])
            self.store.append([replace(append_of(batch), hot=bits if bits.any() else None)])
            match self.random.random():
                case chance if chance < 0.6:
                    self.store.compact(ACME)
                case chance if chance < 0.7:
                    self.store.hide_users(ACME, Epoch(1), f"op-{number}", [self.random.choice(USERS[1:])])
                case chance if chance < 0.75:
                    self.store.raise_horizon(ACME, Epoch(1), BASE_MS + self.random.randint(0, 60) * HOUR_MS)

    def _event(self) -> Event:
        day = self.random.randrange(len(DAYS))
        names = NAMES[:4] if day == 3 else NAMES[day % 3 : day % 3 + 2]
        properties: dict[str, Any] = {}
        if self.random.random() < 0.6:
            properties[self.random.choice(["i:n", "i:n", "d:n"])] = self.random.choice([day, day, 7])
        if self.random.random() < 0.5:
            properties["s:plan"] = self.random.choice([f"p{day}", "free"])
        if self.random.random() < 0.2:
            properties["b:ok"] = bool(day % 2)
        if day == 5:
            properties["s:late"] = "late"
        return Event(
            self.random.choice(names),
            self.random.choice(USERS[: 2 + day]),
            BASE_MS + day * DAY_MS + self.random.randrange(24) * HOUR_MS,
            self.random.choice([None, f"x{day}", "y"]),
            properties,
        )

    def where(self) -> str:
        leaf = self.random.choice([
            "", "", f"n == {self.random.randint(0, 8)}", f'plan == "p{self.random.randrange(9)}"', "n != 3", "n > 3",
            'plan in ["p1", "p2"]', "ok == true", "not (ok == true)", "late is set", "late is not set",
            '$distinct_id == "ann"', '$distinct_id in ["größe", "nobody"]', '$insert_id == "x3"', 'plan contains "p"',
            f"$time >= {BASE_MS + 2 * DAY_MS}", '$event == "rare"', "typo == 3", 'mp_original_event_name == "view"',
        ])  # fmt: skip
        if not leaf or self.random.random() < 0.6:
            return leaf
        return f"{leaf} {self.random.choice(['and', 'or'])} not (n == {self.random.randint(0, 7)})"

    def step(self) -> str:
        name = self.random.choice([*NAMES, "rare|nothing", "*", "$hotshard_events"])
        where = self.where() if self.random.random() < 0.5 else ""
        return f"{name} where {where}" if where else name

    def scans(self) -> list[Any]:
        pick = self.random.choice
        first, last = sorted((pick(DAYS), pick(DAYS)))
        days: dict[str, Any] = {"from_date": first, "to_date": last, "include_duplicates": pick([True, False])}
        segmented = answer.plan_segmentation(
            segmentation_query(
                events=pick([[], ["rare"], ["view", "nothing"], ["nothing"]]),
                by=pick([[], ["n"], ["$event"], ["late", "plan"]]),
                measure=pick(["total", "unique", "average"]),
                unit=pick(["day", "hour"]),
                where=self.where(),
                limit=pick([2, 60]),
                **days,
            ),
            UTC,
            dedupe=True,
        ).scan
        order = pick(["ordered", "ordered", "strict", "any"])
        funnel = funnel_answer.plan_funnel(
            funnel_query(
                steps=[parse_step(self.step()) for _ in range(2)],
                window_ms=pick([HOUR_MS, 3 * DAY_MS]),
                order=order,
                count_mode=pick(["unique", "unique", "total", "session"]),
                exclusions=[parse_exclusion(f"{self.step()}@1-2")] if order != "any" and pick([True, False]) else [],
                by=pick([[], [], ["plan"]]),
                where=self.where(),
                explain_user=pick(["", "", "ann"]),
                **days,
            ),
            UTC,
            dedupe=True,
        )
        retention = retention_answer.plan_retention(
            retention_query(
                birth=parse_step(self.step()),
                returning=pick([None, parse_step(self.step())]),
                birth_scope=pick(["range", "lifetime"]),
                by=pick([[], ["plan"]]),
                where=self.where(),
                **days,
            ),
            UTC,
            dedupe=True,
        ).scan
        session = pick([True, False])
        flows = flows_answer.plan_flows(
            flows_query(
                anchor=parse_step(self.step()), where=self.where(), session=session,
                window_ms=None if session else DAY_MS, **days,
            ),
            UTC,
            dedupe=True,
        )  # fmt: skip
        timeline = TimelineScan(
            ranges_ms=(segmented.start_ms, segmented.end_ms), user=pick(USERS[1:]), where=self.where(),
            skip_duplicates=True, limit=20, after=None, skip=0,
        )  # fmt: skip
        did = DidScan(
            (segmented.start_ms, segmented.end_ms),
            tuple((parse_step(self.step()), 1) for _ in range(pick([0, 1, 2]))),
            tuple(parse_step(self.step()) for _ in range(pick([0, 1]))),
            True,
        )
        reached = ReachedScan(replace(funnel, explain_user=""), 1)
        cohort = CohortScans("mine", (did.to_json(), reached.to_json())[: pick([1, 2])])
        belongs = replace(
            pick([segmented, funnel, retention, flows]), where=f"`$cohort:mine` == {pick(['true', 'false'])}"
        )
        if pick([True, False]):
            belongs = replace(belongs, where=f"{belongs.where} and n == 7")
        return [segmented, funnel, retention, flows, timeline, did, reached, WithCohort(belongs, cohort)]

    def split(self, plan: Any) -> Split | None:
        """As if half of the slots were at home elsewhere, and other shards had rows of some users."""
        if self.random.random() < 0.5 or not scans.concerns_users(plan.to_json()):
            return None
        home = np.random.default_rng(self.random.randrange(9)).random(SLOT_COUNT) < 0.5
        return Split(home, tuple(self.random.sample(USERS[1:], 2)), 1 << 30)

    def owned(self) -> Any:
        seed = self.random.randrange(3)
        return np.random.default_rng(seed).random(SLOT_COUNT) < 0.5 if seed else np.ones(SLOT_COUNT, np.bool_)


def comparable(partial: bytes) -> list[Any]:
    """Rows in any order; a funnel's times in any order within a level."""
    table = read_partial(partial)
    rows = [
        {name: sorted(value) if isinstance(value, list) else value for name, value in row.items()}
        for row in table.to_pylist()
    ]
    return [sorted(map(repr, rows)), table.schema.metadata]


def answered(world: World, plan: Any, owned: Any, split: Split | None) -> tuple[list[Any], Any]:
    found, _ = shard_scans._scan(
        world.store, ACME, Epoch(1), owned, plan.to_json(), lambda: split, NOTHING_RESTORED, Patience(60)
    )
    rows, noted = comparable(found.partial)
    apart = [found.split_users, [comparable(each)[0] if each else [] for each in found.split_rows]]
    if isinstance(plan, DidScan | ReachedScan):  # nobody asks which names these saw, and what was rewritten
        return [rows, apart], replace(found.stats, hot_events_rewritten=0)
    if isinstance(plan, WithCohort):  # more rows may be given back than matter: who belongs is found where they meet
        return [rows, noted], found.stats
    return [rows, noted, apart], found.stats


def exported(world: World, events: tuple[str, ...], owned: Any) -> list[bytes]:
    wanted = RowsWanted(
        ACME, Epoch(1), BASE_MS, BASE_MS + 6 * DAY_MS, events, include_duplicates=True, restore_hot=False
    )
    return [
        message.SerializeToString() for message in _messages(world.store, wanted, owned, NOTHING_RESTORED, Patience(60))
    ]


def passed_over_equals_read(seeds: range, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many questions of each kind read less."""
    monkeypatch.setattr(compaction_plan, "SHARED_ROWS_MAX", 1)
    monkeypatch.setattr(compaction_plan, "SMALL_ROWS", 1)
    monkeypatch.setattr(writer, "ROW_GROUP_ROWS", 5)
    monkeypatch.setattr(segment, "PART_ROWS_MAX", 10)
    less: Counter[str] = Counter()
    for seed in seeds:
        world = World(seed)
        for plan in world.scans():
            owned, split = world.owned(), world.split(plan)
            one, stats = answered(world, plan, owned, split)
            with monkeypatch.context() as patch:
                patch.setattr(shard_scans, "rows_needed", lambda _: None)
                other, read = answered(world, plan, owned, split)
            same = replace(stats, rows_scanned=0, bytes_scanned=0), replace(read, rows_scanned=0, bytes_scanned=0)
            assert (seed, plan, one, same[0]) == (seed, plan, other, same[1])
            less[type(plan).__name__] += stats.rows_scanned < read.rows_scanned
        owned, events = world.owned(), world.random.choice([("rare",), ("rare", "nothing"), ("$hotshard_events",)])
        one_way = exported(world, events, owned)
        with monkeypatch.context() as patch:
            patch.setattr("evenshard.shard.rows.rows_of_events", lambda _: None)
            assert (seed, one_way) == (seed, exported(world, events, owned))
        world.store.close()
    return less


def test_what_is_passed_over_changes_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    less = passed_over_equals_read(range(8), monkeypatch)
    assert set(less) == {
        "SegmentationScan", "FunnelScan", "RetentionScan", "FlowsScan", "TimelineScan", "DidScan", "ReachedScan",
        "WithCohort",
    }  # fmt: skip
    assert min(less.values()) >= 1, less


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_what_is_passed_over_changes_no_answer_many_times(monkeypatch: pytest.MonkeyPatch) -> None:
    assert min(passed_over_equals_read(range(1_000, 1_600), monkeypatch).values()) > 50
