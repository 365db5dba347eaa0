"""Writes a segment anew as two: rows that are meant apart from the others. The catalog is the caller's to tell."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from evenshard.events.scan import Bools
from evenshard.storage.compaction.inputs import SegmentInput
from evenshard.storage.compaction.merge import merge_sorted, merged_schema, row_bytes
from evenshard.storage.compaction.output import RunWriter
from evenshard.storage.compaction.windows import WINDOW_BYTES, WINDOW_ROWS, cut_windows
from evenshard.storage.indexing import Pace, discarding, next_segment_id
from evenshard.storage.segment.format import SEGMENT_ROWS_MAX
from evenshard.storage.segment.info import FOLDER, SegmentInfo
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.segment.writer import SegmentPlace, without_identities
from evenshard.storage.state import State
from evenshard.storage.tenant import TenantRows


@dataclass(frozen=True, slots=True)
class Halves:
    """What became of a segment's rows, but for those that deletions hide, which are gone."""

    others: tuple[SegmentInfo, ...]
    """In the segment's place."""
    apart: tuple[SegmentInfo, ...]
    """In no layer yet; none where they are not kept."""
    apart_rows: int


def split_segment(
    state: State,
    rows: TenantRows,
    reader: SegmentReader,
    meant: Callable[[pa.RecordBatch], Bools],
    pace: Pace,
    *,
    keeps_apart: bool = True,
) -> Halves | None:
    """Files that are durable, and nobody's yet; None: no row is meant, and none was written. ``meant``: one a row of
    scanned rows, each of which it is asked about once. Under ``maintenance``. Raises ``OSError``, ``DATA_DAMAGED``."""
    segment, deletions = reader.info, rows.visible.deletions
    source = SegmentInput(reader, deletions.hiding(segment.deletions_seen))
    place = SegmentPlace(
        segment.tenant,
        segment.first_day,
        segment.last_day,
        segment.run,
        segment.written_day,
        state.shard,
        deletions.last_seq,
    )
    apart_rows = 0
    with discarding(state, rows):
        stays, goes = (
            RunWriter(state.disk, lambda: next_segment_id(state, rows), place, SEGMENT_ROWS_MAX) for _ in range(2)
        )
        schema = merged_schema([(source.schema, segment.rows)])
        rows_max = max(1, min(WINDOW_ROWS, WINDOW_BYTES // row_bytes(schema)))
        for first, last in cut_windows([source.weights()], rows_max, WINDOW_BYTES):
            part = source.slice(first, last)
            if part is None:
                continue
            merged = without_identities(merge_sorted([part], schema))  # they are not in the order of the rows
            (record,) = merged.combine_chunks().to_batches()
            mask = meant(record)
            apart_rows += int(np.count_nonzero(mask))
            if keeps_apart:
                goes.append(merged.filter(pa.array(mask)))
            stays.append(merged.filter(pa.array(~mask)))
            pace(0)
        apart = tuple(goes.finish())
        if not apart_rows:
            stays.discard()
            return None
        others = tuple(replace(each, layer=segment.layer, origin=segment.origin) for each in stays.finish())
        state.disk.sync_directory(FOLDER)
    gone_rows = 0 if keeps_apart else apart_rows
    if sum(each.rows for each in (*others, *apart)) + gone_rows + source.hidden != segment.rows:
        raise AssertionError("a segment was written anew with another number of rows than it has")
    pace(sum(each.bytes for each in (*others, *apart)))
    return Halves(others, apart, apart_rows)
