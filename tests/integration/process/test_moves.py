"""Moves between real processes while events come in and questions are asked: no call fails, every answer is right."""

from pathlib import Path
from typing import Any

import evenshard
import pytest
from evenshard.testing.moves_model.load import Load, counted
from evenshard.testing.processes import ClusterProcess

HOLD_MS_MAX = 200.0
WAIT_S = 120.0
TENANT = "acme"


def ran(cluster: ClusterProcess, *arguments: str, status: int = 0) -> Any:
    done = cluster.run(*arguments)
    assert done.exit_status == status, (arguments, done)
    return done.document


def switched(client: evenshard.Client, document: dict[str, Any]) -> dict[str, Any]:
    """A move, once it has switched: both sides were found equal."""
    found = client.wait_operation(document["operation"], timeout=WAIT_S)
    assert (found["state"], found["verify"]) == ("switched", {"equal": True, "differences": []}), found
    return found


def completed(client: evenshard.Client, operation: str) -> dict[str, Any]:
    client.complete_operation(operation)
    return client.wait_operation(operation, timeout=WAIT_S)


def rolled_back(client: evenshard.Client, operation: str) -> dict[str, Any]:
    client.rollback_operation(operation)
    return client.wait_operation(operation, timeout=WAIT_S)


def owners(client: evenshard.Client) -> set[str]:
    return {piece["shard"] for piece in client.tenant(TENANT)["placement"]["slots"]}


def check(client: evenshard.Client, load: Load) -> None:
    assert load.failures == []
    assert counted(client) == load.acked


def connected(cluster: ClusterProcess) -> evenshard.Client:
    return evenshard.connect(cluster.router, cluster.gateway, tenant=TENANT, timeout=WAIT_S)


@pytest.mark.slow
def test_a_tenant_moves_there_and_back_under_load(tmp_path: Path) -> None:
    with ClusterProcess(tmp_path / "data", shards=3) as cluster, connected(cluster) as client:
        client.create_tenant(TENANT)
        holds = []
        with Load(cluster.router, cluster.gateway, TENANT, pause_s=0.01) as load:
            there = ran(cluster, "admin", "move", TENANT, "--to", "shard-2", "--wait", "--yes")
            assert (there["state"], there["verify"]) == ("switched", {"equal": True, "differences": []})
            holds.append(there["fenced_ms"])
            assert owners(client) == {"shard-2"}
            assert completed(client, there["operation"])["state"] == "complete"
            spread = switched(client, client.split_tenant(TENANT, "shard-0"))
            holds.append(spread["fenced_ms"])
            back = rolled_back(client, spread["operation"])
            assert back["state"] == "rolled_back", back
            holds.append(back["fenced_ms"])
            assert owners(client) == {"shard-2"}
            drained = client.wait_operation(client.drain_shard("shard-2")["operation"], timeout=WAIT_S)
            assert drained["state"] == "complete", drained
            assert "shard-2" not in owners(client)
        check(client, load)
        assert max(holds) <= HOLD_MS_MAX, holds
        states = {each["shard"]: each["state"] for each in client.shards()["shards"]}
        assert states == {"shard-0": "active", "shard-1": "active", "shard-2": "draining"}


@pytest.mark.slow
def test_a_shard_is_added_and_another_one_removed(tmp_path: Path) -> None:
    cluster = ClusterProcess(tmp_path / "data", shards=1)
    with cluster, connected(cluster) as client:
        client.create_tenant(TENANT)
        with Load(cluster.router, cluster.gateway, TENANT) as load:
            client.tenant(TENANT)
        check(client, load)
    grown = ClusterProcess(cluster.data_dir, shards=2, base_port=cluster.base_port)
    with grown, connected(grown) as client:
        moved = switched(client, client.move_tenant(TENANT, "shard-1", slots=(0, 2047)))
        assert owners(client) == {"shard-0", "shard-1"}
        completed(client, moved["operation"])
        more = Load(grown.router, grown.gateway, TENANT, sent=load.sent, acked=load.acked)
        with more:
            drained = ran(grown, "admin", "drain", "shard-0", "--wait", "--yes")
        assert drained["state"] == "complete"
        check(client, more)
        assert owners(client) == {"shard-1"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_moves_under_full_load(tmp_path: Path) -> None:
    with ClusterProcess(tmp_path / "data", shards=3, routers=2) as cluster, connected(cluster) as client:
        client.create_tenant(TENANT)
        holds: list[float] = []
        with Load(cluster.router, cluster.gateway, TENANT) as load:
            while len(holds) < 20:
                shard = f"shard-{len(holds) % 3}"
                if owners(client) == {shard}:
                    shard = f"shard-{(len(holds) + 1) % 3}"
                if len(holds) % 4 < 2 or shard in owners(client):
                    begun = client.merge_tenant(TENANT, shard)
                else:
                    begun = client.split_tenant(TENANT, shard)
                found = switched(client, begun)
                holds.append(found["fenced_ms"])
                end = rolled_back if len(holds) % 4 == 3 else completed
                ended = end(client, found["operation"])
                if end is rolled_back:
                    holds.append(ended["fenced_ms"])
        check(client, load)
        print(f"{len(holds)} holds, {max(holds):.0f} ms at most; imports took {load.longest_import_s:.3f} s at most")
        assert max(holds) <= HOLD_MS_MAX, holds
