"""Questions as protobuf: from the client's arguments, or from a whole request as proto3 JSON."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from google.protobuf import json_format

from evenshard.api.v1 import query_pb2
from evenshard.errors import EvenshardError

Time = int | str | datetime
_TIME_HINT = "give RFC 3339 with its offset, as 2026-01-31T12:00:00Z, or ms since the epoch"


def segmentation_request(
    tenant: str,
    events: str | Sequence[str] | None,
    from_date: str | date,
    to_date: str | date,
    *,
    unit: str,
    measure: str,
    property: str | None,  # noqa: A002 - as the request's field
    by: str | Sequence[str],
    where: str | None,
    limit: int,
    include_duplicates: bool,
    restore_hot: bool,
    allow_partial: bool,
    no_cache: bool,
) -> query_pb2.QuerySegmentationRequest:
    return query_pb2.QuerySegmentationRequest(
        tenant=tenant,
        from_date=str(from_date),
        to_date=str(to_date),
        events=names(events),
        unit=unit,
        measure=measure,
        property=property or "",
        where=where or "",
        by=names(by),
        limit=limit,
        options=query_pb2.QueryOptions(
            include_duplicates=include_duplicates,
            restore_hot=restore_hot,
            allow_partial=allow_partial,
            no_cache=no_cache,
        ),
    )


def parsed_segmentation(document: str | bytes) -> query_pb2.QuerySegmentationRequest:
    """Raises ``QUERY_INVALID`` for what is no such request."""
    try:
        return json_format.Parse(document, query_pb2.QuerySegmentationRequest())
    except json_format.ParseError as error:
        raise EvenshardError("QUERY_INVALID", f"no segmentation request: {error}") from error


def names(given: str | Sequence[str] | None) -> list[str]:
    """One name, several, or none."""
    return [] if given is None else [given] if isinstance(given, str) else list(given)


def time_ms(given: Time) -> int:
    """ms since the epoch; a datetime without a zone is UTC. Raises ``RANGE_INVALID``."""
    match given:
        case bool():
            pass
        case int():
            return given
        case datetime():
            return _ms_of(given if given.tzinfo else given.replace(tzinfo=UTC))
        case str() if given.removeprefix("-").isdecimal():
            return int(given)
        case str():
            try:
                moment = datetime.fromisoformat(given)
            except ValueError:
                moment = datetime.min
            if moment.tzinfo is not None:
                return _ms_of(moment)
    raise EvenshardError("RANGE_INVALID", f"{given!r} is not a time", hint=_TIME_HINT)


def _ms_of(moment: datetime) -> int:
    since: Any = moment - datetime(1970, 1, 1, tzinfo=UTC)
    result: int = (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000
    return result
