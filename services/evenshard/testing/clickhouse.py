"""ClickHouse in this process (chDB), as an oracle for ordered funnels: ``windowFunnel(W, 'strict_once')``, and with
``'strict_increase'``.

Part of the ``bench`` extra; ``available()`` says whether it is there.
"""

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def available() -> bool:
    """Whether chDB is installed."""
    return importlib.util.find_spec("chdb") is not None


def window_funnel_levels(
    users: Sequence[Sequence[tuple[int, int]]], steps: int, window_ms: int, *, strict_increase: bool = False
) -> list[int]:
    """For each user (rows of (time in ms, mask: bit s - 1 is set where step s matches)) the level it reaches."""
    import chdb

    flat = [(number, time, mask) for number, rows in enumerate(users) for time, mask in rows]
    columns = {
        name: pa.array(np.array([row[at] for row in flat], np.uint64)) for at, name in enumerate(("u", "t", "m"))
    }
    conditions = ", ".join(f"bitTest(m, {step})" for step in range(steps))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rows.parquet"
        pq.write_table(pa.table(columns), path)
        rows = f"file('{path}', Parquet, 'u UInt64, t UInt64, m UInt64')"
        modes = "'strict_once', 'strict_increase'" if strict_increase else "'strict_once'"
        level = f"windowFunnel({window_ms}, {modes})(t, {conditions})"
        text = chdb.query(f"SELECT u, {level} FROM {rows} GROUP BY u", "TabSeparated").data()
    levels = [0] * len(users)
    for line in str(text).splitlines():
        user, level = line.split("\t")
        levels[int(user)] = int(level)
    return levels
