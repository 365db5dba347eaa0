"""A shard with much to replay says so while it does, to ``status`` and to whoever started it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from evenshard.runtime.disk import LocalDisk
from evenshard.testing.bench.recovery import write_log
from evenshard.testing.processes import free_base_port

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(400)]

EVENTS = 6_000_000
READY_S_MAX = 120.0


def test_a_long_replay_is_seen_in_status_and_told_by_up(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path / "data" / "shard-0")
    write_log(disk, EVENTS)
    disk.close()
    port = free_base_port()
    command = [sys.executable, "-m", "evenshard.cli.main"]
    errors = tmp_path / "errors"
    with errors.open("wb") as stderr:
        up = subprocess.Popen(
            [*command, "up", "--json", "--shards", "1", "--data-dir", str(tmp_path / "data"), "--base-port", str(port)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        assert up.stdout is not None
        os.set_blocking(up.stdout.fileno(), False)
        said, seen, deadline_s = b"", list[tuple[int, str, str]](), time.monotonic() + READY_S_MAX
        while b"\n" not in said and time.monotonic() < deadline_s:
            asked = [*command, "status", "--json", "--router", f"127.0.0.1:{port}"]
            answer = subprocess.run(asked, capture_output=True, timeout=60)
            for service in json.loads(answer.stdout)["services"]:
                if service["name"] == "shard-0":
                    seen.append((answer.returncode, service["status"], service["reason"] or ""))
            said += up.stdout.read() or b""
        print(seen)
        assert json.loads(said)["status"] == "ready"
        assert any(
            (code, status) == (3, "NOT_SERVING") and reason.startswith("replaying log ")
            for code, status, reason in seen
        )
        assert "shard-0: replaying log " in errors.read_text()
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(60)
