"""Benchmarks run, print the contract's lines, and stand on answers that were checked."""

import sys
from pathlib import Path

import orjson
import pytest
from evenshard.testing.bench import __main__ as command
from evenshard.testing.bench import queries
from evenshard.testing.bench.compaction import compaction, late_duplicates, reimport
from evenshard.testing.bench.compare import Timed
from evenshard.testing.bench.duplicate_bit import scan_duplicate_bit
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.flows import FLOWS
from evenshard.testing.bench.funnel import FUNNEL
from evenshard.testing.bench.hot_read import hot_read
from evenshard.testing.bench.hotkey_count import hotkey_count
from evenshard.testing.bench.ingest import ingest_arrow, ingest_ndjson_dirty, reimport_cluster
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.peers.process import PeerProcess, is_installed
from evenshard.testing.bench.queries import Question, Suite, measure
from evenshard.testing.bench.retention import RETENTION
from evenshard.testing.bench.rows import ingest_rows
from evenshard.testing.bench.segmentation import SEGMENTATION
from evenshard.testing.bench.storage import storage_bytes
from evenshard.testing.bench.sustained import ingest_sustained
from evenshard.testing.bench.under_ingest import query_under_ingest
from evenshard.testing.processes import ClusterProcess

pytestmark = pytest.mark.cluster

EVENTS = 20_000


def _small(folder: Path, *, peers: bool = False) -> Options:
    return Options(events=EVENTS, rounds=1, folder=folder, peers=peers)


def _is_alone(figure: Figure, name: str, unit: str, events: int = EVENTS) -> bool:
    return (figure.name, figure.unit, figure.events, figure.peer, figure.peer_value, figure.ratio) == (
        name, unit, events, None, None, None,
    ) and figure.value > 0  # fmt: skip


@pytest.mark.slow
def test_a_small_dirty_ingest_gives_its_figure_and_leaves_nothing(tmp_path: Path) -> None:
    [figure] = ingest_ndjson_dirty(_small(tmp_path))
    assert _is_alone(figure, "ingest_ndjson_dirty", "events/s")
    assert 100 < figure.detail["bad_events"] < 300
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_small_ingests_of_columns_and_rows_give_their_figures(tmp_path: Path) -> None:
    [arrow] = ingest_arrow(_small(tmp_path))
    [rows] = ingest_rows(_small(tmp_path))
    assert _is_alone(arrow, "ingest_arrow", "events/s")
    assert _is_alone(rows, "ingest_rows", "events/s")


@pytest.mark.slow
def test_a_small_import_that_comes_again_is_all_duplicates_and_gives_its_figure(tmp_path: Path) -> None:
    [figure] = reimport_cluster(_small(tmp_path))
    assert _is_alone(figure, "reimport_cluster", "events/s")


@pytest.mark.slow
def test_a_small_sustained_ingest_tells_its_backlog(tmp_path: Path) -> None:
    [figure] = ingest_sustained(Options(events=100_000, seconds=2, folder=tmp_path, peers=False))
    assert _is_alone(figure, "ingest_sustained", "events/s", 100_000)
    assert {"backlog_rows", "backlog_rows_due", "rate_by_sixth"} <= figure.detail.keys()


@pytest.mark.parametrize(
    ("name", "unit", "events"),
    [("reimport", "events/s", EVENTS), pytest.param("start", "s", 0, marks=pytest.mark.slow)],
)
def test_the_command_prints_a_line_with_the_contracts_keys(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    unit: str,
    events: int,
) -> None:
    arguments = ["bench", name, "--rounds", "1", "--dir", str(tmp_path), "--json", "--events", str(EVENTS)]
    monkeypatch.setattr(sys, "argv", arguments)
    assert command.main() == 0
    [line] = capsys.readouterr().out.splitlines()
    figure = orjson.loads(line)
    assert set(figure) == {"name", "value", "unit", "peer", "peer_value", "ratio", "events", "detail"}
    assert (figure["name"], figure["unit"], figure["events"]) == (name, unit, events)
    [value] = figure["detail"]["rounds"]
    assert figure["value"] == pytest.approx(value, abs=1)
    assert value > 0


@pytest.mark.slow
def test_bytes_of_storage_are_compared_with_peers_that_answer_the_same(tmp_path: Path) -> None:
    """Where the peers are not installed, evenshard's own figure is given, without a ratio."""
    peers = is_installed("clickhouse")
    figures = storage_bytes(_small(tmp_path, peers=peers))
    assert [figure.peer for figure in figures] == (["clickhouse_unmerged", "clickhouse_merged"] if peers else [None])
    for figure in figures:
        assert (figure.name, figure.unit, figure.detail["copies"]) == ("storage_bytes", "bytes", EVENTS // 50)
        assert 5 < figure.value < 100
        if figure.peer_value is not None and figure.ratio is not None:
            assert figure.ratio == pytest.approx(figure.peer_value / figure.value, rel=0.01)


@pytest.mark.slow
def test_trends_are_asked_warm_and_cold_and_half_of_the_events_are_in_the_tail(tmp_path: Path) -> None:
    one = Suite("segmentation", SEGMENTATION.questions[:1])
    warm, cold = measure(one, Options(events=100_000, rounds=1, folder=tmp_path, peers=False), warm=True)
    assert _is_alone(warm, "segmentation", "s", 100_000)
    assert _is_alone(cold, "segmentation_cold", "s", 100_000)
    assert (warm.detail["tail_rows"], warm.detail["segment_rows"], warm.detail["copies"]) == (50_000, 50_000, 2_000)


@pytest.fixture
def without_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    """New processes are begun for trends alone: here it is answers that matter, of every form and every peer, and a
    start of a cluster, or of ClickHouse, takes longer than all of these."""

    def asked(question: Question, cluster: ClusterProcess) -> Timed:
        with queries.connected(cluster) as client:
            return Timed(question.ask(client), 1.0)

    monkeypatch.setattr(queries, "_first", asked)
    monkeypatch.setattr(PeerProcess, "restart", lambda peer: None)


@pytest.mark.slow
@pytest.mark.parametrize("suite", [FUNNEL, RETENTION, FLOWS], ids=lambda each: each.name)
@pytest.mark.usefixtures("without_restarts")
def test_what_follows_users_is_compared_with_every_peer(tmp_path: Path, suite: Suite) -> None:
    """Where the peers are not installed, evenshard's own figure is given, without a ratio."""
    peers = is_installed("clickhouse") and (is_installed("duckdb") or not any(each.duckdb for each in suite.questions))
    figures = measure(suite, Options(events=100_000, rounds=1, folder=tmp_path, peers=peers), warm=True)
    others = ["duckdb"] if any(each.duckdb for each in suite.questions) else []
    names = ["clickhouse_unmerged", "clickhouse_merged", *others] if peers else [None]
    assert [(figure.name, figure.peer) for figure in figures] == [
        (name, peer) for name in (suite.name, f"{suite.name}_cold") for peer in names
    ]
    assert all((figure.ratio is None) == (not peers) for figure in figures)


@pytest.mark.slow
def test_questions_asked_again_read_no_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evenshard.testing.bench.hot_read.STREAM_QUESTIONS", 60)
    again, stream = hot_read(Options(events=100_000, rounds=2, folder=tmp_path))
    assert _is_alone(again, "hot_read", "s", 100_000)
    assert set(again.detail["questions"]) == {"funnel", "unique_by_day", "retention", "flows", "total_by_country"}
    assert _is_alone(stream, "hot_read_zipf", "s", 100_000)
    detail = stream.detail
    # Some were known from before the stream began.
    assert 0 <= detail["shard_reads"] <= 2 * detail["different"] < detail["shard_reads_saved"]
    assert detail["shard_reads"] + detail["shard_reads_saved"] == 2 * 60
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_answers_hold_what_was_acknowledged_while_others_import(tmp_path: Path) -> None:
    [figure] = query_under_ingest(Options(events=100_000, seconds=3, folder=tmp_path))
    assert _is_alone(figure, "query_under_ingest", "s", 100_000)
    assert (figure.detail["misses"], set(figure.detail["questions"])) == (
        0,
        {"total_by_day", "unique_by_day", "funnel"},
    )
    assert figure.detail["counted"] > 0
    assert figure.detail["imported_events_per_second"] > 0
    assert list(tmp_path.iterdir()) == []


def test_small_compactions_tell_what_deduplication_takes(tmp_path: Path) -> None:
    once, steady = compaction(Options(events=200_000, rounds=1, folder=tmp_path, peers=False))
    assert _is_alone(once, "compaction", "events/s", 200_000)
    assert _is_alone(steady, "compaction_steady", "events/s", 200_000)
    for figure in (once, steady):
        assert 0 < figure.detail["dedupe_share"] < 1
        assert figure.detail["filter_bytes"] <= 2.5
        assert figure.detail["false_positives"] <= 2e-5
    assert list(tmp_path.iterdir()) == []


def test_late_copies_and_all_of_them_are_found_and_priced(tmp_path: Path) -> None:
    options = Options(events=200_000, rounds=1, folder=tmp_path, peers=False)
    [late] = late_duplicates(options)
    assert _is_alone(late, "late_duplicates", "ns", 100_000)
    assert late.detail["copies"] == 2_000
    [again] = reimport(options)
    assert _is_alone(again, "reimport", "events/s", 200_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_keys_are_counted_and_priced() -> None:
    speed, skewed, memory = hotkey_count(Options(events=200_000, rounds=1, folder=None, peers=False))
    assert _is_alone(speed, "hotkey_count", "events/s", 200_000)
    assert _is_alone(skewed, "hotkey_count_skewed", "events/s", 200_000)
    assert _is_alone(memory, "hotkey_count_memory", "bytes", 400_000)
    assert memory.detail["missing_max"] == 1


def test_the_duplicate_bit_is_priced_by_scans_that_answer_right(tmp_path: Path) -> None:
    with_bits, clean = scan_duplicate_bit(_small(tmp_path))
    assert (with_bits.name, clean.name, with_bits.unit) == ("scan_duplicate_bit", "scan_duplicate_bit_clean", "ns")
    assert with_bits.detail["copies"] == EVENTS // 50
