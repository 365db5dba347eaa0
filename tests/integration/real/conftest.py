"""Real processes, real data."""

from collections.abc import Iterator
from pathlib import Path

import pytest
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
