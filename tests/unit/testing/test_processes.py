"""A cluster of real processes belongs to who starts it, from the first moment on."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from evenshard.testing import processes
from evenshard.testing.processes import ClusterProcess


def test_who_is_interrupted_while_it_starts_a_cluster_can_still_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children: list[subprocess.Popen[bytes]] = []
    make = subprocess.Popen

    def interrupted(command: Any, **options: Any) -> "subprocess.Popen[bytes]":
        children.append(make(["sleep", "60"], **options))
        signal.raise_signal(signal.SIGINT)
        return children[0]

    monkeypatch.setattr(processes.subprocess, "Popen", interrupted)
    before = signal.getsignal(signal.SIGINT)
    cluster = ClusterProcess(tmp_path / "data", base_port=20_000)
    with pytest.raises(KeyboardInterrupt):
        cluster.start()
    assert signal.getsignal(signal.SIGINT) is before
    cluster.kill_all()
    assert [child.returncode for child in children] == [-signal.SIGKILL]
