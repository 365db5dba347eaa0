"""A shard on a real file system that is full, and then read-only: refused with what is wrong, nothing lost."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

PROGRAM = Path(__file__).with_name("small_disk_program.py")


def _may_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    try:
        return subprocess.run(["unshare", "-m", "true"], capture_output=True, timeout=10).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not _may_mount(), reason="no mount namespace here: NOBODY TRIED a full or read-only file system")
@pytest.mark.slow
def test_a_full_disk_refuses_and_recovers_by_itself_and_a_read_only_one_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "-m", sys.executable, str(PROGRAM), str(tmp_path)],
        capture_output=True,
        timeout=220,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
    )
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    happened = json.loads(done.stdout)
    print(json.dumps(happened, indent=1))
    assert happened["before"] == [500, []]
    accepted, refused = happened["full"]
    assert accepted == 0
    assert all("DISK_FULL" in each for each in refused)
    assert refused
    assert happened["read while full"]
    assert happened["compaction while full"]["error"]["code"] == "DISK_FULL"
    assert happened["read after that"]
    assert happened["space again"] == [500, []]
    assert happened["all"]
    assert (happened["compaction"], happened["status"]) == (0, 0)
    status, error = happened["read-only"]
    assert (status, error["code"]) == (2, "USAGE")
    assert "shard-0" in error["message"]
    assert "cannot be written" in error["message"]
    assert "make it writable" in error["hint"]
    assert happened["again"]
