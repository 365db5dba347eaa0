"""Real processes, real data."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evenshard.cli.main import run
from evenshard.testing.few_events import Call
from evenshard.testing.json_shapes import misfits
from evenshard.testing.processes import ClusterProcess
from evenshard.testing.real_data import RealData, load_real_data, real_data_file

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def real_file() -> Path:
    path = real_data_file(REPOSITORY)
    if not path.exists():
        pytest.skip(f"SKIPPED: NO REAL DATA at {path}")
    return path


@pytest.fixture(scope="session")
def real_data(real_file: Path) -> RealData:
    return load_real_data(real_file)


def running_cluster(data_dir: Path) -> Iterator[ClusterProcess]:
    """Two shards, stopped at the end; a stop that is not a clean drain of every service fails the test."""
    running = ClusterProcess(data_dir)
    running.start()
    try:
        yield running
        assert (running.stop(), running.undrained()) == (0, [])
    finally:
        running.kill_all()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ClusterProcess]:
    """A test's own cluster."""
    yield from running_cluster(tmp_path / "data")


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    """One cluster for the tests of a module that only look."""
    yield from running_cluster(tmp_path_factory.mktemp("cluster") / "data")


@pytest.fixture
def call(shared_cluster: ClusterProcess, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Runs a command with ``--json``; the document it printed, which is one line of the shape, with its exit status."""
    monkeypatch.setenv("EVENSHARD_ROUTER", shared_cluster.router)
    monkeypatch.setenv("EVENSHARD_GATEWAY", shared_cluster.gateway)
    capfd.readouterr()

    def call(*arguments: str, shape: Any, status: int = 0, code: str | None = None) -> Any:
        found = run([*arguments, "--json"])
        out = capfd.readouterr().out
        assert (found, out.count("\n")) == (status, 1), out
        document = json.loads(out)
        assert misfits(document, shape) == []
        if code is not None:
            assert document["error"]["code"] == code
        return document

    return call
