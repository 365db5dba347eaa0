"""A real etcd for tests: its own data directory and ports, to be stopped, killed, started again and compacted."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc.aio

from evenshard.runtime.etcd_binary import EtcdBinary, find_etcd

READY_TIMEOUT_S: Final = 15.0
STOP_TIMEOUT_S: Final = 10.0


@dataclass
class EtcdProcess:
    """One etcd on ``folder``. ``arguments`` go to its command line."""

    folder: Path
    arguments: Sequence[str] = ()
    binary: EtcdBinary = field(default_factory=find_etcd)
    client_port: int = field(default_factory=lambda: free_port())
    peer_port: int = field(default_factory=lambda: free_port())
    health_port: int = field(default_factory=lambda: free_port())
    scheme: str = "http"
    """``https`` needs ``arguments`` that name the certificates."""
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.client_port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it serves."""
        self._spawn()
        give_up_s = time.monotonic() + READY_TIMEOUT_S
        while not self._healthy():
            if self._process is None or self._process.poll() is not None or time.monotonic() > give_up_s:
                raise RuntimeError(f"etcd does not serve: {(self.folder / 'etcd.log').read_text()[-2000:]}")
            time.sleep(0.05)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}/health", timeout=1.0) as answer:
                return b"true" in answer.read()
        except OSError:
            return False

    def _spawn(self) -> None:
        client, peer = f"{self.scheme}://{self.address}", f"http://127.0.0.1:{self.peer_port}"
        command = [str(self.binary.path), "--name=test", f"--data-dir={self.folder / 'etcd'}"]
        command += [f"--listen-client-urls={client}", f"--advertise-client-urls={client}"]
        command += [f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"]
        command += [f"--initial-cluster=test={peer}", f"--listen-metrics-urls=http://127.0.0.1:{self.health_port}"]
        command += self.arguments
        with (self.folder / "etcd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def crash(self) -> None:
        """Kills it; one whose version may lose consistency by that is ended instead, and this is said."""
        if self.binary.may_lose_consistency:
            print(f"etcd {self.binary.version} may lose consistency when killed: ended by SIGTERM")
            self._end(signal.SIGTERM)
        else:
            self._end(signal.SIGKILL)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """Nothing happens where it does not run."""
        if self._process is not None:
            self._end(signal.SIGTERM)

    async def compact(self, revision: int) -> None:
        """Forgets the history up to ``revision``, physically too."""
        async with grpc.aio.insecure_channel(self.address) as opened:
            channel: Any = opened
            await channel.unary_unary("/etcdserverpb.KV/Compact")(_varint_fields({1: revision, 2: 1}), timeout=5.0)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _varint_fields(values: dict[int, int]) -> bytes:
    """A protobuf message of integers, by field number (``CompactionRequest`` is not in our subset)."""
    out = bytearray()
    for number, value in values.items():
        out.append(number << 3)
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        out.append(value)
    return bytes(out)
