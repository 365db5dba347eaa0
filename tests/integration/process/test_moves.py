"""Moves between real processes while events come in and questions are asked: no call fails, every answer is right."""

from pathlib import Path
from typing import Any

import evenshard
import pytest
from evenshard.testing.moves_model.load import Load, counted
from evenshard.testing.processes import ClusterProcess

HOLD_MS_MAX = 200.0
TENANT = "acme"


def ran(cluster: ClusterProcess, *arguments: str, status: int = 0) -> Any:
    done = cluster.run(*arguments)
    assert done.exit_status == status, (arguments, done)
    return done.document


def switched(cluster: ClusterProcess, *arguments: str) -> Any:
    """A move, once it has switched; what it found when it compared, and for how long writes were held."""
    document = ran(cluster, "admin", *arguments, "--wait", "--yes")
    assert (document["state"], document["verify"]) == ("switched", {"equal": True, "differences": []}), document
    return document


def ended(cluster: ClusterProcess, verb: str, operation: str) -> Any:
    ran(cluster, "admin", verb, operation, "--yes")
    return ran(cluster, "admin", "wait", operation, status=0 if verb == "complete" else 1)


def owners(cluster: ClusterProcess) -> set[str]:
    return {piece["shard"] for piece in ran(cluster, "admin", "tenant", TENANT)["placement"]["slots"]}


def check(cluster: ClusterProcess, load: Load) -> None:
    assert load.failures == []
    with evenshard.connect(cluster.router, cluster.gateway, tenant=TENANT) as client:
        assert counted(client) == load.acked


def test_a_tenant_moves_there_and_back_under_load(tmp_path: Path) -> None:
    with ClusterProcess(tmp_path / "data", shards=3) as cluster:
        ran(cluster, "admin", "create-tenant", TENANT)
        holds = []
        with Load(cluster.router, cluster.gateway, TENANT, pause_s=0.01) as load:
            there = switched(cluster, "move", TENANT, "--to", "shard-2")
            holds.append(there["fenced_ms"])
            assert owners(cluster) == {"shard-2"}
            assert ended(cluster, "complete", there["operation"])["state"] == "complete"
            spread = switched(cluster, "split", TENANT, "--to", "shard-0")
            holds.append(spread["fenced_ms"])
            back = ended(cluster, "rollback", spread["operation"])
            assert back["state"] == "rolled_back"
            holds.append(back["fenced_ms"])
            assert owners(cluster) == {"shard-2"}
            drained = ran(cluster, "admin", "drain", "shard-2", "--wait", "--yes")
            assert drained["state"] == "complete", drained
            assert "shard-2" not in owners(cluster)
        check(cluster, load)
        assert max(holds) <= HOLD_MS_MAX, holds
        states = {each["shard"]: each["state"] for each in ran(cluster, "admin", "shards")["shards"]}
        assert states == {"shard-0": "active", "shard-1": "active", "shard-2": "draining"}


def test_a_shard_is_added_and_another_one_removed(tmp_path: Path) -> None:
    cluster = ClusterProcess(tmp_path / "data", shards=1)
    with cluster:
        ran(cluster, "admin", "create-tenant", TENANT)
        with Load(cluster.router, cluster.gateway, TENANT) as load:
            ran(cluster, "admin", "tenant", TENANT)
        check(cluster, load)
    grown = ClusterProcess(cluster.data_dir, shards=2, base_port=cluster.base_port)
    with grown:
        moved = switched(grown, "move", TENANT, "--to", "shard-1", "--slots", "0-2047")
        assert owners(grown) == {"shard-0", "shard-1"}
        ended(grown, "complete", moved["operation"])
        more = Load(grown.router, grown.gateway, TENANT, sent=load.sent, acked=load.acked)
        with more:
            drained = ran(grown, "admin", "drain", "shard-0", "--wait", "--yes")
        assert drained["state"] == "complete"
        check(grown, more)
        assert owners(grown) == {"shard-1"}


@pytest.mark.slow
def test_twenty_moves_under_full_load(tmp_path: Path) -> None:
    with ClusterProcess(tmp_path / "data", shards=3, routers=2) as cluster:
        ran(cluster, "admin", "create-tenant", TENANT)
        holds: list[float] = []
        with Load(cluster.router, cluster.gateway, TENANT) as load:
            for number in range(20):
                shard = f"shard-{number % 3}"
                verb = ("move", "split", "merge")[number % 3] if shard not in owners(cluster) else "merge"
                if owners(cluster) == {shard}:
                    continue
                found = switched(cluster, verb, TENANT, "--to", shard)
                holds.append(found["fenced_ms"])
                end = "rollback" if number % 4 == 3 else "complete"
                holds.append(ended(cluster, end, found["operation"])["fenced_ms"])
        check(cluster, load)
        print(
            f"{len(holds)} holds, the longest {max(holds):.0f} ms; an import took {load.longest_import_s:.3f} s at most"
        )
        assert max(holds) <= HOLD_MS_MAX, holds
