"""What the catalog knows of a segment: enough to plan scans, dedupe and compaction without opening a file.

A tenant's segments belong to *ranges* of UTC days; two ranges of one tenant are equal or disjoint. A range holds one or
more *runs*, each sorted by placement hash and cut into segments; run 0 is the main run, the others hold what came late.
"""

import json
from dataclasses import asdict, dataclass, fields

from evenshard.events.hashing import SLOT_SHIFT
from evenshard.ids import TenantId

DAY_MS = 86_400_000
MAIN_RUN = 0
FOLDER = "segments"


def day_of(time_ms: int) -> int:
    """The UTC day, in days since the epoch, of a time."""
    return time_ms // DAY_MS


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """One segment. Days are UTC days since the epoch; every pair of bounds is inclusive."""

    id: int
    """Never used twice on a shard."""
    tenant: TenantId
    first_day: int
    """With ``last_day``: the range it belongs to."""
    last_day: int
    run: int
    """The run within the range; ``MAIN_RUN`` or a higher number for a run of late rows."""
    written_day: int
    """When it was written."""
    min_time_ms: int
    max_time_ms: int
    slot_first: int
    slot_last: int
    rows: int
    duplicates: int
    """Rows whose duplicate bit is set."""
    hot_rows: int
    """Rows whose hot bit is set."""
    bytes: int
    """Of all its files."""
    files: tuple[str, ...]
    """Names on the shard's disk: the Parquet file, then its filter."""
    footer_checksum: int
    """XXH64 of the Parquet file's footer: the metadata, its length and the magic."""
    deletions_seen: int = 0
    """All its rows were stored before any deletion with a higher seq, and none is left that one up to it hides. Records
    of before there were deletions lack it: 0, each deletion applies to them."""
    layer: str = ""
    """The layer all its rows are of; empty: none. Records without one lack it."""
    origin: str = ""
    """Of a layer that is being brought: which piece of it this is."""
    spread_rows: int | None = None
    """Rows that were taken for the overflow. None: it is not known of all, some were stored before that was noted."""

    @property
    def parquet(self) -> str:
        return self.files[0]

    @property
    def filter(self) -> str:
        return self.files[1]

    @property
    def has_duplicates(self) -> bool:
        return self.duplicates > 0

    @property
    def has_hot_rows(self) -> bool:
        return self.hot_rows > 0

    @property
    def hash_bounds(self) -> tuple[int, int]:
        """Of the placement hashes in its slots, inclusive."""
        return self.slot_first << SLOT_SHIFT, ((self.slot_last + 1) << SLOT_SHIFT) - 1

    @property
    def is_main(self) -> bool:
        return self.run == MAIN_RUN


def to_json(info: SegmentInfo) -> bytes:
    """As the catalog stores it."""
    record = asdict(info)
    for name in ("layer", "origin"):
        if not record[name]:
            del record[name]
    if info.spread_rows is None:
        del record["spread_rows"]
    return json.dumps(record, separators=(",", ":"), sort_keys=True).encode()


def from_json(data: bytes) -> SegmentInfo:
    """What ``to_json`` wrote; raises ``KeyError`` or ``ValueError`` for anything else."""
    record = json.loads(data)
    record["files"] = tuple(record["files"])
    record = {"deletions_seen": 0, "layer": "", "origin": "", "spread_rows": None, **record}
    return SegmentInfo(**{field.name: record[field.name] for field in fields(SegmentInfo)})


def file_names(segment_id: int) -> tuple[str, str]:
    """The Parquet file and the filter of a segment."""
    stem = f"{FOLDER}/{segment_id:010d}"
    return f"{stem}.parquet", f"{stem}.filter"
