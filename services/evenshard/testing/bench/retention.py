"""Who signs up, and who of them comes back within each of 14 days; births of 30 days."""

from datetime import date
from typing import Final

import evenshard
from evenshard.testing.bench.compare import Answer
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.generator import FROM_DATE, TO_DATE
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.queries import Question, Suite, measure

BIRTH: Final = "sign up"
BUCKETS: Final = 14
_DAY_MS: Final = 86_400_000
_BORN: Final = -1
"""The bucket of everybody who was born."""


def _ask(client: evenshard.Client) -> Answer:
    """The day of birth, the bucket and how many users, of cells that have any."""
    answer = client.retention(BIRTH, from_date=FROM_DATE, to_date=TO_DATE, buckets=BUCKETS, no_cache=True)
    rows = []
    for cohort in answer.cohorts:
        day = date.fromisoformat(cohort["start"]).toordinal() - date(1970, 1, 1).toordinal()
        rows += [(day, bucket, users) for bucket, users in enumerate(cohort["returned"]) if users]
        rows += [(day, _BORN, cohort["size"])] if cohort["size"] else []
    return rows


# Another event of the birth's ms is a return, the birth is none.
_BUCKETS_OF: Final = (
    f"arrayMap(at -> intDiv(at - born, {_DAY_MS}), "
    f"arrayFilter(at -> at > born AND at < born + {BUCKETS * _DAY_MS}, times))"
)
_ARRAYS: Final = (
    f"SELECT intDiv(born, {_DAY_MS}) AS day, bucket, count() FROM (SELECT minIf(time, event = '{BIRTH}') AS born, "
    f"groupArray(time) AS times FROM {{events}} GROUP BY distinct_id HAVING countIf(event = '{BIRTH}') > 0) "
    f"ARRAY JOIN arrayDistinct(arrayConcat([toInt64({_BORN})], if(countEqual(times, born) > 1, [toInt64(0)], []), "
    f"{_BUCKETS_OF})) AS bucket GROUP BY day, bucket"
)
_JOIN: Final = (
    "SELECT day, bucket, count() FROM (SELECT distinct_id, any(born) AS one, "
    f"intDiv(one, {_DAY_MS}) AS day, arrayJoin(arrayDistinct(arrayConcat([toInt64({_BORN})], "
    "if(countIf(time = born) > 1, [toInt64(0)], []), "
    f"groupUniqArrayIf(intDiv(time - born, {_DAY_MS}), time > born AND time < born + {BUCKETS * _DAY_MS})))) AS bucket "
    "FROM {events} AS each INNER JOIN (SELECT distinct_id, min(time) AS born FROM {events} "
    f"WHERE event = '{BIRTH}' GROUP BY distinct_id) AS births USING distinct_id WHERE time >= born "
    "GROUP BY distinct_id) GROUP BY day, bucket"
)
_DUCKDB: Final = (
    f"WITH births AS (SELECT distinct_id, min(time) AS born FROM {{events}} WHERE event = '{BIRTH}' "
    "GROUP BY distinct_id), "
    "each AS (SELECT born, time, distinct_id FROM {events} INNER JOIN births USING (distinct_id) "
    f"WHERE time >= born AND time < born + {BUCKETS * _DAY_MS}), "
    "ties AS (SELECT distinct_id, any_value(born) AS born FROM each WHERE time = born GROUP BY distinct_id "
    "HAVING count(*) > 1) "
    f"SELECT born // {_DAY_MS} AS day, {_BORN} AS bucket, count(*) FROM births GROUP BY day "
    f"UNION ALL SELECT born // {_DAY_MS} AS day, bucket, count(DISTINCT distinct_id) FROM "
    f"(SELECT born, distinct_id, (time - born) // {_DAY_MS} AS bucket FROM each WHERE time > born "
    "UNION ALL SELECT born, distinct_id, 0 AS bucket FROM ties) GROUP BY day, bucket"
)

RETENTION: Final = Suite(
    "retention",
    [
        Question(
            "by_day_of_birth",
            _ask,
            _ARRAYS,
            _DUCKDB,
            clickhouse_too=[_JOIN],
            clickhouse_settings=("", "optimize_aggregation_in_order = 1"),
        ),
    ],
)


def retention(options: Options) -> list[Figure]:
    return measure(RETENTION, options, warm=True)


def retention_cold(options: Options) -> list[Figure]:
    return measure(RETENTION, options, warm=False)
