"""What commands are tested with: a cluster that is not real, and a pipe of no width, whatever the terminal is."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from evenshard.cli.main import run
from evenshard.testing.fake_cluster import FakeCluster


@pytest.fixture(autouse=True)
def no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that run in several processes are told of one."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    """Has a tenant, acme; commands find it, and nobody is at a keyboard."""
    with FakeCluster() as running:
        running.add_tenant("acme")
        monkeypatch.setenv("EVENSHARD_ROUTER", running.address)
        monkeypatch.setenv("EVENSHARD_GATEWAY", running.address)
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        yield running


@pytest.fixture
def ask(cluster: FakeCluster, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
    """Runs a command with ``--json``: its exit status and its one document."""

    def asked(*arguments: str) -> tuple[int, Any]:
        capfd.readouterr()
        status = run([*arguments, "--json"])
        out = capfd.readouterr().out
        assert out.count("\n") == 1, out
        return status, json.loads(out)

    return asked
