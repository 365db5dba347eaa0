"""A peer's engine in a child process: its memory, threads and crashes are its own. SQL goes in, rows come out."""

import importlib.util
import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from evenshard.testing.bench.compare import Timed

EngineName = Literal["clickhouse", "duckdb"]

ANSWER_TIMEOUT_S: Final = 900.0
STOP_TIMEOUT_S: Final = 60.0
_PACKAGES: Final[dict[EngineName, str]] = {"clickhouse": "chdb", "duckdb": "duckdb"}


class PeerError(Exception):
    """The peer refused a statement, died, did not answer, or is not installed."""


class Engine(Protocol):
    """What runs in the child."""

    def run(self, sql: str) -> list[list[Any]]:
        """One statement; the rows it answers with, none for a command."""

    def close(self) -> None: ...


def is_installed(engine: EngineName) -> bool:
    return importlib.util.find_spec(_PACKAGES[engine]) is not None


class PeerProcess:
    """An engine over ``folder``, which it may find filled by an earlier one; a context manager."""

    def __init__(self, engine: EngineName, folder: Path) -> None:
        if not is_installed(engine):
            raise PeerError(f"{_PACKAGES[engine]} is not installed: scripts/setup.sh --bench")
        self._engine = engine
        self._folder = folder

    def __enter__(self) -> "PeerProcess":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def restart(self) -> None:
        """A new process over the same data: nothing is warm but the operating system's page cache."""
        self._stop()
        self._start()

    def run(self, sql: str) -> list[list[Any]]:
        """Raises ``PeerError``."""
        return self.timed(sql).answer  # type: ignore[return-value]

    def timed(self, sql: str, form: str = "") -> Timed:
        """The rows, and the seconds it took in the child. Raises ``PeerError``."""
        self._connection.send(sql)
        if not self._connection.poll(ANSWER_TIMEOUT_S):
            raise PeerError(f"{self._engine} did not answer within {ANSWER_TIMEOUT_S} s: {sql}")
        try:
            failure, rows, seconds = self._connection.recv()
        except EOFError as error:
            raise PeerError(f"{self._engine} died of {sql}") from error
        if failure:
            raise PeerError(f"{self._engine}: {failure}: {sql}")
        return Timed(rows, seconds, form)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._engine, self._folder), daemon=True)
        self._process.start()
        theirs.close()

    def _stop(self) -> None:
        self._connection.close()
        self._process.join(STOP_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(connection: Connection, name: EngineName, folder: Path) -> None:
    """The child: answers until its parent hangs up."""
    engine = _open(name, folder)
    try:
        while True:
            try:
                sql = connection.recv()
            except EOFError:
                return
            connection.send(_answer(engine, sql))
    finally:
        engine.close()


def _answer(engine: Engine, sql: str) -> tuple[str, list[list[Any]], float]:
    started_s = time.perf_counter()
    try:
        rows = engine.run(sql)
    except Exception as error:  # noqa: BLE001 - told to the parent, which raises
        return f"{type(error).__name__}: {error}", [], 0.0
    return "", rows, time.perf_counter() - started_s


def _open(name: EngineName, folder: Path) -> Engine:
    if name == "clickhouse":
        from evenshard.testing.bench.peers.clickhouse import ClickHouse

        return ClickHouse(folder)
    from evenshard.testing.bench.peers.duckdb import DuckDb

    return DuckDb(folder)
