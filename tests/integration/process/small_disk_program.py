"""Run in a mount namespace of its own: a cluster whose shard keeps its files on a file system of a few MB.

Prints one JSON document of what happened, which ``test_small_disk.py`` compares.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import evenshard
from evenshard.errors import EvenshardError
from evenshard.testing.processes import ClusterProcess

TENANT = "acme"
START_MS = 1_767_225_600_000
BATCH = 500
DISK = "6m"


def events(batch: int) -> list[dict[str, Any]]:
    return [
        {"event": "view", "distinct_id": f"user-{n % 97}", "time": START_MS + n, "insert_id": f"i{n}",
         "properties": {"n": n, "text": f"{n:064d}"}}
        for n in range(batch * BATCH, (batch + 1) * BATCH)
    ]  # fmt: skip


def exported(cluster: ClusterProcess) -> list[int]:
    with evenshard.connect(cluster.router, cluster.gateway, tenant=TENANT) as client:
        return sorted(row["properties"]["n"] for row in client.export(START_MS - 1, START_MS + 10**9))


def send(cluster: ClusterProcess, batch: int, timeout_s: float) -> tuple[int, list[str]]:
    """Accepted events, and the codes and messages of what was not."""
    try:
        with evenshard.connect(cluster.router, cluster.gateway, tenant=TENANT, timeout=timeout_s) as client:
            result = client.import_events(events(batch))
    except EvenshardError as error:
        return 0, [f"{error.code} {error.message}"]
    return result.accepted, sorted({f"{each['code']} {each['message']}" for each in result.errors})


def fill(place: Path) -> Path:
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        size = 1 << 16
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    return filler


def mount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)


def main(folder: Path) -> dict[str, Any]:
    place = folder / "data" / "shard-0"
    place.mkdir(parents=True)
    mount(place, f"size={DISK}")
    happened: dict[str, Any] = {}
    cluster = ClusterProcess(folder / "data", shards=1)
    with cluster:
        with evenshard.connect(cluster.router, cluster.gateway, tenant=TENANT) as client:
            client.create_tenant(TENANT)
        happened["before"] = send(cluster, 0, 30)
        filler = fill(place)
        happened["full"] = send(cluster, 1, 4)
        happened["read while full"] = exported(cluster) == list(range(BATCH))
        compact = ("admin", "compact", "--tenant", TENANT, "--wait", "--timeout")
        happened["compaction while full"] = cluster.run(*compact, "4s").document
        happened["read after that"] = exported(cluster) == list(range(BATCH))
        filler.unlink()
        happened["space again"] = send(cluster, 1, 30)
        happened["all"] = exported(cluster) == list(range(2 * BATCH))
        happened["compaction"] = cluster.run(*compact, "60s").exit_status
        happened["status"] = cluster.run("status").exit_status
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    command = [sys.executable, "-m", "evenshard.cli.main", "up", "--json", "--data-dir", str(cluster.data_dir)]
    command += ["--shards", "1", "--base-port", str(cluster.base_port)]
    done = subprocess.run(command, capture_output=True, timeout=90, stdin=subprocess.DEVNULL)
    happened["read-only"] = [done.returncode, json.loads(done.stdout)["error"]]
    subprocess.run(["mount", "-o", "remount,rw", str(place)], check=True)
    with cluster:
        happened["again"] = exported(cluster) == list(range(2 * BATCH))
    return happened


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))) + "\n")
