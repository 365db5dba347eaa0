"""How long ``evenshard up`` takes until every service serves, the process's own start included."""

import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.sending import SHARDS
from evenshard.testing.processes import ClusterProcess

ROUNDS_DEFAULT: Final = 3


def start(options: Options) -> list[Figure]:
    """On an empty data directory each time."""
    rounds = [_round_s(options.folder) for _ in range(options.rounds or ROUNDS_DEFAULT)]
    detail = {"shards": SHARDS, "rounds": [round(each, 3) for each in rounds]}
    return [Figure("start", round(statistics.median(rounds), 3), "s", 0, detail=detail)]


def _round_s(folder: Path | None) -> float:
    place = Path(tempfile.mkdtemp(prefix="evenshard-bench-", dir=folder))
    try:
        cluster = ClusterProcess(place / "data", shards=SHARDS)
        started_s = time.perf_counter()
        with cluster:
            return time.perf_counter() - started_s
    finally:
        shutil.rmtree(place)
