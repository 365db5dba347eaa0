"""ClickHouse in this process (chDB): an engine for ``PeerProcess``."""

import json
import os
from pathlib import Path
from typing import Any

from chdb.session import Session


class ClickHouse:
    """A thread a core, no cache of what filters found; everything else as it comes."""

    def __init__(self, folder: Path) -> None:
        self._session = Session(str(folder))
        self.run(f"SET max_threads = {os.cpu_count() or 1}")
        self.run("SET optimize_move_to_prewhere_if_final = 1")
        self.run("SET use_query_condition_cache = 0")
        self.run("CREATE DATABASE IF NOT EXISTS bench")
        self.run("USE bench")

    def run(self, sql: str) -> list[list[Any]]:
        text = str(self._session.query(sql, "JSONCompact"))
        return json.loads(text)["data"] if text.startswith("{") else []

    def close(self) -> None:
        self._session.close()
