"""``scripts/bench.sh NAME [--events N] [--rounds N] [--seconds S] [--dir D] [--no-peers] [--json]``: prints figures."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from evenshard.testing.bench.compaction import compaction, late_duplicates, reimport
from evenshard.testing.bench.compare import AnswersDifferError
from evenshard.testing.bench.duplicate_bit import scan_duplicate_bit
from evenshard.testing.bench.figure import Figure
from evenshard.testing.bench.flows import flows, flows_cold
from evenshard.testing.bench.funnel import funnel, funnel_cold
from evenshard.testing.bench.hot_read import hot_read
from evenshard.testing.bench.hotkey_count import hotkey_count
from evenshard.testing.bench.ingest import (
    ingest_arrow,
    ingest_arrow_counting,
    ingest_ndjson,
    ingest_ndjson_dirty,
    reimport_cluster,
)
from evenshard.testing.bench.move import move
from evenshard.testing.bench.options import Options
from evenshard.testing.bench.peers.process import PeerError
from evenshard.testing.bench.plan import plan
from evenshard.testing.bench.recovery import recovery
from evenshard.testing.bench.retention import retention, retention_cold
from evenshard.testing.bench.rows import ingest_rows
from evenshard.testing.bench.segmentation import segmentation, segmentation_cold
from evenshard.testing.bench.start import start
from evenshard.testing.bench.storage import storage_bytes
from evenshard.testing.bench.sustained import BacklogGrowsError, ingest_sustained
from evenshard.testing.bench.under_ingest import EventsMissedError, query_under_ingest

BENCHMARKS: Final[dict[str, Callable[[Options], list[Figure]]]] = {
    "compaction": compaction,
    "flows": flows,
    "flows_cold": flows_cold,
    "funnel": funnel,
    "funnel_cold": funnel_cold,
    "hot_read": hot_read,
    "hotkey_count": hotkey_count,
    "ingest_arrow": ingest_arrow,
    "ingest_arrow_counting": ingest_arrow_counting,
    "ingest_ndjson": ingest_ndjson,
    "ingest_ndjson_dirty": ingest_ndjson_dirty,
    "ingest_rows": ingest_rows,
    "ingest_sustained": ingest_sustained,
    "late_duplicates": late_duplicates,
    "move": move,
    "plan": plan,
    "query_under_ingest": query_under_ingest,
    "recovery": recovery,
    "reimport": reimport,
    "reimport_cluster": reimport_cluster,
    "retention": retention,
    "retention_cold": retention_cold,
    "scan_duplicate_bit": scan_duplicate_bit,
    "segmentation": segmentation,
    "segmentation_cold": segmentation_cold,
    "start": start,
    "storage_bytes": storage_bytes,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description="Measures evenshard on this machine.")
    parser.add_argument("name", choices=sorted(BENCHMARKS))
    parser.add_argument("--events", type=_positive, help="how many; each benchmark has its own default")
    parser.add_argument("--rounds", type=_positive, help="runs, or repetitions of a question; the median is printed")
    parser.add_argument(
        "--seconds", type=_positive, help="how long ingest_sustained imports and query_under_ingest asks; default 60"
    )
    parser.add_argument("--dir", type=Path, help="where the data goes; default: the temporary directory")
    parser.add_argument("--no-peers", action="store_true", help="measure evenshard alone")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    chosen = parser.parse_args()
    options = Options(chosen.events, chosen.rounds, chosen.seconds, chosen.dir, not chosen.no_peers)
    try:
        figures = BENCHMARKS[chosen.name](options)
    except (AnswersDifferError, BacklogGrowsError, EventsMissedError, PeerError) as error:
        print(f"{chosen.name}: {error}", file=sys.stderr)
        return 1
    for figure in figures:
        print(figure.to_json() if chosen.json else figure.to_text(), flush=True)
    return 0


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
