"""``CounterService`` of a router: all counters as one to whoever looks for hot keys; and the report of them.

Counting is not asked of routers.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from evenshard.api.v1 import counter_pb2, counter_pb2_grpc
from evenshard.errors import EvenshardError
from evenshard.ports.directory import Directory
from evenshard.ports.peers import Peers
from evenshard.router.admin import budget_s
from evenshard.runtime.hot_key_reports import HotKeyReports
from evenshard.runtime.marked_keys import modes_of
from evenshard.runtime.services import ServiceView
from evenshard.wire.counting import hot_keys_request
from evenshard.wire.hot_key_report import report_response, report_wanted
from evenshard.wire.rpcs import LIST_HOT_KEYS

LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 1_000
"""Whose marks are looked up; counters themselves tell more."""


class ClusterCounterService(counter_pb2_grpc.CounterServiceServicer):
    """Asks every counter that the directory lists."""

    def __init__(self, directory: Directory, peers: Peers, services: ServiceView, reports: HotKeyReports) -> None:
        self._directory = directory
        self._peers = peers
        self._services = services
        self._reports = reports

    async def ListHotKeys(
        self, request: counter_pb2.ListHotKeysRequest, context: Any
    ) -> counter_pb2.ListHotKeysResponse:
        """The largest of all counters, with what their marks say. Raises ``UNREACHABLE`` where no counter answers."""
        limit = request.limit or LIMIT_DEFAULT
        if not 0 < limit <= LIMIT_MAX:
            raise EvenshardError("QUERY_INVALID", f"limit is {request.limit}, it must be 0 to {LIMIT_MAX}")
        if request.count_min or request.hash_from:
            raise EvenshardError("QUERY_INVALID", "pages are told by counters, not by routers")
        counters = self._services.of_kind("counter")
        # What one counter names another may have a part of that is no large one there.
        asked = hot_keys_request(request.tenant, limit if len(counters) == 1 else LIMIT_MAX)
        answers = await asyncio.gather(
            *(self._peers.call(each.address, LIST_HOT_KEYS, asked, timeout_s=budget_s()) for each in counters),
            return_exceptions=True,
        )
        told = [each for each in answers if isinstance(each, counter_pb2.ListHotKeysResponse)]
        for failed in answers:
            if isinstance(failed, BaseException) and (not told or not isinstance(failed, EvenshardError)):
                raise failed
        keys = largest(answer.keys for answer in told)[:limit]
        modes = await modes_of(self._directory, [(key.tenant, key.distinct_id, key.date) for key in keys], budget_s())
        for key, mode in zip(keys, modes, strict=True):
            key.marked = mode
        missing = [-1] * (len(answers) - len(told)) + [answer.count_missing_max for answer in told]
        return counter_pb2.ListHotKeysResponse(
            keys=keys,
            count_missing_max=-1 if min(missing, default=0) < 0 else max(missing, default=0),
            counted_from_ms=max((answer.counted_from_ms for answer in told), default=0),
            listed_from=max((answer.listed_from for answer in told), default=1),
        )

    async def GetHotKeyReport(
        self, request: counter_pb2.GetHotKeyReportRequest, context: Any
    ) -> counter_pb2.GetHotKeyReportResponse:
        wanted = report_wanted(request)
        return report_response(await self._reports.report(wanted))


def largest(answers: Iterable[Iterable[counter_pb2.KeyCount]]) -> list[counter_pb2.KeyCount]:
    """All keys that counters tell of, most events first, then by name. A marked key is counted by several counters in
    turn: its count is their sum, and so is what it may be too high by."""
    found: dict[tuple[str, str, str], counter_pb2.KeyCount] = {}
    for key in (key for keys in answers for key in keys):
        name = (key.tenant, key.distinct_id, key.date)
        known = found.setdefault(name, counter_pb2.KeyCount(tenant=name[0], distinct_id=name[1], date=name[2]))
        known.count += key.count
        known.count_error += key.count_error
    return sorted(found.values(), key=lambda key: (-key.count, key.tenant, key.distinct_id, key.date))
