"""Scans as the planner writes them, and the account a scan gives of itself."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson

from evenshard.queries.measures import Measure
from evenshard.queries.steps import Exclusion, Step

PLAN_VERSION = 1
END_OF_TIME_MS = 1 << 48
"""No event is as late."""


@dataclass(frozen=True, slots=True)
class ScanStats:
    """What a scan read and left out."""

    duplicates_skipped_log: int = 0
    """Duplicates that the query selects but for being duplicates, from rows not yet indexed."""
    duplicates_skipped_segment: int = 0
    """The same, from indexed files."""
    rows_scanned: int = 0
    bytes_scanned: int = 0
    hot_events_rewritten: int = 0
    """Rewritten hot events in range whose original name the query selects."""
    rows_given_up: int = 0
    """Rows at most of the scanned time that were lost, and of which the loss was accepted."""


def add_stats(stats: Iterable[ScanStats]) -> ScanStats:
    """Several scans as one."""
    log, segment, rows, size, hot, given_up = 0, 0, 0, 0, 0, 0
    for one in stats:
        log += one.duplicates_skipped_log
        segment += one.duplicates_skipped_segment
        rows += one.rows_scanned
        size += one.bytes_scanned
        hot += one.hot_events_rewritten
        given_up += one.rows_given_up
    return ScanStats(log, segment, rows, size, hot, given_up)


@dataclass(frozen=True, slots=True)
class SegmentationScan:
    """A segmentation, as asked of a shard."""

    bounds_ms: tuple[int, ...]
    """n + 1 instants, ascending: interval i is ``[bounds_ms[i], bounds_ms[i + 1])``."""
    bucket_of: tuple[int, ...]
    """The bucket of each of the n intervals; -1: outside of the range."""
    buckets: int
    """How many buckets there are."""
    events: tuple[str, ...]
    """Any of them; none: any event."""
    where: str
    """Source of the filter; empty: all events."""
    by: tuple[str, ...]
    measure: Measure
    limit: int
    """How many groups the answer shows."""
    skip_duplicates: bool
    keep: tuple[tuple[str, ...], ...] | None
    """The groups (tagged values, see ``values``) to answer for one by one, the rest folded into one; None: all."""
    measured_property: str = ""
    """Whose numbers are measured."""

    @property
    def start_ms(self) -> int:
        return self.bounds_ms[0]

    @property
    def end_ms(self) -> int:
        return self.bounds_ms[-1]

    def to_json(self) -> bytes:
        return orjson.dumps({"version": PLAN_VERSION, "kind": "segmentation", **asdict(self)})

    @staticmethod
    def from_json(data: bytes) -> "SegmentationScan":
        """Raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything else than what ``to_json`` wrote."""
        plan = orjson.loads(data)
        if (plan.pop("version"), plan.pop("kind")) != (PLAN_VERSION, "segmentation"):
            raise ValueError("not a segmentation of a version known here")
        keep = plan.pop("keep")
        for name in ("bounds_ms", "bucket_of", "events", "by"):
            plan[name] = tuple(plan[name])
        return SegmentationScan(**plan, keep=None if keep is None else tuple(map(tuple, keep)))


@dataclass(frozen=True, slots=True)
class FunnelScan:
    """A funnel, as asked of a shard."""

    entries_ms: tuple[int, ...]
    """Ascending, in pairs: an attempt begins within one of the intervals ``[entries_ms[2i], entries_ms[2i + 1])``."""
    window_ms: int
    steps: tuple[Step, ...]
    where: str
    """Source of the filter of all steps; empty: all events."""
    by: tuple[str, ...]
    by_step: int
    """0: the first step where a value is set, -1: the last; else the step's number, from 1."""
    skip_duplicates: bool
    order: Literal["ordered", "strict", "any"] = "ordered"
    attempt: Literal["best", "first"] = "best"
    count_mode: Literal["unique", "total", "session"] = "unique"
    strict_increase: bool = False
    exclusions: tuple[Exclusion, ...] = ()
    exclude_user: bool = False
    hold: tuple[str, ...] = ()
    """Properties whose values all steps of an attempt share."""
    explain_user: str = ""
    """Whose events are told of; empty: nobody's."""

    @property
    def start_ms(self) -> int:
        return self.entries_ms[0]

    @property
    def end_ms(self) -> int:
        """Completions lie before it."""
        return self.entries_ms[-1] + self.window_ms

    @property
    def steps_decide(self) -> bool:
        """Whether nothing but the times of steps decides how far users come: what lies between does not matter."""
        usual = (self.order, self.attempt, self.count_mode) == ("ordered", "best", "unique")
        return usual and not (self.strict_increase or self.exclusions or self.hold or self.explain_user)

    @property
    def is_plain(self) -> bool:
        """Nor does it matter which of several events of one ms fills a step."""
        return self.steps_decide and not self.by

    @property
    def has_short_times(self) -> bool:
        """Whether the ms from one step to another fit into 32 bits, as they travel then."""
        return self.window_ms < 1 << 32

    def to_json(self) -> bytes:
        return orjson.dumps({"version": PLAN_VERSION, "kind": "funnel", **asdict(self)})

    @staticmethod
    def from_json(data: bytes) -> "FunnelScan":
        """Raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything else than what ``to_json`` wrote."""
        plan = orjson.loads(data)
        if (plan.pop("version"), plan.pop("kind")) != (PLAN_VERSION, "funnel"):
            raise ValueError("not a funnel of a version known here")
        steps = tuple(map(_step_of, plan.pop("steps")))
        exclusions = tuple(
            Exclusion(
                Step(tuple(each["step"]["events"]), each["step"]["where"]), each["after_step"], each["before_step"]
            )
            for each in plan.pop("exclusions")
        )
        for name in ("entries_ms", "by", "hold"):
            plan[name] = tuple(plan[name])
        return FunnelScan(steps=steps, exclusions=exclusions, **plan)


def _step_of(document: Mapping[str, Any]) -> Step:
    return Step(tuple(document["events"]), document["where"])


def scan_of(data: bytes) -> SegmentationScan | FunnelScan:
    """The scan of either kind. Raises ``ValueError``, ``KeyError`` or ``TypeError``."""
    match orjson.loads(data):
        case {"kind": "funnel"}:
            return FunnelScan.from_json(data)
    return SegmentationScan.from_json(data)
