"""The naive model every answer is compared with: lists of dicts and loops, short enough to check by eye.

An event is a dict with ``tenant``, ``event``, ``distinct_id`` (``""``: anonymous), ``time`` (ms), ``insert_id`` (or
None) and ``properties``. Nothing here is shared with what it checks.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from operator import eq, ge, gt, le, lt, ne
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from evenshard.testing.funnel_reference import Ask, Event, attempts, funnel_steps

Row = dict[str, Any]
HOT_EVENT = "$hotshard_events"
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge,
}  # fmt: skip
_STEP = {"minute": timedelta(minutes=1), "hour": timedelta(minutes=15)}


def order_of(value: Any) -> tuple[Any, ...]:
    """Sorts values as answers do (null, bool, number, string, the rest) and tells types apart: 3 is 3.0, not "3"."""
    match value:
        case None:
            return (0,)
        case bool():
            return (1, value)
        case int() | float():
            return (2, value)
        case str():
            return (3, value.encode())
    return (4, json.dumps(value, separators=(",", ":")))


def value_of(row: Row, name: str) -> Any:
    """A property, or one of ``$event``, ``$distinct_id``, ``$time``, ``$insert_id``; None where it is not set."""
    if name in ("$event", "$distinct_id", "$time", "$insert_id"):
        return row[name[1:]]
    return row["properties"].get(name)


def compare(row: Row, name: str, operator: str, literal: Any = None) -> bool:
    """Any operator of the language; false where the value is not set or of another type. Patterns are Python's, which
    are RE2's where simple."""
    value = value_of(row, name)
    if operator in ("is set", "is not set"):
        return (value is not None) == (operator == "is set")
    if operator in ("in", "not in"):
        wanted = [order_of(each) for each in literal]
        same_type = order_of(value)[0] in [each[0] for each in wanted]
        return same_type and (order_of(value) in wanted) == (operator == "in")
    if operator == "contains" and isinstance(value, list):
        return order_of(literal) in [order_of(element) for element in value]
    mine, other = order_of(value), order_of(literal)
    if mine[0] != other[0]:
        return False
    if operator in _ORDERS:
        return _ORDERS[operator](mine, other)
    if not isinstance(value, str):
        return False
    if operator == "matches":
        return re.search(literal, value) is not None
    return value.startswith(literal) if operator == "starts with" else literal in value


def bucket_label(time_ms: int, unit: str, zone: ZoneInfo) -> str:
    """The label of the bucket that holds an instant."""
    local = datetime.fromtimestamp(time_ms // 1000, UTC).astimezone(zone)
    match unit:
        case "minute":
            return local.replace(second=0).isoformat()
        case "hour":
            return local.replace(minute=0, second=0).replace(tzinfo=None).isoformat() + local.isoformat()[19:]
        case "day":
            return local.date().isoformat()
        case "week":
            return (local.date() - timedelta(days=local.weekday())).isoformat()
    return local.date().replace(day=1).isoformat()


def bucket_labels(from_date: str, to_date: str, unit: str, zone: ZoneInfo) -> list[str]:
    """All buckets of a range, by walking through it."""
    first, last = date.fromisoformat(from_date), date.fromisoformat(to_date)
    at = datetime(first.year, first.month, first.day, tzinfo=UTC) - timedelta(days=2)
    end = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=3)
    labels: dict[str, None] = {}
    while at < end:
        if first <= at.astimezone(zone).date() <= last:
            labels[bucket_label(int(at.timestamp()) * 1000, unit, zone)] = None
        at += _STEP.get(unit, timedelta(hours=6))
    return list(labels) if unit in _STEP else sorted(labels)


def measured(rows: Sequence[Row], measure: str, name: str = "") -> int | float | None:
    """What a segmentation shows of some rows; None: undefined."""
    users = {row["distinct_id"] for row in rows} - {""}
    if measure == "total":
        return len(rows)
    if measure == "unique":
        return len(users)
    if measure == "average":
        return sum(row["distinct_id"] != "" for row in rows) / len(users) if users else None
    values = [value_of(row, name) for row in rows]
    numbers = sorted(Fraction(each) for each in values if isinstance(each, int | float) and not isinstance(each, bool))
    if measure == "sum":
        return shown(sum(numbers, Fraction(0)))
    if not numbers:
        return None
    if measure in ("min", "max"):
        return shown(numbers[0] if measure == "min" else numbers[-1])
    if measure == "avg":
        return float(sum(numbers) / len(numbers))
    place = Fraction(int(measure[1:]), 100) * (len(numbers) - 1)
    low, high = numbers[math.floor(place)], numbers[math.ceil(place)]
    return float(low + (high - low) * (place - math.floor(place)))


def shown(number: Fraction) -> int | float | None:
    """An integer where it is one of int64, else the nearest double; None beyond every double."""
    if number.denominator == 1 and -(2**63) <= number < 2**63:
        return int(number)
    try:
        return float(number)
    except OverflowError:
        return None


def ndjson_of(rows: Sequence[Row]) -> bytes:
    """Rows as the lines of an import; whether they are duplicates is left out."""
    return b"\n".join(
        orjson.dumps(
            {
                "event": row["event"],
                "properties": {
                    "distinct_id": row["distinct_id"],
                    "time": row["time"],
                    "$insert_id": row["insert_id"],
                    **row["properties"],
                },
            }
        )
        for row in rows
    )


def rewritten(row: Row) -> Row:
    """A hot event as it is shown."""
    originals = {"mp_original_event_name": row["event"], "mp_original_distinct_id": row["distinct_id"]}
    return {**row, "event": HOT_EVENT, "distinct_id": "", "properties": {**row["properties"], **originals}}


@dataclass
class Reference:
    """Everything imported, in the order it came; ``thresholds`` of tenants whose hot events are rewritten."""

    rows: list[Row] = field(default_factory=list)
    """As answers show them; ``stored_event`` is the name each came with."""
    identities: set[tuple[Any, ...]] = field(default_factory=set)
    thresholds: dict[str, int] = field(default_factory=dict)
    key_counts: Counter[tuple[Any, ...]] = field(default_factory=Counter)
    hot_keys: set[tuple[Any, ...]] = field(default_factory=set)

    def import_events(self, rows: Iterable[Row]) -> dict[str, int]:
        """Stores one batch of events; of those with one identity the first is the original.

        Of a key (tenant, distinct_id, UTC date) the first ``threshold`` new events stay; the next one makes it hot.
        What came earlier in the same batch counts, duplicates too.
        """
        counts = {"accepted": 0, "duplicates": 0}
        in_batch: Counter[tuple[Any, ...]] = Counter()
        new: Counter[tuple[Any, ...]] = Counter()
        crossed: set[tuple[Any, ...]] = set()
        for row in rows:
            identity = (row["tenant"], row["event"], row["distinct_id"], row["time"], row["insert_id"])
            duplicate = row["insert_id"] is not None and identity in self.identities
            self.identities.add(identity)
            key = (row["tenant"], row["distinct_id"], row["time"] // 86_400_000)
            hot = False
            if row["tenant"] in self.thresholds and row["distinct_id"]:
                count = self.key_counts[key] + in_batch[key]
                hot = key in self.hot_keys or count >= self.thresholds[row["tenant"]]
                in_batch[key] += 1
                new[key] += not duplicate
                if hot and not duplicate:
                    crossed.add(key)
            self.rows.append({**(rewritten(row) if hot else row), "stored_event": row["event"], "duplicate": duplicate})
            counts["accepted"] += 1
            counts["duplicates"] += duplicate
        self.key_counts += new
        self.hot_keys |= crossed
        return counts

    def hot_events_rewritten(self, tenant: str, from_date: str, to_date: str, events: Sequence[str] = ()) -> int:
        """Rewritten events in a range of UTC dates whose original name is one of ``events`` (none: any)."""
        return sum(
            row["event"] == HOT_EVENT
            and not row["duplicate"]
            and row["tenant"] == tenant
            and from_date <= datetime.fromtimestamp(row["time"] // 1000, UTC).date().isoformat() <= to_date
            and (not events or row["stored_event"] in events)
            for row in self.rows
        )

    def segmentation(
        self,
        tenant: str,
        from_date: str,
        to_date: str,
        *,
        unit: str = "day",
        timezone: str = "UTC",
        events: Sequence[str] = (),
        where: Callable[[Row], bool] = lambda row: True,
        by: Sequence[str] = (),
        measure: str = "total",
        property: str = "",  # noqa: A002 - as the request's field
        limit: int = 60,
        include_duplicates: bool = False,
    ) -> dict[str, Any]:
        """``{"buckets", "series": [{"by", "values", "overall"}], "duplicates_skipped"}``."""
        zone = ZoneInfo(timezone)
        skipped, selected = 0, []
        for row in self.rows:
            day = datetime.fromtimestamp(row["time"] // 1000, UTC).astimezone(zone).date().isoformat()
            if row["tenant"] != tenant or not from_date <= day <= to_date:
                continue
            if (events and row["event"] not in events) or not where(row):
                continue
            if row["duplicate"] and not include_duplicates:
                skipped += 1
            else:
                selected.append(row)
        groups: dict[Any, list[Row]] = {} if by else {(): []}
        for row in selected:
            groups.setdefault(tuple(order_of(value_of(row, name)) for name in by), []).append(row)
        ranked = sorted(groups, key=lambda key: (-len(groups[key]), key))
        series = [([value_of(groups[key][0], name) for name in by], groups[key]) for key in ranked[:limit] if by]
        if by and ranked[limit:]:
            series.append((["$other"] * len(by), [row for key in ranked[limit:] for row in groups[key]]))
        if not by:
            series = [([], selected)]

        buckets = bucket_labels(from_date, to_date, unit, zone)
        lines = []
        for values, some in series:
            cells: dict[str, list[Row]] = {label: [] for label in buckets}
            for row in some:
                cells[bucket_label(row["time"], unit, zone)].append(row)
            lines.append(
                {
                    "by": values,
                    "values": [measured(cells[label], measure, property) for label in buckets],
                    "overall": measured(some, measure, property),
                }
            )
        return {"buckets": buckets, "series": lines, "duplicates_skipped": skipped}

    def funnel(
        self,
        tenant: str,
        from_date: str,
        to_date: str,
        steps: Sequence[tuple[Sequence[str], Callable[[Row], bool]]],
        *,
        window_ms: int = 30 * 86_400_000,
        timezone: str = "UTC",
        order: str = "ordered",
        attempt: str = "best",
        count_mode: str = "unique",
        strict_increase: bool = False,
        exclusions: Sequence[tuple[Sequence[str], Callable[[Row], bool], int, int]] = (),
        exclude_user: bool = False,
        hold_constant: Sequence[str] = (),
        where: Callable[[Row], bool] = lambda row: True,
        by: Sequence[str] = (),
        by_step: str = "first",
        limit: int = 60,
        include_duplicates: bool = False,
    ) -> dict[str, Any]:
        """``{"overall": {"steps"}, "groups": [{"by", "steps"}]}``; a step is names (none: any event) and a filter, an
        exclusion the same and the steps it lies between."""
        zone = ZoneInfo(timezone)

        def opens(time_ms: int) -> bool:
            day = datetime.fromtimestamp(time_ms // 1000, UTC).astimezone(zone).date().isoformat()
            return from_date <= day <= to_date

        def fits(row: Row, selectors: Sequence[Any], first: int) -> frozenset[int]:
            return frozenset(
                number
                for number, (names, filtered, *_) in enumerate(selectors, first)
                if (not names or row["event"] in names) and filtered(row)
            )

        users: dict[str, list[Event]] = {}
        last: dict[str, tuple[int, int]] = {}
        for row in sorted(self.rows, key=lambda row: (row["time"], row["event"].encode(), row["insert_id"] or "")):
            user = row["distinct_id"]
            if row["tenant"] != tenant or not user or (row["duplicate"] and not include_duplicates):
                continue
            before_ms, session = last.get(user, (row["time"], 0))
            session += row["time"] - before_ms > 30 * 60_000
            last[user] = row["time"], session
            event = Event(
                row["time"],
                fits(row, steps, 1),
                fits(row, exclusions, 0),
                tuple(order_of(value_of(row, name)) for name in hold_constant),
                session,
                row,
            )
            if where(row) and (order == "strict" or event.steps or event.excluded):
                users.setdefault(user, []).append(event)
        spans = [(after, before) for *_, after, before in exclusions]
        ask = Ask(len(steps), window_ms, opens, order, attempt, count_mode, strict_increase, spans, exclude_user)
        found = [[event.row for event in one] for events in users.values() for one in attempts(events, ask)]
        names = [None if order == "any" else "|".join(names) or "*" for names, _ in steps]

        groups: dict[Any, list[tuple[list[Any], list[Row]]]] = {}
        for one in found:
            candidates = one[::-1] if by_step == "last" else one
            if by_step.isdecimal():
                candidates = one[int(by_step) - 1 : int(by_step)]
            set_ones = (each for each in candidates if any(value_of(each, name) is not None for name in by))
            chosen = next(set_ones, None)
            values = [value_of(chosen, name) if chosen else None for name in by]
            groups.setdefault(tuple(map(order_of, values)), []).append((values, one))
        ranked = sorted(groups, key=lambda key: (-len(groups[key]), key))
        lines = [(groups[key][0][0], groups[key]) for key in ranked[:limit] if by]
        if by and ranked[limit:]:
            lines.append((["$other"] * len(by), [one for key in ranked[limit:] for one in groups[key]]))
        return {
            "overall": {"steps": funnel_steps(found, names)},
            "groups": [
                {"by": values, "steps": funnel_steps([one for _, one in some], names)} for values, some in lines
            ],
        }

    def schema(
        self, tenant: str, from_date: str, to_date: str, *, top: int, include_duplicates: bool = False
    ) -> dict[str, Any]:
        """``{"events": {name: count}, "properties": {name: {"types", "top_values"}}}`` of days in UTC."""
        events: Counter[str] = Counter()
        values: dict[str, dict[Any, list[Any]]] = {}
        for row in self.rows:
            day = datetime.fromtimestamp(row["time"] // 1000, UTC).date().isoformat()
            if row["tenant"] != tenant or not from_date <= day <= to_date:
                continue
            if row["duplicate"] and not include_duplicates:
                continue
            events[row["event"]] += 1
            for name, value in row["properties"].items():
                if value is not None:
                    values.setdefault(name, {}).setdefault(order_of(value), []).append(value)
        types = {1: "bool", 2: "number", 3: "string", 4: "json"}
        return {
            "events": dict(events),
            "properties": {
                name: {
                    "types": [types[kind] for kind in sorted({key[0] for key in found})],
                    "top_values": [
                        found[key][0] for key in sorted(found, key=lambda key: (-len(found[key]), key))[:top]
                    ],
                }
                for name, found in values.items()
            },
        }

    def timeline(
        self,
        tenant: str,
        user: str,
        *,
        where: Callable[[Row], bool] = lambda row: True,
        include_duplicates: bool = False,
    ) -> list[Row]:
        """One user's rows as ``export`` writes them."""
        rows = [row for row in self.rows if row["distinct_id"] == user and where(row)]
        return Reference(rows).export(tenant, 0, 1 << 60, include_duplicates=include_duplicates)

    def export(
        self,
        tenant: str,
        start_ms: int,
        end_ms: int,
        *,
        events: Sequence[str] = (),
        include_duplicates: bool = False,
    ) -> list[Row]:
        """Rows as ``export`` writes them, in its order; null properties are not set."""

        def key(row: Row) -> tuple[Any, ...]:
            insert = row["insert_id"]
            order = (0,) if insert is None else (1, insert.encode())
            return row["time"], row["distinct_id"].encode(), row["event"].encode(), order

        exported = []
        for row in sorted(self.rows, key=key):
            wanted = row["tenant"] == tenant and start_ms <= row["time"] < end_ms
            if not wanted or (events and row["event"] not in events) or (row["duplicate"] and not include_duplicates):
                continue
            properties = {"distinct_id": row["distinct_id"], "time": row["time"]}
            if row["insert_id"] is not None:
                properties["$insert_id"] = row["insert_id"]
            properties |= {name: value for name, value in row["properties"].items() if value is not None}
            exported.append({"event": row["event"], "properties": properties})
            if row["duplicate"]:
                exported[-1]["duplicate"] = True
        return exported
