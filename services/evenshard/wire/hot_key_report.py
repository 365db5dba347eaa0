"""The report of hot keys, and the questions it is made of: protobuf ↔ ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import orjson

from evenshard.api.v1 import counter_pb2, query_pb2
from evenshard.errors import EvenshardError, FieldFault
from evenshard.hotkeys.report import HotKeyReport, KeyReport
from evenshard.hotkeys.standing_out import StandOut
from evenshard.hotkeys.weeks import REPORT_DAYS_MAX, Days
from evenshard.queries.model import LIMIT_MAX

OTHER: Final = '"$other"'
"""What a breakdown folds the rest into, as JSON."""


@dataclass(frozen=True, slots=True)
class ReportWanted:
    """Of a tenant's days."""

    tenant: str
    days: Days


def report_wanted(request: counter_pb2.GetHotKeyReportRequest) -> ReportWanted:
    """Raises ``RANGE_INVALID``, naming the field."""
    days = Days(_date("from_date", request.from_date), _date("to_date", request.to_date))
    if not 1 <= days.count <= REPORT_DAYS_MAX:
        raise _wrong("to_date", f"a report is of 1 to {REPORT_DAYS_MAX} days, not of {days.first} to {days.last}")
    return ReportWanted(request.tenant, days)


def report_request(tenant: str, days: Days) -> counter_pb2.GetHotKeyReportRequest:
    return counter_pb2.GetHotKeyReportRequest(
        tenant=tenant, from_date=days.first.isoformat(), to_date=days.last.isoformat()
    )


def report_response(report: HotKeyReport) -> counter_pb2.GetHotKeyReportResponse:
    return counter_pb2.GetHotKeyReportResponse(
        tenant=report.tenant,
        from_date=report.days.first.isoformat(),
        to_date=report.days.last.isoformat(),
        hot_keys=map(_key_message, report.hot_keys),
        more_hot_keys=report.more_hot_keys,
    )


def report_document(answer: counter_pb2.GetHotKeyReportResponse) -> dict[str, Any]:
    """As the contract writes it."""
    return {
        "tenant": answer.tenant,
        "from": answer.from_date,
        "to": answer.to_date,
        "hot_keys": [
            {
                "distinct_id": key.distinct_id,
                "date": key.date,
                "mode": key.mode,
                "threshold": key.threshold or None,
                "kept": key.kept,
                "rewritten": key.rewritten,
                "events": {each.event: each.count for each in key.events},
                "stands_out": [
                    {
                        "property": each.property,
                        "value": orjson.loads(each.value_json),
                        "share": each.share,
                        "share_elsewhere": each.share_elsewhere,
                    }
                    for each in key.stands_out
                ],
                "likely_cause": key.likely_cause,
                "advice": key.advice,
            }
            for key in answer.hot_keys
        ],
        "more_hot_keys": answer.more_hot_keys,
    }


def counts_request(
    tenant: str, days: Days, where: str, by: Sequence[str], events: Sequence[str] = ()
) -> query_pb2.QuerySegmentationRequest:
    """Events by some properties, of days of the tenant's zone."""
    return query_pb2.QuerySegmentationRequest(
        tenant=tenant,
        from_date=days.first.isoformat(),
        to_date=days.last.isoformat(),
        unit="month",
        where=where,
        by=by,
        events=events,
        limit=LIMIT_MAX,
    )


def counts_of(answer: query_pb2.QuerySegmentationResponse) -> dict[tuple[str, ...], int]:
    """Events by the values asked for, each as JSON; what was folded together is left out."""
    found = {tuple(map(value_json, line.by)): line.overall.int64_value for line in answer.series}
    return {values: count for values, count in found.items() if OTHER not in values}


def total_of(answer: query_pb2.QuerySegmentationResponse) -> int:
    """All events, of an answer that is not broken down or whose groups are all there is."""
    return sum(line.overall.int64_value for line in answer.series)


def schema_request(tenant: str, days: Days) -> query_pb2.GetSchemaRequest:
    return query_pb2.GetSchemaRequest(tenant=tenant, from_date=days.first.isoformat(), to_date=days.last.isoformat())


def properties_of(answer: query_pb2.GetSchemaResponse) -> list[str]:
    """Names of properties that have values to count: not those of arrays and objects alone."""
    return [each.name for each in answer.properties if set(each.types) != {"json"}]


def value_json(value: query_pb2.GroupValue) -> str:
    """A value of a breakdown as JSON."""
    kind = value.WhichOneof("value")
    if kind is None:
        return "null"
    found = getattr(value, kind)
    return str(found) if kind == "json_value" else orjson.dumps(found).decode()


def _key_message(key: KeyReport) -> counter_pb2.HotKeyReport:
    return counter_pb2.HotKeyReport(
        distinct_id=key.distinct_id,
        date=key.day.isoformat(),
        mode=key.mode,
        threshold=key.threshold or 0,
        kept=key.kept,
        rewritten=key.rewritten,
        events=[counter_pb2.EventCount(event=name, count=count) for name, count in key.events.items()],
        stands_out=map(_stand_out_message, key.stands_out),
        likely_cause=key.likely_cause,
        advice=key.advice,
    )


def _stand_out_message(each: StandOut) -> counter_pb2.StandingOut:
    return counter_pb2.StandingOut(
        property=each.property, value_json=each.value_json, share=each.share, share_elsewhere=each.share_elsewhere
    )


def _date(field: str, text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise _wrong(field, f"{text!r} is not a date (YYYY-MM-DD)") from None
    if day.isoformat() != text:
        raise _wrong(field, f"{text!r} is not a date (YYYY-MM-DD)")
    return day


def _wrong(field: str, problem: str) -> EvenshardError:
    return EvenshardError("RANGE_INVALID", f"{field}: {problem}", fields=(FieldFault(field, problem),))
