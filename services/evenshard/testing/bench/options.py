"""What a benchmark is told by its caller."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """None: each benchmark has its own default."""

    events: int | None = None
    rounds: int | None = None
    """Runs, or repetitions of a question; the median is printed."""
    seconds: float | None = None
    """How long ``ingest_sustained`` imports, and ``query_under_ingest`` asks."""
    folder: Path | None = None
    """Where the data goes, the peers' too; None: the temporary directory."""
    peers: bool = True
    """Measure the peers as well; they must be installed."""
