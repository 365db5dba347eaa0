"""A TCP proxy that loses what it is told to lose: requests, replies, connections."""

import asyncio
import contextlib
from typing import Final, Literal

CLOSE_TIMEOUT_S: Final = 5.0
Loses = Literal["nothing", "requests", "replies", "connections"]


class TcpProxy:
    """Passes bytes between its own port and ``target`` (``host:port``).

    ``loses = "requests"`` swallows what clients send, ``"replies"`` what comes back, both without closing anything;
    ``"connections"`` refuses new ones. ``cut`` ends those in progress.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self.loses: Loses = "nothing"
        self.address = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"

    def cut(self, then: Loses = "nothing") -> None:
        """Every connection ends at once; later ones lose ``then``."""
        self.loses = then
        for writer in list(self._writers):
            writer.transport.abort()

    async def close(self) -> None:
        self.cut("connections")
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        if self._connections:
            await asyncio.wait(self._connections, timeout=CLOSE_TIMEOUT_S)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.loses == "connections":
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        self._writers.add(writer)
        there: asyncio.StreamWriter | None = None
        try:
            host, port = self._target.split(":")
            back, there = await asyncio.open_connection(host, int(port))
            self._writers.add(there)
            await asyncio.gather(self._pass(reader, there, "requests"), self._pass(back, writer, "replies"))
        except OSError:
            pass  # an end is gone, so the other one goes too: the client is told by that
        finally:
            for each in (writer, there):
                if each is not None:
                    self._writers.discard(each)
                    each.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, what: Loses) -> None:
        while data := await source.read(65_536):
            if self.loses != what:
                sink.write(data)
                await sink.drain()
        with contextlib.suppress(OSError):
            sink.write_eof()
