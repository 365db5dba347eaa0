"""A real cluster for tests: `evenshard up` in a directory of its own, its commands, and ways to hurt its processes."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PORTS_NEEDED = 16
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 45.0


def free_base_port(preferred: int | None = None) -> int:
    """A port that begins a run of free ones, for ``--base-port``; the preferred one if it does."""
    somewhere = range(20_000 + os.getpid() % 1000 * 20, 60_000, PORTS_NEEDED)
    for base in [*([] if preferred is None else [preferred]), *somewhere]:
        try:
            for port in range(base, base + PORTS_NEEDED):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise RuntimeError("no run of free ports")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command answered: its exit status, the document it printed, and stderr."""

    exit_status: int
    document: Any
    stderr: str


@dataclass
class ClusterProcess:
    """Runs ``evenshard up`` on ``data_dir``; a context manager that stops what it started."""

    data_dir: Path
    shards: int = 2
    settings: Sequence[str] = ()
    base_port: int = field(default_factory=free_base_port)
    ready: dict[str, Any] = field(default_factory=dict)
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def router(self) -> str:
        return f"127.0.0.1:{self.base_port}"

    @property
    def gateway(self) -> str:
        return f"127.0.0.1:{self.base_port + 1}"

    def __enter__(self) -> "ClusterProcess":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when all services serve; raises with what ``up`` said if they do not."""
        command = [sys.executable, "-m", "evenshard.cli.main", "up", "--json", "--data-dir", str(self.data_dir)]
        command += ["--shards", str(self.shards), "--base-port", str(self.base_port)]
        for setting in self.settings:
            command += ["--set", setting]
        log = self.data_dir.parent / f"{self.data_dir.name}.up.log"
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True, stdin=subprocess.DEVNULL
            )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        deadline = time.monotonic() + READY_TIMEOUT_S
        said = b""
        while b"\n" not in said:
            said += self._process.stdout.read() or b""
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill_all()
                raise RuntimeError(f"up did not become ready: {said.decode()} {log.read_text()[-4000:]}")
            time.sleep(0.02)
        self.ready = json.loads(said.split(b"\n")[0])
        if self.ready.get("status") != "ready":
            raise RuntimeError(f"up said {self.ready}")

    def stop(self) -> int:
        """SIGTERM; returns the exit status. Kills everything if that takes longer than promised."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        finally:
            self.kill_all()

    def kill_all(self) -> None:
        """kill -9 of ``up`` and everything it started, at once."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):  # all gone already
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._process = None

    def run(self, *arguments: str, stdin: bytes | None = None, timeout_s: float = 120.0) -> CommandResult:
        """Runs ``evenshard ARGUMENTS --json`` against this cluster."""
        done = subprocess.run(
            [sys.executable, "-m", "evenshard.cli.main", *arguments, "--json"],
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            env={**os.environ, "EVENSHARD_ROUTER": self.router, "EVENSHARD_GATEWAY": self.gateway},
        )
        text = done.stdout.decode()
        try:
            document = json.loads(text)
        except ValueError:
            document = text
        return CommandResult(done.returncode, document, done.stderr.decode())

    def pid(self, name: str) -> int:
        """The process id of a service, as ``status`` tells it."""
        for service in self.run("status").document["services"]:
            if service["name"] == name:
                return int(service["pid"])
        raise LookupError(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        os.kill(self.pid(name), number)

    def wait_healthy(self, timeout_s: float = 30.0) -> None:
        """Returns when every service serves."""
        deadline = time.monotonic() + timeout_s
        while True:
            answer = self.run("status")
            if answer.exit_status == 0:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not healthy: {answer.document}")
            time.sleep(0.1)
