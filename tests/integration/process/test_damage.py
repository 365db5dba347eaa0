"""Real processes on damaged and foreign directories: what ``up`` says, and what a cluster with a quarantine answers."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from evenshard.ids import ShardId, TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.catalog import Catalog
from evenshard.storage.catalog_rows import FILE
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.events import Event, append_of
from evenshard.testing.processes import ClusterProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

START_MS = 1_767_225_600_000
RANGE = ("--from", "2026-01-01", "--to", "2026-01-01")


def lines(tenant_number: int) -> bytes:
    return b"".join(
        b'{"event":"view","properties":{"distinct_id":"user-%d","time":%d,"$insert_id":"i%d"}}\n'
        % (n, START_MS + n, n + 1000 * tenant_number)
        for n in range(400)
    )


def up(cluster: ClusterProcess) -> tuple[int, dict[str, Any]]:
    """Exit status and error document of an ``up`` that cannot start."""
    command = [sys.executable, "-m", "evenshard.cli.main", "up", "--json", "--data-dir", str(cluster.data_dir)]
    command += ["--shards", str(cluster.shards), "--base-port", str(cluster.base_port)]
    done = subprocess.run(command, capture_output=True, timeout=90, stdin=subprocess.DEVNULL)
    return done.returncode, json.loads(done.stdout)["error"]


def total(cluster: ClusterProcess, tenant: str, *flags: str) -> tuple[int, Any]:
    answer = cluster.run("query", "segmentation", "--tenant", tenant, *RANGE, *flags)
    return answer.exit_status, answer.document


@pytest.mark.slow
def test_a_damaged_shard_starts_and_its_other_tenants_and_shards_serve(tmp_path: Path) -> None:
    cluster = ClusterProcess(tmp_path / "data", shards=2)
    with cluster:
        for number, tenant in enumerate(("acme", "other", "acme")):
            arguments = ("import", "-", "--tenant", tenant, "--create-tenant")
            assert cluster.run(*arguments, stdin=lines(number)).document["accepted"] == 400
        cluster.kill_all()
    log = cluster.data_dir / "shard-1" / "log" / "0000000001.log"
    data = bytearray(log.read_bytes())
    data[1000] ^= 0x01  # in the first frame, acme's
    log.write_bytes(data)
    fsck = cluster.run("fsck", str(cluster.data_dir))
    assert fsck.exit_status == 1
    (finding,) = fsck.document["findings"]
    assert (finding["file"], finding["offset"], finding["code"]) == ("shard-1/log/0000000001.log", 104, "DATA_DAMAGED")
    with cluster:
        status, document = total(cluster, "other")
        assert (status, [each["overall"] for each in document["series"]]) == (0, [400])
        status, document = total(cluster, "acme")
        assert (status, document["error"]["code"]) == (5, "DATA_DAMAGED")
        assert document["error"]["details"]["tenant"] == "acme"
        assert document["error"]["details"]["file"] == "log/0000000001.log"
        assert document["error"]["details"]["days"] == "any day"
        status, document = total(cluster, "acme", "--allow-partial")
        assert status == 1
        assert (document["meta"]["complete"], document["meta"]["missing_shards"]) == (False, ["shard-1"])
        assert 0 < document["series"][0]["overall"] < 800
        assert cluster.run("import", "-", "--tenant", "acme", stdin=lines(5)).document["accepted"] == 400
        shard = cluster.services()["shard-1"]
        assert shard["status"] == "SERVING"
        assert shard["reason"].startswith("in quarantine: log/0000000001.log (acme, any day); see docs/operations.md")
        assert cluster.run("status").exit_status == 0
    given_up = cluster.run("fsck", str(cluster.data_dir), "--accept-loss", "--yes")
    assert (given_up.exit_status, given_up.document["ok"]) == (0, True)
    with cluster:
        status, document = total(cluster, "acme")
        assert status == 0
        assert 800 < document["series"][0]["overall"] < 1200
        assert [each["code"] for each in document["meta"]["warnings"]] == ["EVENTS_LOST"]
        assert "were lost on a disk, and their loss was accepted" in document["meta"]["warnings"][0]["message"]
        exported = cluster.run("export", "--tenant", "acme", "--start", "0", "--end", str(START_MS + 10_000))
        assert "EVENTS_LOST" in exported.stderr
        assert total(cluster, "other")[1]["meta"]["warnings"] == []
        again = cluster.run("import", "-", "--tenant", "acme", stdin=lines(0)).document
        assert (again["accepted"], total(cluster, "acme")[1]["series"][0]["overall"]) == (400, 1200)
        assert cluster.services()["shard-1"]["reason"] is None


def of_a_newer_format(root: Path) -> None:
    disk = LocalDisk(root)
    catalog = Catalog.open(disk, ShardId(root.name))
    with catalog._transaction() as changes:
        changes.put("meta/format", b"99")
    catalog.close()
    disk.close()


def of_another_shard(root: Path) -> None:
    (root / FILE).unlink(missing_ok=True)
    disk = LocalDisk(root)
    Catalog.open(disk, ShardId("shard-9")).close()
    disk.close()


def without_a_catalog(root: Path) -> None:
    of_another_shard(root)
    (root / FILE).unlink()
    (root / "log").mkdir()
    (root / "log" / "0000000001.log").write_bytes(b"x" * 200)


def half_copied_among_foreign_files(root: Path) -> None:
    """The copy came as far as the catalog and the log; segments it had none yet, but somebody's notes."""
    disk = LocalDisk(root)
    store = Store.open(disk, ManualClock(), ShardId(root.name), StorageSettings(), lambda _: None)
    store.append([append_of([Event("view", "user", START_MS, "x")])])
    store.compact(TenantId("acme"))
    store.close()
    disk.close()
    shutil.rmtree(root / "segments")
    (root / "log" / "notes.txt").write_text("somebody's")


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and folder with its time stamp and bytes."""
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted([root, *root.rglob("*")])
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "code", "file"),
    [
        (of_a_newer_format, "FORMAT_TOO_NEW", FILE),
        (of_another_shard, "DATA_DAMAGED", FILE),
        (without_a_catalog, "DATA_DAMAGED", FILE),
        (half_copied_among_foreign_files, "DATA_DAMAGED", "segments/0000000001.parquet"),
    ],
)
def test_up_reports_a_directory_it_cannot_start_on_and_leaves_it_alone(
    tmp_path: Path, made: Any, code: str, file: str
) -> None:
    root = tmp_path / "data" / "shard-0"
    made(root)
    before = tree(root)
    status, error = up(ClusterProcess(tmp_path / "data", shards=1))
    assert (status, error["code"]) == (5, code)
    assert error["details"]["service"] == "shard-0"
    assert error["details"]["file"] == file
    assert error["hint"]
    assert tree(root) == before


def test_up_does_not_take_a_shards_own_directory_for_a_whole_one(tmp_path: Path) -> None:
    root = tmp_path / "shard-0"
    disk = LocalDisk(root)
    Catalog.open(disk, ShardId("shard-0")).close()
    disk.close()
    status, error = up(ClusterProcess(root, shards=1))
    assert (status, error["code"]) == (2, "USAGE")
    assert "is a shard's own directory" in error["message"]
    assert [path.name for path in root.iterdir()] == [FILE]
    assert sqlite3.connect(root / FILE).execute("SELECT count(*) FROM entries").fetchone() == (4,)
