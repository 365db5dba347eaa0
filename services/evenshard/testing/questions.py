"""Random questions of every kind, each as it is sent and as the naive model is asked: for worlds of random rows.

A world is what one tenant has: rows about a change of the clock, runs of events with gaps about those of sessions,
values of several types, and cohorts, one of which needs the other.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Any, Final
from zoneinfo import ZoneInfo

from evenshard.queries.measures import MEASURES, OF_EVENTS
from evenshard.testing import flows_reference, retention_reference
from evenshard.testing.reference import Reference, Row, compare
from evenshard.testing.retention_reference import Matcher, local_date, matches

KINDS: Final = ("segmentation", "funnel", "retention", "flows")
MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
# In each of these the clock is put back or forward, at midnight in some, or leaves a day out.
ZONES: Final = {
    "UTC": ("2023-12-30", "2024-01-02", 1_703_980_800_000),
    "Europe/Berlin": ("2024-10-26", "2024-10-28", 1_729_987_200_000),
    "America/St_Johns": ("2006-10-28", "2006-10-30", 1_162_080_000_000),
    "Pacific/Apia": ("2011-12-29", "2012-01-01", 1_325_203_200_000),
    "Australia/Lord_Howe": ("2024-04-05", "2024-04-08", 1_712_415_600_000),
}
NAMES: Final = ("view", "buy", "click", "Ä")
STEPS: Final[tuple[tuple[str, ...], ...]] = (
    ("view",), ("buy",), ("view",), ("buy",), ("click",), ("view", "buy"), (), ("nothing",),
)  # fmt: skip
VALUES: Final = (None, True, 0, 3, 3.0, 3.5, "3", "", "ä", "$other", [1, "x"])
PRICES: Final = (None, 1, 2.5, 9, -7, 0.1, 2**53 + 1, 1e300, "dear", True)
GAPS_MINUTES: Final = (0, 0, 1, 10, 29, 30, 31, 60 * 24)
Keep = Callable[[Row], bool]
COHORTS: Final = ("some", "others")
"""The second one's filters may ask for the first."""


def _is(name: str, operator: str, literal: Any = None) -> Keep:
    return lambda row: compare(row, name, operator, literal)


FILTERS: Final[dict[str, Keep]] = {
    "plan == 3": _is("plan", "==", 3),
    "`odd name` != 3": _is("odd name", "!=", 3),
    'plan in ["3", 3.5]': _is("plan", "in", ["3", 3.5]),
    "plan not in [3, 0]": _is("plan", "not in", [3, 0]),
    "plan is not set": _is("plan", "is not set"),
    "price >= 2.5": _is("price", ">=", 2.5),
    'plan contains "x"': _is("plan", "contains", "x"),
    '`odd name` matches "^[ä3]$"': _is("odd name", "matches", "^[ä3]$"),
    '$distinct_id in ["ann", "dé"]': _is("$distinct_id", "in", ["ann", "dé"]),
    "$insert_id is set": _is("$insert_id", "is set"),
    'not (plan == "ä")': lambda row: not compare(row, "plan", "==", "ä"),
    'plan is set or $event starts with "v"': lambda row: (
        compare(row, "plan", "is set") or compare(row, "$event", "starts with", "v")
    ),
    'not (price < 9) and $event != "click"': lambda row: (
        not compare(row, "price", "<", 9) and compare(row, "$event", "!=", "click")
    ),
}
OF_COHORTS: Final[dict[str, dict[str, Keep]]] = {
    name: {
        f"`$cohort:{name}` == true": _is(f"$cohort:{name}", "==", True),
        f"not (`$cohort:{name}` == true) and plan is set": lambda row, name=name: (  # type: ignore[misc]
            not row["properties"][f"$cohort:{name}"] and compare(row, "plan", "is set")
        ),
    }
    for name in COHORTS
}


@dataclass(frozen=True, slots=True)
class Question:
    """One of ``KINDS``: the request's fields as they are sent, but for the tenant, and how the model is asked."""

    kind: str
    request: dict[str, Any]
    naive: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cohort:
    """How it is saved, and who belongs to it."""

    name: str
    definition: dict[str, Any]
    users: frozenset[str]


@dataclass(frozen=True, slots=True)
class World:
    """What there is."""

    zone: str
    rows: Sequence[Row]
    """In the order in which they were sent."""


def random_world(chance: Random, tenant: str) -> World:
    """Rows of a few users, or of one; sometimes none; copies that differ in what is no part of an identity."""
    zone = chance.choice(sorted(ZONES))
    users = chance.choice([["ann"], *[["", "ann", "ann", "ann", "bob", "cy", "dé"]] * 4])
    count, days = chance.choice([0, 1, 9, 40, 60, 60, 90, 90]), chance.choice([1, 2, 40])
    rows: list[Row] = []
    while len(rows) < count:
        minute, user = chance.randrange(-days * 24 * 60, days * 24 * 60), chance.choice(users)
        for _ in range(chance.randrange(1, 9)):
            minute += chance.choice(GAPS_MINUTES)
            rows.append(_row(chance, tenant, user, ZONES[zone][2] + minute * MINUTE_MS))
    copies = [{**row, "properties": _properties(chance)} for row in chance.sample(rows, len(rows) // 5)]
    return World(zone, [*rows, *copies])


def _row(chance: Random, tenant: str, user: str, time_ms: int) -> Row:
    return {
        "tenant": tenant,
        "event": chance.choice(NAMES),
        "distinct_id": user,
        "time": time_ms + chance.choice([0, 0, 0, 1]),
        "insert_id": chance.choice([None, "a", "b", f"{chance.randrange(1 << 30)}"]),
        "properties": _properties(chance),
    }


def _properties(chance: Random) -> dict[str, Any]:
    values = {"plan": VALUES, "odd name": VALUES, "price": PRICES}
    return {name: chance.choice(some) for name, some in values.items() if chance.random() < 0.6}


def marked(rows: Sequence[Row], cohorts: Sequence[Cohort]) -> list[Row]:
    """Rows with a property for each cohort, as queries see them."""
    belongs = [(f"$cohort:{cohort.name}", cohort.users) for cohort in cohorts]
    return [
        {**row, "properties": {**row["properties"], **{name: row["distinct_id"] in users for name, users in belongs}}}
        for row in rows
    ]


class Asking:
    """Draws questions about one world."""

    def __init__(self, chance: Random, zone: str, cohorts: Sequence[Cohort] = ()) -> None:
        self._chance = chance
        self._zone = zone
        self._cohorts = cohorts
        self._filters = FILTERS.copy()
        for cohort in cohorts:
            self._filters |= OF_COHORTS[cohort.name]

    def question(self) -> Question:
        kind = self._chance.choice(KINDS)
        request, naive = getattr(self, f"_{kind}")()
        days, where, duplicates = self._days(), self._filter(0.5), self._chance.random() < 0.3
        sent = request | {**days, "where": where[0], "options": {"include_duplicates": duplicates}}
        return Question(kind, sent, naive | {**days, "where": where[1], "include_duplicates": duplicates})

    def cohort(self, name: str, rows: Sequence[Row]) -> Cohort:
        """A cohort of those to whom ``rows`` belong, marked."""
        chance, days = self._chance, self._days()
        did = [(self._step(), chance.choice([1, 1, 2, 3])) for _ in range(chance.choice([0, 1, 1, 2]))]
        did_not = [self._step() for _ in range(chance.choice([0, 0, 1]))]
        funnel = self._funnel(by=False) if chance.random() < 0.4 or not (did or did_not) else None
        definition: dict[str, Any] = {
            **days,
            "did": [{"step": step[0], "at_least": count} for step, count in did],
            "did_not": [step[0] for step in did_not],
        }
        mine = [row for row in rows if row["distinct_id"] and not row["duplicate"]]
        first, last = map(date.fromisoformat, days.values())
        inside = [row for row in mine if first <= local_date(row["time"], ZoneInfo(self._zone)) <= last]
        users = {row["distinct_id"] for row in inside}
        for step, count in did:
            times = Counter(row["distinct_id"] for row in inside if matches(row, step[1]))
            users &= {user for user in users if times[user] >= count}
        for step in did_not:
            users -= {row["distinct_id"] for row in inside if matches(row, step[1])}
        if funnel is not None:
            request, naive = funnel
            reached = chance.randrange(1, len(naive["steps"]) + 1)
            definition["funnel"] = {"funnel": request | days, "reached": reached}
            users = {user for user in users if self._reaches(reached, naive | days, mine, user)}
        return Cohort(name, definition, frozenset(users))

    def _reaches(self, step: int, naive: dict[str, Any], rows: Sequence[Row], user: str) -> bool:
        alone = Reference([row for row in rows if row["distinct_id"] == user])
        tenant = rows[0]["tenant"]
        steps = alone.funnel(tenant, timezone=self._zone, **naive)["overall"]["steps"]
        return bool(steps[step - 1]["count"])

    def expected(self, question: Question, tenant: str, rows: Sequence[Row], now_ms: int) -> dict[str, Any]:
        """What the model says of ``rows``, marked."""
        asked = {"timezone": self._zone, **question.naive}
        match question.kind:
            case "segmentation":
                return Reference(list(rows)).segmentation(tenant, **asked)
            case "funnel":
                return Reference(list(rows)).funnel(tenant, **asked)
            case "retention":
                return retention_reference.retention(rows, now_ms=now_ms, **asked)
        return flows_reference.flows(rows, **asked)

    def _days(self) -> dict[str, str]:
        first, last = (date.fromisoformat(day) for day in ZONES[self._zone][:2])
        days = [first + timedelta(days=at) for at in range((last - first).days + 1)]
        start, end = sorted(self._chance.choices(days, k=2)) if self._chance.random() < 0.4 else (first, last)
        return {"from_date": str(start), "to_date": str(end)}

    def _filter(self, share: float) -> tuple[str, Keep]:
        if self._chance.random() >= share:
            return "", lambda row: True
        return self._chance.choice(list(self._filters.items()))

    def _step(self) -> tuple[dict[str, Any], Matcher]:
        """As it is sent, and as the model knows it."""
        names, (text, keep) = self._chance.choice(STEPS), self._filter(0.2)
        return {"events": names, "where": text}, (names, keep)

    def _by(self, most: int = 3) -> list[str]:
        names = ["plan", "odd name", "price", "$event", "$distinct_id", "$insert_id"]
        names += [f"$cohort:{cohort.name}" for cohort in self._cohorts] * 2
        return self._chance.sample(names, self._chance.choice([0, 0, *range(1, most + 1)]))

    def _segmentation(self) -> tuple[dict[str, Any], dict[str, Any]]:
        chance = self._chance
        measure = chance.choice(MEASURES)
        asked: dict[str, Any] = {
            "events": chance.choice(STEPS),
            "unit": chance.choice(["minute", "hour", "hour", "day", "week", "month"]),
            "measure": measure,
            "property": "" if measure in OF_EVENTS else chance.choice(["price", "plan", "$time"]),
            "by": self._by(),
            "limit": chance.choice([1, 2, 4, 60]),
        }
        return asked, asked

    def _funnel(self, *, by: bool = True) -> tuple[dict[str, Any], dict[str, Any]]:
        chance = self._chance
        count = chance.choice([2, 2, 2, 3, 3, 4, 5, 32])
        order = chance.choice(["ordered", "ordered", "strict", "any"])
        steps = [self._step() for _ in range(count)]
        spans = [] if order == "any" else [sorted(chance.sample(range(1, count + 1), 2)) for _ in range(2)]
        exclusions = [(self._step(), after, before) for after, before in spans[: chance.choice([0, 0, 1, 2])]]
        asked: dict[str, Any] = {
            "window_ms": chance.choice([0, 1, 30 * MINUTE_MS, DAY_MS, 3 * DAY_MS, 366 * DAY_MS]),
            "order": order,
            "attempt": chance.choice(["best", "best", "first"]),
            "count_mode": chance.choice(["unique", "unique", "total", "session"]),
            "strict_increase": order != "any" and chance.random() < 0.2,
            "exclude_user": bool(exclusions) and chance.random() < 0.5,
            "hold_constant": chance.choice([[], [], [], ["plan"], ["plan", "odd name"], ["$insert_id"]]),
        }
        if by:
            by_step = chance.choice(["first", "last", "1", str(count)])
            asked |= {"by": self._by(), "by_step": by_step, "limit": chance.choice([1, 2, 4, 60])}
        excluded = [{**step[0], "after_step": after, "before_step": before} for step, after, before in exclusions]
        request = {"steps": [step[0] for step in steps], "exclusions": excluded, **asked}
        naive = {
            "steps": [step[1] for step in steps],
            "exclusions": [(*step[1], after, before) for step, after, before in exclusions],
            **asked,
        }
        return request, naive

    def _retention(self) -> tuple[dict[str, Any], dict[str, Any]]:
        chance, birth = self._chance, self._step()
        returning = self._step() if chance.random() < 0.7 else ({"events": (), "where": ""}, ((), lambda row: True))
        asked: dict[str, Any] = {
            "unit": chance.choice(["day", "day", "week", "month"]),
            "buckets": chance.choice([1, 2, 3, 8]),
            "mode": chance.choice(["on", "on_or_after"]),
            "align": chance.choice(["rolling", "calendar"]),
            "birth_scope": chance.choice(["range", "lifetime"]),
            "by": self._by(),
            "limit": chance.choice([1, 2, 4, 60]),
        }
        request = {"birth": birth[0], "return": returning[0], **asked}
        return request, {"birth": birth[1], "returning": returning[1], **asked}

    def _flows(self) -> tuple[dict[str, Any], dict[str, Any]]:
        chance, anchor = self._chance, self._step()
        asked: dict[str, Any] = {
            "direction": chance.choice(["forward", "backward"]),
            "steps": chance.choice([1, 2, 3, 10]),
            "top": chance.choice([1, 2, 3, 10]),
            "collapse_repeats": chance.random() < 0.5,
        }
        windows = [{"window_ms": minutes * MINUTE_MS} for minutes in (0, 1, 30, 60, 2000)]
        asked |= chance.choice([{"session": True}, {"session": True}, *windows])
        return {"anchor": anchor[0], **asked}, {"anchor": anchor[1], **asked}
