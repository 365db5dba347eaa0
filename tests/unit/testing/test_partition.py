"""Who is cut off reaches nobody, and is not told; others go on."""

import os
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from evenshard.testing.partition import Partition, ports_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="whose a connection is stands in /proc")

TALKS = """
import socket, sys
host, port = sys.argv[1].split(":")
with socket.create_connection((host, int(port))) as talking:
    for line in sys.stdin:
        talking.sendall(line.encode())
        print(talking.recv(100).decode(), end="", flush=True)
"""


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(100):
            self.request.sendall(data)


@pytest.fixture
def door() -> Iterator[Partition]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Partition(f"127.0.0.1:{server.server_address[1]}") as opened:
            yield opened
        server.shutdown()


def connected(door: Partition) -> socket.socket:
    host, port = door.address.split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def echoed(talking: socket.socket) -> bytes:
    talking.sendall(b"word")
    return talking.recv(100)


def test_one_process_is_cut_off_and_others_are_not(door: Partition) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TALKS, door.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None

        def other_says(word: str) -> str:
            assert other.stdin is not None
            assert other.stdout is not None
            print(word, file=other.stdin, flush=True)
            return other.stdout.readline().strip()

        assert other_says("before") == "before"
        with connected(door) as mine:
            assert echoed(mine) == b"word"
            door.cut_off(os.getpid())
            mine.settimeout(0.3)
            with pytest.raises(TimeoutError):
                echoed(mine)
            with connected(door) as another:
                another.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    echoed(another)
            assert other_says("meanwhile") == "meanwhile"
            door.heal()
            mine.settimeout(5)
            assert mine.recv(100) == b""  # what was lost stays lost: the connection has ended
        with connected(door) as again:
            assert echoed(again) == b"word"
        other.stdin.close()


def test_a_process_that_has_ended_has_no_ports() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert ports_of([ended.pid]) == frozenset()
