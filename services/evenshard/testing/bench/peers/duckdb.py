"""DuckDB in this process: an engine for ``PeerProcess``."""

import os
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from evenshard.testing.bench.peers.duckdb_sql import INSERT_FILE


class DuckDb:
    """DuckDB reads no Arrow files: ``INSERT FILE`` is a command of ours."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._connection = duckdb.connect(str(folder / "bench.duckdb"))
        self._connection.execute(f"SET threads = {os.cpu_count() or 1}")

    def run(self, sql: str) -> list[list[Any]]:
        if sql.startswith(INSERT_FILE):
            with pa.memory_map(sql.removeprefix(INSERT_FILE)) as source:
                self._connection.register("incoming", pa.ipc.open_stream(source).read_all())
                self._connection.execute("INSERT INTO events SELECT * FROM incoming")
                self._connection.unregister("incoming")
            return []
        return [list(row) for row in self._connection.execute(sql).fetchall()]

    def close(self) -> None:
        self._connection.close()
