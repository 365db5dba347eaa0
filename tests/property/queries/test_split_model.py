"""Every kind of question about random users, most of them split over shards by hand, equals the naive reference."""

import random
from collections.abc import Callable
from itertools import cycle
from zoneinfo import ZoneInfo

import pytest
from evenshard.queries.cohort_model import Did, cohort_query
from evenshard.queries.cohort_plan import plan_cohort, with_cohorts
from evenshard.queries.steps import Step
from evenshard.testing.asked import Asked, BothAnswers
from evenshard.testing.reference import Reference, Row
from evenshard.testing.spread import SPLITTING, SPREADS, Layout

UTC = ZoneInfo("UTC")
DAYS = {"from_date": "2024-01-01", "to_date": "2024-01-03"}
START_MS = 1_704_067_200_000
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
NAMES = ("view", "buy", "click")
Rows = list[Row]
Keep = Callable[[Row], bool]


def some_rows(chance: random.Random) -> Rows:
    """Runs of events with gaps about those of sessions, a few users, hours of several days."""
    rows: Rows = []
    users = ["", "ann", "ann", "bob", "cy", "dé"]
    while len(rows) < 60:
        user, minute = chance.choice(users), chance.randrange(-12 * 60, 4 * 24 * 60)
        for _ in range(chance.randrange(1, 8)):
            minute += chance.choice([0, 1, 10, 29, 30, 31])
            rows.append(
                {
                    "tenant": "acme",
                    "event": chance.choice(NAMES),
                    "distinct_id": user,
                    "time": START_MS + minute * MINUTE_MS,
                    "insert_id": chance.choice([None, "a", "b"]),
                    "properties": {"plan": chance.choice([1, "x"])} if chance.random() < 0.6 else {},
                }
            )
    return [*rows, *chance.sample(rows, 10)]


def heavy(reference: Reference) -> set[str]:
    """Who belongs to the cohort: two or more purchases in the days, and no click before noon of the first."""
    inside = [row for row in reference.rows if not row["duplicate"] and 0 <= row["time"] - START_MS < 3 * DAY_MS]
    buys = [row["distinct_id"] for row in inside if row["event"] == "buy"]
    early = {row["distinct_id"] for row in inside if row["event"] == "click" and row["time"] % DAY_MS < DAY_MS // 4}
    return {user for user in buys if buys.count(user) >= 2} - early - {""}


HEAVY = plan_cohort(
    "heavy",
    cohort_query(
        **DAYS,
        did=[Did(Step(("buy",)), 2)],
        did_not=[Step(("click",), " or ".join(f"$time >= {START_MS + day * DAY_MS} and $time < "
                                              f"{START_MS + day * DAY_MS + DAY_MS // 4}" for day in range(3)))],
    ),
    UTC,
    dedupe=True,
)  # fmt: skip
WHERES: dict[str, Callable[[Reference], Keep]] = {
    "": lambda reference: lambda row: True,
    "plan is set": lambda reference: lambda row: row["properties"].get("plan") is not None,
    "`$cohort:heavy` == true": lambda reference: (lambda members: lambda row: row["distinct_id"] in members)(
        heavy(reference)
    ),
}


QUESTIONS: dict[str, Callable[[Asked], BothAnswers]] = {
    "total": lambda ask: ask.segmentation(measure="total"),
    "unique": lambda ask: ask.segmentation(measure="unique"),
    "unique by": lambda ask: ask.segmentation(measure="unique", by=["plan"], events=["view", "buy"], limit=1),
    "unique by two": lambda ask: ask.segmentation(measure="unique", by=["plan", "$event"], unit="week"),
    "average": lambda ask: ask.segmentation(measure="average", by=["$event"]),
    "p50": lambda ask: ask.segmentation(measure="p50", property="plan"),
    "funnel": lambda ask: ask.funnel("view", "buy", window_ms=DAY_MS),
    "funnel of one step in two": lambda ask: ask.funnel("view|buy", "buy", "click"),
    "funnel by": lambda ask: ask.funnel("view", "buy", by=["plan"], by_step="last", attempt="first"),
    "funnel total": lambda ask: ask.funnel("view", "buy", count_mode="total", window_ms=60 * MINUTE_MS),
    "funnel session": lambda ask: ask.funnel("view", "buy", count_mode="session"),
    "funnel strict": lambda ask: ask.funnel("view", "buy", order="strict", count_mode="total"),
    "funnel strict session": lambda ask: ask.funnel("view", "buy", "buy", order="strict", count_mode="session"),
    "funnel any": lambda ask: ask.funnel("view", "buy", "click", order="any"),
    "funnel held": lambda ask: ask.funnel("view", "buy", hold_constant=["plan"], strict_increase=True),
    "funnel excluded": lambda ask: ask.funnel("view", "buy", exclude="click", count_mode="total"),
    "funnel excluded users": lambda ask: ask.funnel("view", "buy", exclude="click", exclude_user=True),
    "retention": lambda ask: ask.retention("view", "buy", by=["plan"], buckets=3),
    "retention lifetime": lambda ask: ask.retention(
        "view", "view", birth_scope="lifetime", mode="on_or_after", align="calendar", buckets=3
    ),
    "flows": lambda ask: ask.flows("view", steps=3, top=2),
    "flows backward": lambda ask: ask.flows("buy", direction="backward", collapse_repeats=True, window_ms=DAY_MS),
    "flows session": lambda ask: ask.flows("view", session=True),
}


def check(seed: int, how: int | str, question: str) -> None:
    chance = random.Random(f"{seed} {how} {question}")
    reference = Reference()
    reference.import_events(some_rows(chance))
    for where, keep in WHERES.items():
        layout = Layout(how, chance.randrange(1, 30), chance.random() < 0.5, chance.random() < 0.5)
        ask = Asked(
            reference, "acme", layout, *DAYS.values(), START_MS + 5 * DAY_MS, where, keep(reference),
            (lambda scan: with_cohorts(scan, [HEAVY])) if "$cohort" in where else lambda scan: scan,
        )  # fmt: skip
        got, expected = QUESTIONS[question](ask)
        assert got == expected, (where, layout)


@pytest.mark.parametrize(("question", "how"), list(zip(QUESTIONS, cycle(SPLITTING), strict=False)))
def test_an_answer_does_not_depend_on_where_rows_are(question: str, how: int | str) -> None:
    check(0, how, question)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", SPREADS)
@pytest.mark.parametrize("question", QUESTIONS)
def test_many_answers_do_not_depend_on_where_rows_are(question: str, how: int | str) -> None:
    for seed in range(1, 26):
        print(f"seed {seed}")
        check(seed, how, question)
