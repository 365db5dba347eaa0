"""A cluster run by a user without a home, from a checkout and packages that are not theirs: no kernel is compiled."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import evenshard
import pytest
from evenshard.testing.account import Account, bare_environment, nobody_uid
from evenshard.testing.fresh_machine import python_for
from evenshard.testing.processes import ClusterProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SERVICES = ("router-0", "gateway-0", "counter-0", "shard-0")
SOURCES = Path(evenshard.__file__).parents[1]


@pytest.fixture
def account() -> Iterator[Account]:
    """Somebody who may read what this test runs from, its filled cache of kernels too, and may write none of it."""
    uid = nobody_uid()
    if uid is None:
        pytest.skip("NOT TRIED BY ANOTHER USER: this process may not become one")
    bare = Account([], bare_environment(), uid, Path("/"))
    python = python_for(bare)
    if python is None:
        pytest.skip("NOT TRIED BY ANOTHER USER: no Python of this version may be run by them")
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    with bare.folder("install") as place, bare.folder("tmp") as temporary:
        # The same packages and kernels under another prefix, whose interpreter is the user's.
        for folder in ("bin", f"lib/{version}", "share"):
            (place / folder).mkdir(parents=True)
        (place / "pyvenv.cfg").write_text(f"home = {python.parent}\ninclude-system-site-packages = false\n")
        (place / "bin/python").symlink_to(python)
        (place / f"lib/{version}/site-packages").symlink_to(Path(sys.prefix) / f"lib/{version}/site-packages")
        (place / "share/evenshard").symlink_to(Path(sys.prefix) / "share/evenshard")
        environment = {**bare.environment, "PYTHONPATH": str(SOURCES), "TMPDIR": str(temporary)}
        program = [str(place / "bin/python"), "-m", "evenshard.cli.main"]
        yield Account(program, environment, uid, Path("/"))


@pytest.mark.slow
def test_no_kernel_is_compiled_though_the_cache_is_read_only_and_there_is_no_home(account: Account) -> None:
    event = {"event": "view", "properties": {"distinct_id": "u", "time": 1_767_225_600_000, "$insert_id": "1"}}
    with account.folder("data") as folder, ClusterProcess(folder / "data", shards=1, account=account) as cluster:
        imported = cluster.run("import", "-", "--tenant", "acme", "--create-tenant", stdin=json.dumps(event).encode())
        assert (imported.exit_status, imported.document["accepted"]) == (0, 1), imported
        assert cluster.run("admin", "compact", "--tenant", "acme", "--wait").exit_status == 0
        answer = cluster.run("query", "segmentation", "--tenant", "acme", "--from", "2026-01-01", "--to", "2026-01-01")
        assert [line["overall"] for line in answer.document["series"]] == [1]
        for service in SERVICES:
            pid = cluster.pid(service)
            assert Path(f"/proc/{pid}").stat().st_uid == account.uid
            assert b"HOME=" not in Path(f"/proc/{pid}/environ").read_bytes()
            log = cluster.log(service)
            assert [line["kernels_compiled"] for line in log if line["event"] == "ready"] == [0], service
            assert [line for line in log if line["event"] == "kernel compiled after readiness"] == []
        assert cluster.stop() == 0
