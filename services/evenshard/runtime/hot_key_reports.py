"""Makes the report of hot keys from marks and from the stored events, as any gateway answers about them.

A report costs two questions a day, and two a property for what stands out; ``AT_ONCE`` of them run at a time, beside
what the tenant asks itself.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

import orjson

from evenshard.directory.tenant import tenant_id
from evenshard.errors import EvenshardError
from evenshard.events.limits import HOT_EVENT, ORIGINAL_EVENT, ORIGINAL_ID
from evenshard.hotkeys.report import (
    HotKeyReport,
    Key,
    KeyReport,
    MarkedKey,
    advice,
    by_count,
    day_start_ms,
    keys_of,
    largest,
    likely_cause,
)
from evenshard.hotkeys.standing_out import StandOut, stand_outs
from evenshard.hotkeys.weeks import Days
from evenshard.ports.directory import Directory
from evenshard.ports.peers import Peers, Rpc
from evenshard.queries.expression_model import All, Comparison, Expression, Membership, to_text
from evenshard.queries.expression_model import Any as AnyOf
from evenshard.runtime.call import current_call
from evenshard.runtime.marked_keys import marked_keys
from evenshard.runtime.services import ServiceView
from evenshard.wire.hot_key_report import (
    ReportWanted,
    counts_of,
    counts_request,
    properties_of,
    schema_request,
    total_of,
)
from evenshard.wire.rpcs import GET_SCHEMA, QUERY_SEGMENTATION

AT_ONCE: Final = 4
EXPLAINED_MAX: Final = 10
"""Keys whose properties are compared with the others'."""
PROPERTIES_MAX: Final = 40
"""Properties compared, the first by name."""
IDS_CHARACTERS_MAX: Final = 10_000
"""Of ids in one filter."""
_OWN: Final = frozenset([ORIGINAL_EVENT, ORIGINAL_ID])
_DAY: Final = timedelta(days=1)

_Counts = dict[tuple[str, ...], int]
_ByName = dict[Key, dict[str, int]]


class HotKeyReports:
    """Asks the gateways that the directory lists, one after the other until one answers."""

    def __init__(self, directory: Directory, peers: Peers, services: ServiceView) -> None:
        self._directory = directory
        self._peers = peers
        self._services = services

    async def report(self, wanted: ReportWanted) -> HotKeyReport:
        """Raises ``TENANT_NOT_FOUND``, ``UNREACHABLE`` where no gateway answers, and what queries raise."""
        days, asking = wanted.days, _Asking(self._peers, self._services, tenant_id(wanted.tenant))
        marks = await marked_keys(self._directory, asking.tenant, asking.remaining_s())
        remediated = await asking.all(asking.remediated(day) for day in _each(days))
        keys, left_out = keys_of(marks, (key for some in remediated for key in some), days)
        counted = await asking.all(
            asking.of_day(day, [name for name, at in keys if at == day]) for day in sorted({day for _, day in keys})
        )
        kept: _ByName = {}
        rewritten: _ByName = {}
        for some_kept, some_rewritten in counted:
            kept |= some_kept
            rewritten |= some_rewritten
        totals = {key: _sum(kept.get(key)) + _sum(rewritten.get(key)) for key in keys}
        told = largest(totals)
        stands_out = await self._stand_outs(asking, told[:EXPLAINED_MAX])
        reports = [
            _report(wanted.tenant, key, keys[key], kept.get(key, {}), rewritten.get(key, {}),
                    stands_out.get(key[0], ()))
            for key in told
        ]  # fmt: skip
        return HotKeyReport(wanted.tenant, days, reports, left_out + len(keys) - len(told))

    async def _stand_outs(self, asking: "_Asking", keys: Sequence[Key]) -> Mapping[str, Sequence[StandOut]]:
        """By distinct_id: over all its days of ``keys``."""
        if not keys:
            return {}
        ids, days = sorted({name for name, _ in keys}), sorted({day for _, day in keys})
        span = Days(days[0], days[-1])
        names = [name for name in await asking.properties(span) if name not in _OWN][:PROPERTIES_MAX]
        compared = await asking.all(asking.of_property(name, days, ids) for name in names)
        everybody = await asking.total(days)
        of_key: dict[str, dict[str, dict[str, int]]] = {name: {} for name in ids}
        rest: dict[str, dict[str, int]] = {}
        for name, (by_id, of_all) in zip(names, compared, strict=True):
            rest[name] = dict(of_all)
            for distinct_id, counts in by_id.items():
                of_key[distinct_id][name] = counts
                for value, count in counts.items():
                    rest[name][value] = max(0, rest[name].get(value, 0) - count)
        events = {name: max((sum(counts.values()) for counts in of_key[name].values()), default=0) for name in ids}
        rest_events = everybody - sum(events.values())
        return {name: stand_outs(of_key[name], events[name], rest, rest_events) for name in ids}


class _Asking:
    """One report's questions."""

    def __init__(self, peers: Peers, services: ServiceView, tenant: Any) -> None:
        self.tenant = tenant
        self._peers = peers
        self._services = services
        self._at_once = asyncio.Semaphore(AT_ONCE)

    def remaining_s(self) -> float:
        return max(0.05, 0.9 * current_call().remaining_s())

    async def all(self, questions: Iterable[Awaitable[Any]]) -> list[Any]:
        """The answers in order; the first failure ends all."""
        tasks = [asyncio.ensure_future(question) for question in questions]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def remediated(self, day: date) -> list[Key]:
        """Keys with events of that day that are shown rewritten."""
        counts = await self._counts(_within(day, day), [day], [ORIGINAL_ID], [HOT_EVENT])
        return [(orjson.loads(name), day) for (name,) in counts if name != "null"]

    async def of_day(self, day: date, ids: Sequence[str]) -> tuple[_ByName, _ByName]:
        """Events by name of each key: those shown as they are, and those shown rewritten."""
        kept: _ByName = {}
        rewritten: _ByName = {}
        for some in _chunks(ids):
            where = All((*_within(day, day), Membership("$distinct_id", True, some)))
            for (name, event), count in (await self._counts((where,), [day], ["$distinct_id", "$event"])).items():
                kept.setdefault((orjson.loads(name), day), {})[orjson.loads(event)] = count
            where = All((*_within(day, day), Membership(ORIGINAL_ID, True, some)))
            by = [ORIGINAL_ID, ORIGINAL_EVENT]
            for (name, event), count in (await self._counts((where,), [day], by, [HOT_EVENT])).items():
                rewritten.setdefault((orjson.loads(name), day), {})[str(orjson.loads(event))] = count
        return kept, rewritten

    async def properties(self, days: Days) -> list[str]:
        """By name."""
        return properties_of(await self._ask(GET_SCHEMA, schema_request(self.tenant, _zoned(days))))

    async def of_property(
        self, name: str, days: Sequence[date], ids: Sequence[str]
    ) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
        """Events by value: of each id, and of everybody."""
        of_days = _of_days(days)
        mine: dict[str, dict[str, int]] = {}
        for some in _chunks(ids):
            chosen = AnyOf((Membership("$distinct_id", True, some), Membership(ORIGINAL_ID, True, some)))
            counts = await self._counts((of_days, chosen), days, [ORIGINAL_ID, "$distinct_id", name])
            for (original, own, value), count in counts.items():
                whose = orjson.loads(own) if original == "null" else orjson.loads(original)
                of_id = mine.setdefault(whose, {})
                of_id[value] = of_id.get(value, 0) + count
        everybody = await self._counts((of_days,), days, [name])
        return {name: counts for name, counts in mine.items() if name in ids}, {
            value: count for (value,), count in everybody.items()
        }

    async def total(self, days: Sequence[date]) -> int:
        """Events of everybody."""
        request = counts_request(self.tenant, _zoned(Days(days[0], days[-1])), to_text(_of_days(days)), [])
        return total_of(await self._ask(QUERY_SEGMENTATION, request))

    async def _counts(
        self, where: Sequence[Expression], days: Sequence[date], by: Sequence[str], events: Sequence[str] = ()
    ) -> _Counts:
        text = to_text(where[0] if len(where) == 1 else All(tuple(where)))
        request = counts_request(self.tenant, _zoned(Days(days[0], days[-1])), text, by, events)
        return counts_of(await self._ask(QUERY_SEGMENTATION, request))

    async def _ask(self, rpc: Rpc[Any, Any], request: Any) -> Any:
        failed: EvenshardError | None = None
        async with self._at_once:
            for gateway in self._services.of_kind("gateway"):
                try:
                    return await self._peers.call(gateway.address, rpc, request, timeout_s=self.remaining_s())
                except EvenshardError as error:
                    if error.code != "UNREACHABLE":
                        raise
                    failed = error
        raise failed or EvenshardError("UNREACHABLE", "the directory lists no gateway")


def _report(
    tenant: str,
    key: Key,
    mark: MarkedKey | None,
    kept: Mapping[str, int],
    rewritten: Mapping[str, int],
    found: Sequence[StandOut],
) -> KeyReport:
    distinct_id, day = key
    events = by_count({name: kept.get(name, 0) + rewritten.get(name, 0) for name in (*kept, *rewritten)})
    mode = "rewrite" if mark is None else mark.mode
    return KeyReport(
        distinct_id,
        day,
        mode,
        None if mark is None else mark.threshold,
        _sum(kept),
        _sum(rewritten),
        events,
        found,
        likely_cause(distinct_id, events, found),
        advice(tenant, distinct_id, day, mode, found),
    )


def _sum(events: Mapping[str, int] | None) -> int:
    return sum((events or {}).values())


def _each(days: Days) -> Iterator[date]:
    day = days.first
    while day <= days.last:
        yield day
        day += _DAY


def _within(first: date, last: date) -> tuple[Expression, Expression]:
    """UTC days; queries count in the tenant's zone, so their dates are only near."""
    return (
        Comparison("$time", ">=", day_start_ms(first)),
        Comparison("$time", "<", day_start_ms(last + _DAY)),
    )


def _of_days(days: Sequence[date]) -> Expression:
    """Any of these days, which ascend."""
    parts = tuple(All(_within(day, day)) for day in days)
    return parts[0] if len(parts) == 1 else AnyOf(parts)


def _zoned(days: Days) -> Days:
    """Days that hold them in every zone."""
    return Days(days.first - _DAY, days.last + _DAY)


def _chunks(ids: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """As many at once as a filter holds."""
    chosen: list[str] = []
    characters = 0
    for each in ids:
        size = 6 * len(each) + 4  # escaped, at most
        if chosen and characters + size > IDS_CHARACTERS_MAX:
            yield tuple(chosen)
            chosen, characters = [], 0
        chosen.append(each)
        characters += size
    if chosen:
        yield tuple(chosen)
