"""What users do after they searched: the next three events within a day, over 30 days."""

from typing import Final

import evenshard
from evenshard.testing.bench.compare import Answer
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.generator import FROM_DATE, TO_DATE
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.queries import Question, Suite, measure

ANCHOR: Final = "search"
STEPS: Final = 3
WINDOW: Final = "1d"
_WINDOW_MS: Final = 86_400_000


def _ask(client: evenshard.Client) -> Answer:
    """Hops: the step, from which event to which, how many users; the anchor comes from nowhere."""
    answer = client.flows(
        ANCHOR, from_date=FROM_DATE, to_date=TO_DATE, steps=STEPS, window=WINDOW, top=10, no_cache=True
    )
    hops = [(edge["step"], edge["from"], edge["to"], edge["count"]) for edge in answer.edges]
    return [(0, "", ANCHOR, answer.anchors), *hops]


_PATHS: Final = (
    "SELECT step, if(step = 0, '', path[step]) AS came_from, path[step + 1] AS went_to, count() FROM ("
    "SELECT arraySort(groupArray((time, toString(event)))) AS every, "
    f"arrayFirstIndex(one -> one.2 = '{ANCHOR}', every) AS anchor, "
    f"arrayMap(one -> one.2, arrayFilter(one -> one.1 <= every[anchor].1 + {_WINDOW_MS}, "
    f"arraySlice(every, anchor, {STEPS + 1}))) AS path "
    f"FROM {{events}} GROUP BY distinct_id HAVING countIf(event = '{ANCHOR}') > 0) "
    "ARRAY JOIN range(length(path)) AS step GROUP BY step, came_from, went_to"
)
_AFTER: Final = (
    "SELECT step, if(step = 0, '', path[step]) AS came_from, path[step + 1] AS went_to, count() FROM ("
    f"SELECT arraySlice(arraySort(groupArrayIf((time, toString(event)), time <= first.1 + {_WINDOW_MS} AND "
    "(time, toString(event)) >= first)), 1, "
    f"{STEPS + 1}) AS every, arrayMap(one -> one.2, every) AS path "
    "FROM {events} AS each INNER JOIN (SELECT distinct_id, (min(time), "
    f"'{ANCHOR}') AS first FROM {{events}} WHERE event = '{ANCHOR}' GROUP BY distinct_id) AS anchors "
    "USING distinct_id GROUP BY distinct_id) "
    "ARRAY JOIN range(length(path)) AS step GROUP BY step, came_from, went_to"
)

FLOWS: Final = Suite(
    "flows",
    [
        Question(
            "next_three",
            _ask,
            _PATHS,
            None,
            clickhouse_too=[_AFTER],
            clickhouse_settings=("", "optimize_aggregation_in_order = 1"),
        ),
    ],
)


def flows(options: Options) -> list[Figure]:
    return measure(FLOWS, options, warm=True)


def flows_cold(options: Options) -> list[Figure]:
    return measure(FLOWS, options, warm=False)
