"""Peers' processes: what they answer, refuse, and keep."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from evenshard.testing.bench.dataset import write_dataset
from evenshard.testing.bench.flows import FLOWS
from evenshard.testing.bench.funnel import FUNNEL
from evenshard.testing.bench.generator import sessions_of
from evenshard.testing.bench.peers import clickhouse_sql, duckdb_sql
from evenshard.testing.bench.peers.process import EngineName, PeerError, PeerProcess, is_installed
from evenshard.testing.bench.retention import RETENTION
from evenshard.testing.bench.segmentation import SEGMENTATION

EVENTS = 4_000
SUITES = (SEGMENTATION, FUNNEL, RETENTION, FLOWS)
INSTALLED: list[EngineName] = [name for name in ("clickhouse", "duckdb") if is_installed(name)]
"""Peers are an extra: what is not installed is not tested."""


def test_a_peer_that_is_not_installed_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PeerError, match=r"scripts/setup\.sh --bench"):
        PeerProcess("duckdb", tmp_path)


@pytest.mark.parametrize("engine", INSTALLED)
def test_a_statement_that_is_refused_names_itself_and_the_peer_goes_on(engine: EngineName, tmp_path: Path) -> None:
    with PeerProcess(engine, tmp_path / "peer") as peer:
        with pytest.raises(PeerError, match="SELECT nothing FROM nowhere"):
            peer.run("SELECT nothing FROM nowhere")
        assert peer.run("SELECT 1, 'x'") == [[1, "x"]]


@pytest.mark.parametrize("engine", INSTALLED)
def test_every_way_to_leave_duplicates_out_answers_the_same(engine: EngineName, tmp_path: Path) -> None:
    data = write_dataset(
        tmp_path / "data", EVENTS, lambda first, rows: sessions_of(7, first, rows, of=EVENTS),
        seed=7, copies_share=0.02, batch_rows=500,
    )  # fmt: skip
    with PeerProcess(engine, tmp_path / "peer") as peer:
        if engine == "clickhouse":
            for state in clickhouse_sql.STATES:
                for sql in clickhouse_sql.query_table(state, state):
                    peer.run(sql)
                for path in data.files:
                    peer.run(clickhouse_sql.insert(state, [path]))
            peer.run(clickhouse_sql.merge("merged"))
            peer.restart()
            assert peer.run(clickhouse_sql.parts("unmerged"))[0][0] == len(data.files)
            assert peer.run(clickhouse_sql.parts("merged"))[0][:2] == [1, data.originals]
        else:
            for sql in duckdb_sql.load(data.files):
                peer.run(sql)
            peer.restart()
        for question in [each for suite in SUITES for each in suite.questions]:
            templates = question.clickhouse_ways if engine == "clickhouse" else [question.duckdb]
            answers = [
                sorted(peer.run(template.format(events=source, day=day)), key=repr)
                for source, day in _sources(engine)
                for template in templates
                if template is not None
            ]
            if not answers:
                continue
            assert answers[0]
            assert all(answer == answers[0] for answer in answers), question.name


def _sources(engine: EngineName) -> Iterator[tuple[str, str]]:
    if engine == "clickhouse":
        for state in clickhouse_sql.STATES:
            for _, source in clickhouse_sql.sources(state, state, "1"):
                yield source, clickhouse_sql.DAY
    else:
        for deduplicating in (False, True):
            yield duckdb_sql.source(deduplicating=deduplicating), duckdb_sql.DAY
