"""Trends over 30 days: how many, how many users, by a property, and where a property has a value."""

from typing import Final

import evenshard
from evenshard.client.results import SegmentationResult
from evenshard.testing.bench.compare import Answer
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.generator import COUNTRIES, DAYS, FROM_DATE, START_MS, TO_DATE
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.peers import clickhouse_sql
from evenshard.testing.bench.queries import Question, Suite, measure

_FIRST_DAY: Final = START_MS // 86_400_000
_COUNTRY: Final = COUNTRIES[7].as_py()


def ask_total(client: evenshard.Client) -> Answer:
    """Events of each day that has any."""
    return _by_day(client.segmentation(from_date=FROM_DATE, to_date=TO_DATE, no_cache=True))


def _ask_unique(client: evenshard.Client) -> Answer:
    """Day 0 holds the users of all days together."""
    answer = client.segmentation(from_date=FROM_DATE, to_date=TO_DATE, measure="unique", no_cache=True)
    return [*_by_day(answer), (0, answer.series[0]["overall"])]


def _ask_by(client: evenshard.Client) -> Answer:
    answer = client.segmentation(from_date=FROM_DATE, to_date=TO_DATE, by="country", no_cache=True)
    return [
        (_FIRST_DAY + day, series["by"][0], value)
        for series in answer.series
        for day, value in enumerate(series["values"])
        if value
    ]


def _ask_where(client: evenshard.Client) -> Answer:
    return _by_day(
        client.segmentation(from_date=FROM_DATE, to_date=TO_DATE, where=f'country == "{_COUNTRY}"', no_cache=True)
    )


def _by_day(answer: SegmentationResult) -> Answer:
    assert len(answer.buckets) == DAYS
    values = answer.series[0]["values"] if answer.series else []
    return [(_FIRST_DAY + day, value) for day, value in enumerate(values) if value]


_TOTAL: Final = "SELECT {day} AS day, count(*) FROM {events} GROUP BY day"


def total_of(source: str) -> str:
    """The same of ClickHouse."""
    return _TOTAL.format(events=source, day=clickhouse_sql.DAY)


_BY: Final = "SELECT {day} AS day, country, count(*) FROM {events} GROUP BY day, country"
_WHERE: Final = f"SELECT {{day}} AS day, count(*) FROM {{events}} WHERE country = '{_COUNTRY}' GROUP BY day"

SEGMENTATION: Final = Suite(
    "segmentation",
    [
        Question("total_by_day", ask_total, _TOTAL, _TOTAL),
        Question(
            "unique_by_day",
            _ask_unique,
            "SELECT {day} AS day, uniqExact(distinct_id) FROM {events} GROUP BY day WITH ROLLUP",
            "SELECT coalesce({day}, 0) AS day, count(DISTINCT distinct_id) FROM {events} GROUP BY ROLLUP ({day})",
        ),
        Question("total_by_country", _ask_by, _BY, _BY),
        Question("total_where_country", _ask_where, _WHERE, _WHERE),
    ],
)


def segmentation(options: Options) -> list[Figure]:
    return measure(SEGMENTATION, options, warm=True)


def segmentation_cold(options: Options) -> list[Figure]:
    return measure(SEGMENTATION, options, warm=False)
