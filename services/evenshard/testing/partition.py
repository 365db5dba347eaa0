"""A door in front of an etcd, from which single processes can be cut off: what they send, and what is sent to them, is
lost without a word, as on a network that is parted. Linux only: whose a connection is stands in ``/proc``.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

START_TIMEOUT_S: Final = 10.0
PIECE_BYTES: Final = 65_536
_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LOCAL, _INODE = 1, 9
"""Columns of these tables."""


@dataclass(eq=False, slots=True)
class _Passage:
    """One connection: the client's port, and both writers."""

    port: int
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    is_cut: bool = False

    def end(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Partition:
    """A context manager; a thread of its own passes bytes between ``address`` and ``target`` (``host:port``)."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="partition", daemon=True)
        self._server: asyncio.Server | None = None
        self._passages: set[_Passage] = set()
        self._cut: frozenset[int] = frozenset()
        self.address = ""

    def __enter__(self) -> "Partition":
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(START_TIMEOUT_S)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(START_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_TIMEOUT_S)
        self._loop.close()

    def cut_off(self, *pids: int) -> None:
        """From now on these processes reach nobody behind the door, and nobody tells them so."""
        asyncio.run_coroutine_threadsafe(self._cut_off(frozenset(pids)), self._loop).result(START_TIMEOUT_S)

    def heal(self) -> None:
        """Nobody is cut off any more; what was lost stays lost: those connections end."""
        self.cut_off()

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for passage in list(self._passages):
            passage.end()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=START_TIMEOUT_S)

    async def _cut_off(self, pids: frozenset[int]) -> None:
        self._cut = pids
        theirs = ports_of(pids)
        for passage in list(self._passages):
            if passage.port in theirs:
                passage.is_cut = True
            elif passage.is_cut:
                passage.end()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passage = _Passage(int(writer.get_extra_info("peername")[1]), [writer])
        self._passages.add(passage)
        passage.is_cut = bool(self._cut) and passage.port in ports_of(self._cut)
        try:
            host, port = self._target.split(":")
            back, there = await asyncio.open_connection(host, int(port))
            passage.writers.append(there)
            await asyncio.gather(self._pass(reader, there, passage), self._pass(back, writer, passage))
        except OSError:
            pass  # an end is gone, so the other one goes too: the client is told by that
        finally:
            self._passages.discard(passage)
            passage.end()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, passage: _Passage) -> None:
        while data := await source.read(PIECE_BYTES):
            if not passage.is_cut:
                sink.write(data)
                await sink.drain()
        with contextlib.suppress(OSError):
            sink.write_eof()


def ports_of(pids: Collection[int]) -> frozenset[int]:
    """The local ports of all TCP connections that these processes have."""
    inodes = {inode for pid in pids for inode in _sockets_of(pid)}
    found = set()
    for table in _TABLES:
        for line in table.read_text().splitlines()[1:] if table.exists() else []:
            columns = line.split()
            if columns[_INODE] in inodes:
                found.add(int(columns[_LOCAL].rpartition(":")[2], 16))
    return frozenset(found)


def _sockets_of(pid: int) -> list[str]:
    """The inodes of a process's sockets."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended: it has none
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                target = os.readlink(f"/proc/{pid}/fd/{name}")
                if target.startswith("socket:["):
                    found.append(target[8:-1])
    return found
