"""Which rows a repair is about: those of one hot key, as they are stored. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evenshard.events.hashing import hash_of
from evenshard.events.reassigning import new_ids
from evenshard.events.scan import HOT, Bools
from evenshard.hotkeys.records import is_record
from evenshard.storage.segment.info import DAY_MS, SegmentInfo


@dataclass(frozen=True, slots=True)
class KeyRows:
    """Rows of one distinct_id on some UTC days; audit events, which lie among them, are not meant."""

    distinct_id: str
    days: frozenset[int]
    """Days since the epoch; at least one."""
    rewritten_only: bool = False
    """Only those that were stored after the key had become hot."""
    distinct_id_from: str = ""
    """Only those that get another distinct_id out of this property; empty: all."""
    refused: frozenset[str] = frozenset()
    strict: bool = False

    @property
    def start_ms(self) -> int:
        return min(self.days) * DAY_MS

    @property
    def end_ms(self) -> int:
        """Exclusive."""
        return (max(self.days) + 1) * DAY_MS

    @property
    def columns(self) -> Sequence[str]:
        """What tells most rows that are not meant."""
        return ("event", "distinct_id", "time", HOT)

    def may_be_in(self, info: SegmentInfo) -> bool:
        """Whether a segment may have such rows: hot ones may lie at any placement hash."""
        if info.max_time_ms < self.start_ms or info.min_time_ms >= self.end_ms:
            return False
        first, last = info.hash_bounds
        return info.has_hot_rows or first <= hash_of(self.distinct_id) <= last

    def key_rows(self, record: pa.RecordBatch) -> Bools:
        """One a row, by ``columns`` alone; with properties fewer may be meant."""
        ids = record.column("distinct_id")
        if pa.types.is_dictionary(ids.type):
            named = pc.equal(ids.dictionary, self.distinct_id).to_numpy(zero_copy_only=False)
            wanted: Bools = named[ids.indices.to_numpy()] if len(named) else np.zeros(len(ids), np.bool_)
        else:
            wanted = pc.equal(ids, self.distinct_id).to_numpy(zero_copy_only=False)
        if not wanted.any():
            return wanted
        days = record.column("time").to_numpy() // DAY_MS
        wanted = wanted & np.isin(days, np.fromiter(self.days, np.int64, len(self.days)))
        wanted &= ~is_record(record.column("event"))
        if self.rewritten_only:
            wanted &= record.column(HOT).to_numpy(zero_copy_only=False)
        return wanted

    def rows(self, record: pa.RecordBatch) -> Bools:
        """One a row of canonical or scanned rows with ``hot``."""
        wanted = self.key_rows(record)
        if self.distinct_id_from and wanted.any():
            places = np.flatnonzero(wanted)
            ids = new_ids(
                record.take(pa.array(places)), self.distinct_id_from, refused=self.refused, strict=self.strict
            )
            wanted[places] = ids.is_valid().to_numpy(zero_copy_only=False)
        return wanted


def key_rows(
    distinct_id: str,
    days: Collection[int],
    *,
    rewritten_only: bool = False,
    distinct_id_from: str = "",
    refused: Collection[str] = (),
    strict: bool = False,
) -> KeyRows:
    return KeyRows(distinct_id, frozenset(days), rewritten_only, distinct_id_from, frozenset(refused), strict)
