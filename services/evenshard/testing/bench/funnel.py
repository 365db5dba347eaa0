"""A funnel of three steps within 7 days, over 30 days."""

from typing import Final

import evenshard
from evenshard.testing.bench.compare import Answer
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.generator import FROM_DATE, TO_DATE
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.queries import Question, Suite, measure

STEPS: Final = ("view", "add to cart", "buy")
WINDOW: Final = "7d"
_WINDOW_MS: Final = 7 * 86_400_000
_CONDITIONS: Final = ", ".join(f"event = '{name}'" for name in STEPS)
_NAMES: Final = ", ".join(f"'{name}'" for name in STEPS)


def _ask(client: evenshard.Client) -> Answer:
    """How many users reached each level and no further one."""
    answer = client.funnel(steps=list(STEPS), window=WINDOW, from_date=FROM_DATE, to_date=TO_DATE, no_cache=True)
    counts = [step["count"] for step in answer.overall["steps"]]
    left = [count - after for count, after in zip(counts, [*counts[1:], 0], strict=True)]
    return [(level, users) for level, users in enumerate(left, 1) if users]


FUNNEL: Final = Suite(
    "funnel",
    [
        Question(
            "three_steps",
            _ask,
            f"SELECT level, count() FROM (SELECT distinct_id, windowFunnel({_WINDOW_MS}, 'strict_once')"
            f"(toUInt64(time), {_CONDITIONS}) AS level FROM {{events}} GROUP BY distinct_id) "
            "WHERE level > 0 GROUP BY level",
            None,
            clickhouse_identity=f"event IN ({_NAMES})",
            clickhouse_settings=("", "optimize_aggregation_in_order = 1"),
        ),
    ],
)


def funnel(options: Options) -> list[Figure]:
    return measure(FUNNEL, options, warm=True)


def funnel_cold(options: Options) -> list[Figure]:
    return measure(FUNNEL, options, warm=False)
