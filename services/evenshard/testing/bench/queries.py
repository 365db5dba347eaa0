"""Questions asked of loaded systems: 10 M events, 2 % of them copies, half indexed and half in the tail.

Ours go through the gateway, by the client, and nothing caches results. ``warm`` is the median of a question repeated,
``cold`` that of its first asking of new processes (over the same data directory; the operating system's page cache is
left as it is, for every system).
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import evenshard
from evenshard.testing.bench.compare import Answer, Timed, compared_s, fastest_of, median_of
from evenshard.testing.bench.dataset import COPIES_SHARE, Dataset, write_dataset
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.generator import sessions_of
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.peers import clickhouse_sql, duckdb_sql
from evenshard.testing.bench.peers.process import PeerProcess
from evenshard.testing.bench.sending import SEED, SHARDS, TENANT, send
from evenshard.testing.processes import ClusterProcess

EVENTS_DEFAULT: Final = 10_000_000
WARM_ROUNDS_DEFAULT: Final = 7
COLD_ROUNDS_DEFAULT: Final = 3
UNMERGED_PARTS: Final = 8
TIMEOUT_S: Final = 120.0
FORMS_WITHIN: Final = 2.0
"""Ways to ask a peer that took longer than this many times the fastest, when each was asked once, are not measured."""
NEVER_COMPACT: Final = (
    "compact_rows=1000000000000",
    "compact_bytes=1000000000000",
    "compact_age_seconds=1000000",
    "log_age_seconds=1000000",
    "shard_memory_bytes=8589934592",
)
"""Half of the events stay in the tail, as many bytes as they take when it was just replayed: with less memory it would
be compacted, while questions are asked."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question, for every system. In SQL ``{events}`` stands for where the events are, ``{day}`` for their day."""

    name: str
    ask: Callable[[evenshard.Client], Answer]
    clickhouse: str
    duckdb: str | None
    """None: it cannot be asked there."""
    clickhouse_identity: str = "1"
    """A condition on event, distinct_id, time or insert_id that may hold before duplicates are left out."""
    clickhouse_settings: Sequence[str] = ("",)
    """Each is tried; the fastest counts."""
    clickhouse_too: Sequence[str] = ()
    """Other ways to ask the same, tried as well."""

    @property
    def clickhouse_ways(self) -> Sequence[str]:
        return (self.clickhouse, *self.clickhouse_too)


@dataclass(frozen=True, slots=True)
class Suite:
    """Questions that are measured together."""

    name: str
    questions: Sequence[Question]


Answers = dict[str, Timed]


def measure(suite: Suite, options: Options, *, warm: bool) -> list[Figure]:
    """``NAME`` if ``warm``, and ``NAME_cold``."""
    events = options.events or EVENTS_DEFAULT
    rounds_warm, rounds_cold = options.rounds or WARM_ROUNDS_DEFAULT, options.rounds or COLD_ROUNDS_DEFAULT
    place = Path(tempfile.mkdtemp(prefix="evenshard-bench-", dir=options.folder))
    try:
        data = write_dataset(
            place / "data", events, lambda first, rows: sessions_of(SEED, first, rows, of=events),
            seed=SEED, copies_share=COPIES_SHARE,
        )  # fmt: skip
        ours_warm, ours_cold, loaded = _ours(suite, data, place, rounds_warm if warm else 0, rounds_cold)
        peers_warm, peers_cold, more = (
            _peers(suite, data, place, rounds_warm if warm else 0, rounds_cold) if options.peers else ({}, {}, {})
        )
        detail = {"copies": data.copies, "shards": SHARDS, "seed": SEED, **loaded, **more}
        figures = (
            compared_s(suite.name, events, ours_warm, peers_warm, {"rounds": rounds_warm, **detail}) if warm else []
        )
        cold = compared_s(f"{suite.name}_cold", events, ours_cold, peers_cold, {"rounds": rounds_cold, **detail})
        return [*figures, *cold]
    finally:
        shutil.rmtree(place)


def _ours(
    suite: Suite, data: Dataset, place: Path, rounds_warm: int, rounds_cold: int
) -> tuple[Answers, Answers, dict[str, Any]]:
    with ClusterProcess(place / "evenshard", shards=SHARDS, settings=NEVER_COMPACT) as cluster:
        loaded = load(cluster, data)
        warm = {}
        if rounds_warm:
            with connected(cluster) as client:
                for question in suite.questions:
                    _timed(question, client)
                    warm[question.name] = median_of(lambda at=question: _timed(at, client), rounds_warm)  # type: ignore[misc]
        cold = {
            question.name: median_of(lambda at=question: _first(at, cluster), rounds_cold)  # type: ignore[misc]
            for question in suite.questions
        }
        with connected(cluster) as client:
            if _log_rows(client) != loaded["tail_rows"]:
                raise RuntimeError("the tail was compacted while it was measured")
    return warm, cold, loaded


def load(cluster: ClusterProcess, data: Dataset) -> dict[str, Any]:
    """Imports half, has it indexed, imports the other half. Raises unless all is there as it was sent."""
    half = len(data.files) // 2
    with connected(cluster) as client:
        client.create_tenant(TENANT, hot_key_threshold=1 << 40)
        first = send(cluster.router, data.batches(0, half))
        if half:
            client.compact(wait=True, timeout=10 * TIMEOUT_S)
        second = send(cluster.router, data.batches(half))
        stored = client.storage()["tenants"][0]
    found = (first.accepted + second.accepted, first.duplicates + second.duplicates, stored["log_rows"])
    expected = (data.events, data.copies, sum(data.rows[half:]))
    if found != expected:
        raise RuntimeError(f"accepted, duplicates, in the tail: {found}, expected {expected}")
    return {"tail_rows": stored["log_rows"], "segment_rows": stored["segment_rows"], "files": stored["files"]}


def _first(question: Question, cluster: ClusterProcess) -> Timed:
    cluster.stop()
    cluster.start()
    with connected(cluster) as client:
        return _timed(question, client)


def _timed(question: Question, client: evenshard.Client) -> Timed:
    started_s = time.perf_counter()
    answer = question.ask(client)
    return Timed(answer, time.perf_counter() - started_s)


def connected(cluster: ClusterProcess) -> evenshard.Client:
    """A client of the tenant that is measured."""
    return evenshard.connect(cluster.router, cluster.gateway, tenant=TENANT, timeout=TIMEOUT_S)


def _log_rows(client: evenshard.Client) -> int:
    return int(client.storage()["tenants"][0]["log_rows"])


def _peers(
    suite: Suite, data: Dataset, place: Path, rounds_warm: int, rounds_cold: int
) -> tuple[dict[str, Answers], dict[str, Answers], dict[str, Any]]:
    warm: dict[str, Answers] = {}
    cold: dict[str, Answers] = {}
    detail: dict[str, Any] = {}
    with PeerProcess("clickhouse", place / "clickhouse") as clickhouse:
        _load_clickhouse(clickhouse, data)
        for state in clickhouse_sql.STATES:
            peer = f"clickhouse_{state}"
            forms = {each.name: list(_clickhouse_forms(each, state)) for each in suite.questions}
            if rounds_warm:
                warm[peer] = _asked(clickhouse, forms, rounds_warm, fresh=False)
            cold[peer] = _asked(clickhouse, forms, rounds_cold, fresh=True)
        [[detail["clickhouse_unmerged_parts"], rows, _]] = clickhouse.run(clickhouse_sql.parts("unmerged"))
        if detail["clickhouse_unmerged_parts"] < min(4, len(data.files)) or (rows == data.originals and data.copies):
            raise RuntimeError(f"nothing is unmerged: {detail}, {rows} rows")
    if any(each.duckdb for each in suite.questions):
        with PeerProcess("duckdb", place / "duckdb") as duckdb:
            for sql in duckdb_sql.load(data.files):
                duckdb.run(sql)
            forms = {each.name: [("merged", _duckdb(each))] for each in suite.questions if each.duckdb}
            if rounds_warm:
                warm["duckdb"] = _asked(duckdb, forms, rounds_warm, fresh=False)
            cold["duckdb"] = _asked(duckdb, forms, rounds_cold, fresh=True)
            detail["duckdb_deduplicating_s"] = _deduplicating(duckdb, suite)
    return warm, cold, detail


def _load_clickhouse(clickhouse: PeerProcess, data: Dataset) -> None:
    for sql in [
        *clickhouse_sql.query_table("unmerged", "unmerged"),
        *clickhouse_sql.query_table("merged", "merged"),
    ]:
        clickhouse.run(sql)
    size = -(-len(data.files) // UNMERGED_PARTS)
    for start in range(0, len(data.files), size):
        for table in ("unmerged", "merged"):
            clickhouse.run(clickhouse_sql.insert(table, data.files[start : start + size]))
    clickhouse.run(clickhouse_sql.merge("merged"))


def _asked(peer: PeerProcess, forms: Mapping[str, Sequence[tuple[str, str]]], rounds: int, *, fresh: bool) -> Answers:
    """Each question in its fastest form. ``fresh``: each asked of a new process. All forms are asked once; those that
    may be the fastest, by that, are measured."""

    def ask(form: str, sql: str) -> Timed:
        if fresh:
            peer.restart()
            peer.run("SELECT 1")
        return peer.timed(sql, form)

    answers = {}
    for question, ways in forms.items():
        tried = [ask(*way) for way in ways]
        slowest_s = FORMS_WITHIN * fastest_of(tried, question).seconds
        likely = [way for way, timed in zip(ways, tried, strict=True) if timed.seconds <= slowest_s]
        answers[question] = fastest_of([median_of(partial(ask, *way), rounds) for way in likely], question)
    return answers


def _clickhouse_forms(question: Question, state: clickhouse_sql.State) -> Iterator[tuple[str, str]]:
    for form, source in clickhouse_sql.sources(state, state, question.clickhouse_identity):
        for number, way in enumerate(question.clickhouse_ways, 1):
            sql = way.format(events=source, day=clickhouse_sql.DAY)
            name = f"{form}, way {number}" if question.clickhouse_too else form
            for settings in question.clickhouse_settings:
                yield (f"{name}, {settings}", f"{sql} SETTINGS {settings}") if settings else (name, sql)


def _duckdb(question: Question, *, deduplicating: bool = False) -> str:
    assert question.duckdb is not None
    return question.duckdb.format(events=duckdb_sql.source(deduplicating=deduplicating), day=duckdb_sql.DAY)


def _deduplicating(duckdb: PeerProcess, suite: Suite) -> dict[str, float]:
    """Seconds of each question where duplicates are left out as it is asked; once."""
    return {
        each.name: round(duckdb.timed(_duckdb(each, deduplicating=True)).seconds, 6)
        for each in suite.questions
        if each.duckdb
    }
