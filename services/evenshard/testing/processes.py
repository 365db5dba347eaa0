"""A real cluster for tests: `evenshard up` in a directory of its own, its commands, and ways to hurt its processes."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evenshard.client.loop import run_blocking
from evenshard.ids import ShardId
from evenshard.runtime.cluster_plan import ETCD_NAME
from evenshard.runtime.cluster_status import fetch_status
from evenshard.storage.log.reader import read_log_file
from evenshard.testing.account import Account

PORTS_NEEDED = 16
BASE_PORTS = range(20_000, 32_000)
PORTS_OF_A_PROCESS = 200
READY_TIMEOUT_S = 180.0
ENDED_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 45.0
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def free_base_port(preferred: int | None = None) -> int:
    """A port that begins a run of free ones, for ``--base-port``; the preferred one if it does.

    Looked for from a place of this process's own: what runs beside it (tests run two at a time) looks elsewhere first,
    or both would find the same ones free. Below the ports that the system gives to outgoing connections.
    """
    spans = len(BASE_PORTS) // PORTS_OF_A_PROCESS
    mine = os.getpid() % spans * PORTS_OF_A_PROCESS
    for base in [*([] if preferred is None else [preferred]), *BASE_PORTS[mine:], *BASE_PORTS[:mine]]:
        try:
            for port in range(base, base + PORTS_NEEDED):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        result: int = base
        return result
    raise RuntimeError("no run of free ports")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command answered: its exit status, the document it printed, and stderr."""

    exit_status: int
    document: Any
    stderr: str


@contextlib.contextmanager
def _end_held_back() -> Iterator[None]:
    """A signal that ends this process waits: what came while a child is made would leave it to nobody."""
    if threading.current_thread() is not threading.main_thread():  # no other one is interrupted
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for each in came:
            signal.raise_signal(each)


@dataclass
class ClusterProcess:
    """Runs ``evenshard up`` on ``data_dir``; a context manager that stops what it started."""

    data_dir: Path
    shards: int = 2
    routers: int = 1
    ready_timeout_s: float = READY_TIMEOUT_S
    gateways: int = 1
    settings: Sequence[str] = ()
    has_metrics: bool = False
    """Whether its services tell their metrics."""
    base_port: int = field(default_factory=free_base_port)
    account: Account = field(default_factory=Account)
    ready: dict[str, Any] = field(default_factory=dict)
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def router(self) -> str:
        return f"127.0.0.1:{self.base_port}"

    @property
    def gateway(self) -> str:
        return f"127.0.0.1:{self.base_port + 1}"

    @property
    def _up_log_file(self) -> Path:
        return self.data_dir.parent / f"{self.data_dir.name}.up.log"

    def __enter__(self) -> "ClusterProcess":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when all services serve; raises with what ``up`` said if they do not."""
        command = [*self.account.evenshard, "up", "--json", "--data-dir", str(self.data_dir)]
        command += ["--shards", str(self.shards), "--routers", str(self.routers), "--gateways", str(self.gateways)]
        command += ["--base-port", str(self.base_port), "--timeout", f"{self.ready_timeout_s:g}s"]
        if self.has_metrics:
            command += ["--metrics-port", str(self.base_port + PORTS_NEEDED // 2)]
        for setting in self.settings:
            command += ["--set", setting]
        with self._up_log_file.open("ab") as stderr, _end_held_back():
            self._process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                **self.account.options(),
            )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        deadline = time.monotonic() + self.ready_timeout_s + ENDED_TIMEOUT_S
        said = b""
        while b"\n" not in said:
            said += self._process.stdout.read() or b""
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill_all()
                raise RuntimeError(f"up did not become ready: {said.decode()} {self.up_log()[-4000:]}")
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

    def up_log(self) -> str:
        """What ``up`` has said to people, in all its runs here."""
        return self._up_log_file.read_text()

    def log(self, name: str) -> list[dict[str, Any]]:
        """The lines a service has logged."""
        lines = (self.data_dir / "logs" / f"{name}.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def log_files(self, shard: str) -> list[Path]:
        """A shard's commit log, oldest file first."""
        return sorted((self.data_dir / shard / "log").glob("*.log"))

    def undrained(self) -> list[str]:
        """After ``stop``: every service that did not drain as promised, and every shard whose log has no clean end."""
        found = [line for line in self.up_log().splitlines() if "did not end in time" in line]
        names = [path.stem for path in sorted((self.data_dir / "logs").glob("*.log")) if path.stem != ETCD_NAME]
        for name in names:
            last = self.log(name)[-1]
            if last["event"] != "stopped":
                found.append(f"the last words of {name}: {last}")
            if name.startswith("shard-"):
                path = self.log_files(name)[-1]
                end = read_log_file(path.read_bytes(), path.name, int(path.stem), ShardId(name), last=True)
                if not end.clean or end.torn:
                    found.append(f"{name}: {path.name} has no clean end")
        return found

    def run(self, *arguments: str, stdin: bytes | None = None, timeout_s: float = 120.0) -> CommandResult:
        """Runs ``evenshard ARGUMENTS --json`` against this cluster."""
        done = subprocess.run(
            [*self.account.evenshard, *arguments, "--json"],
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            **self.account.options(EVENSHARD_ROUTER=self.router, EVENSHARD_GATEWAY=self.gateway),
        )
        text = done.stdout.decode()
        try:
            document = json.loads(text)
        except ValueError:
            document = text
        return CommandResult(done.returncode, document, done.stderr.decode())

    def status(self) -> dict[str, Any]:
        """The document of ``evenshard status``, without the start of a command."""
        return run_blocking(fetch_status(self.router))

    def services(self) -> dict[str, dict[str, Any]]:
        """The services that ``status`` tells of, by name."""
        return {service["name"]: service for service in self.status()["services"]}

    def pid(self, name: str) -> int:
        """The process id of a service, as ``status`` tells it."""
        return int(self.services()[name]["pid"])

    def signal(self, name: str, number: signal.Signals) -> None:
        os.kill(self.pid(name), number)

    def wait_healthy(self, restarts: Mapping[str, int] | None = None, timeout_s: float = 60.0) -> None:
        """Returns when every service serves, those of ``restarts`` after so many starts more than the first."""
        deadline = time.monotonic() + timeout_s
        while True:
            status = self.status()
            found = {service["name"]: service["restarts"] for service in status["services"]}
            if status["healthy"] and all(found.get(name) == number for name, number in (restarts or {}).items()):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not healthy: {status}")
            time.sleep(0.05)
