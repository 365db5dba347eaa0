"""Questions asked again of data that has not changed: what a repetition takes, and how many readings of shards a stream
of questions saves in which a few are asked most of the time.

Every answer is compared with the one that was computed anew.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

import evenshard
from evenshard.testing.bench.compare import AnswersDifferError
from evenshard.testing.bench.dataset import COPIES_SHARE, write_dataset
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.generator import COUNTRIES, DAYS, FROM_DATE, TO_DATE, sessions_of
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.queries import EVENTS_DEFAULT, NEVER_COMPACT, connected, load
from evenshard.testing.bench.sending import SEED, SHARDS
from evenshard.testing.processes import ClusterProcess

REPEATS_DEFAULT: Final = 200
FIRST_ROUNDS: Final = 3
P50_MS_MAX: Final = 4.0
SHARE_OF_FIRST_MAX: Final = 1 / 20
STREAM_QUESTIONS: Final = 400
STREAM_DIFFERENT: Final = 60
DATES: Final = 8
"""Ranges of dates that each kind is asked about in the stream."""
ZIPF: Final = 1.1
"""The question of rank r is asked 1 / r ** ZIPF as often as the first."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A question about the days from the first one to a last one."""

    name: str
    ask: Callable[..., Any]
    """With ``from_date``, ``to_date`` and ``no_cache``."""

    def asked(self, client: evenshard.Client, *, anew: bool, last: str = TO_DATE) -> Any:
        """``anew``: computed, whatever is known."""
        return self.ask(client, from_date=FROM_DATE, to_date=last, no_cache=anew)


KINDS: Final = (
    Kind("funnel", lambda client, **how: client.funnel(["view", "add to cart", "buy"], window="7d", **how)),
    Kind("unique_by_day", lambda client, **how: client.segmentation(measure="unique", **how)),
    Kind("retention", lambda client, **how: client.retention("sign up", buckets=14, **how)),
    Kind("flows", lambda client, **how: client.flows("search", window="1d", **how)),
    Kind("total_by_country", lambda client, **how: client.segmentation(by="country", **how)),
)


def hot_read(options: Options) -> list[Figure]:
    """``hot_read``: the slowest median of a repetition; ``hot_read_zipf``: the median of the stream."""
    events, repeats = options.events or EVENTS_DEFAULT, options.rounds or REPEATS_DEFAULT
    place = Path(tempfile.mkdtemp(prefix="evenshard-bench-", dir=options.folder))
    try:
        data = write_dataset(
            place / "data", events, lambda first, rows: sessions_of(SEED, first, rows, of=events),
            seed=SEED, copies_share=COPIES_SHARE,
        )  # fmt: skip
        with ClusterProcess(place / "evenshard", shards=SHARDS, settings=NEVER_COMPACT) as cluster:
            loaded = load(cluster, data)
            with connected(cluster) as client:
                again = {kind.name: _again(kind, client, repeats) for kind in KINDS}
                stream = _stream(client)
        detail = {"seed": SEED, "shards": SHARDS, **loaded}
        slowest_ms = max(each["p50_ms"] for each in again.values())
        within = all(each["within"] for each in again.values())
        return [
            Figure("hot_read", slowest_ms / 1e3, "s", events, detail={"within": within, "questions": again, **detail}),
            Figure("hot_read_zipf", stream.pop("p50_ms") / 1e3, "s", events, detail={**stream, **detail}),
        ]
    finally:
        shutil.rmtree(place)


def _again(kind: Kind, client: evenshard.Client, repeats: int) -> dict[str, Any]:
    """The median of a question computed anew, and of the same asked again."""
    kind.asked(client, anew=True)
    first_s, answers = zip(*(_timed(lambda: kind.asked(client, anew=True)) for _ in range(FIRST_ROUNDS)), strict=True)
    kind.asked(client, anew=False)
    repeated = [_timed(lambda: kind.asked(client, anew=False)) for _ in range(repeats)]
    for _, answer in repeated:
        _check_same(kind.name, answers[0], answer)
    first_ms = 1e3 * statistics.median(first_s)
    seconds = [seconds for seconds, _ in repeated]
    p50_ms = 1e3 * statistics.median(seconds)
    return {
        "first_ms": round(first_ms, 2),
        "p50_ms": round(p50_ms, 3),
        "p99_ms": round(1e3 * float(np.quantile(seconds, 0.99)), 3),
        "within": p50_ms <= max(P50_MS_MAX, first_ms * SHARE_OF_FIRST_MAX),
    }


def _stream(client: evenshard.Client) -> dict[str, Any]:
    """A stream of questions, popular ones most often; what shards read is told by the answers."""
    chance = np.random.default_rng([SEED, 7])
    share = 1.0 / np.arange(1, STREAM_DIFFERENT + 1) ** ZIPF
    drawn = chance.choice(STREAM_DIFFERENT, STREAM_QUESTIONS, p=share / share.sum()).tolist()
    answers: dict[int, Any] = {}
    seconds, reads = [], 0
    for number in drawn:
        took_s, answer = _timed(lambda at=number: _question(at, client))  # type: ignore[misc]
        seconds.append(took_s)
        reads += answer.meta["cache"] == "miss"
        _check_same(f"question {number}", answers.setdefault(number, answer), answer)
    return {
        "p50_ms": 1e3 * statistics.median(seconds),
        "mean_ms": round(1e3 * statistics.mean(seconds), 3),
        "questions": len(drawn),
        "different": len(answers),
        "shard_reads": reads * SHARDS,
        "shard_reads_saved": (len(drawn) - reads) * SHARDS,
        "saved_share": round(1 - reads / len(drawn), 4),
    }


def _question(number: int, client: evenshard.Client) -> Any:
    """One of ``STREAM_DIFFERENT`` questions."""
    if number < len(KINDS) * DATES:
        last = f"2026-01-{DAYS - number // len(KINDS):02}"
        return KINDS[number % len(KINDS)].asked(client, anew=False, last=last)
    country = COUNTRIES[number % len(COUNTRIES)].as_py()
    return client.segmentation(from_date=FROM_DATE, to_date=TO_DATE, where=f'country == "{country}"')


def _timed(ask: Callable[[], Any]) -> tuple[float, Any]:
    started_s = time.perf_counter()
    answer = ask()
    return time.perf_counter() - started_s, answer


def _check_same(what: str, one: Any, other: Any) -> None:
    left, right = ({**each.to_dict(), "meta": None} for each in (one, other))
    if left != right:
        raise AnswersDifferError(f"{what}: computed anew and asked again differ")
