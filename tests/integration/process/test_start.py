"""A cluster that starts: soon, with all kernels from the cache, and none compiled when work comes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evenshard.testing.processes import ClusterProcess

READY_S_MAX = 30.0
"""Far above what it takes on a quiet machine: tests may run beside others."""
SERVICES = ("router-0", "gateway-0", "counter-0", "shard-0", "shard-1")

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcess]:
    with ClusterProcess(tmp_path_factory.mktemp("start") / "data") as running:
        yield running


def _log(cluster: ClusterProcess, service: str) -> list[dict[str, Any]]:
    lines = (cluster.data_dir / "logs" / f"{service}.log").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_kernels_are_compiled_neither_at_the_start_nor_at_work(cluster: ClusterProcess) -> None:
    print(f"ready in {cluster.ready['seconds']} s")
    assert cluster.ready["seconds"] < READY_S_MAX
    events = b"".join(
        b'{"event":"e%d","properties":{"distinct_id":"u%d","time":%d,"$insert_id":"i%d","n":%d,"s":"x"}}\n'
        % (at % 3, at % 7, 1_700_000_000_000 + at, at, at)
        for at in range(1000)
    )
    imported = cluster.run("import", "-", "--tenant", "acme", "--create-tenant", stdin=events)
    assert imported.document["accepted"] == 1000
    assert cluster.run("admin", "compact", "--tenant", "acme", "--wait").exit_status == 0
    range_ = ["--tenant", "acme", "--from", "2023-11-14", "--to", "2023-11-15"]
    answer = cluster.run("query", "segmentation", *range_, "--measure", "unique", "--by", "s", "--where", 's == "x"')
    assert [line["overall"] for line in answer.document["series"]] == [7]
    for service in SERVICES:
        log = _log(cluster, service)
        assert [line["kernels_compiled"] for line in log if line["event"] == "ready"] == [0]
        assert [line for line in log if line["event"] == "kernel compiled after readiness"] == []


def test_services_do_not_load_pandas(cluster: ClusterProcess) -> None:
    for service in SERVICES:
        mapped = Path(f"/proc/{cluster.pid(service)}/maps").read_text()
        assert "pyarrow" in mapped
        assert "/pandas/" not in mapped
