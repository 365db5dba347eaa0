"""Writes one segment anew without its hidden rows: same range, same run, same age, nothing merged."""

from collections.abc import Callable
from dataclasses import replace

from evenshard.ids import ShardId
from evenshard.ports.disk import Disk
from evenshard.storage.compaction.compact import Limits
from evenshard.storage.compaction.inputs import SegmentInput
from evenshard.storage.compaction.merge import merge_sorted, merged_schema, row_bytes
from evenshard.storage.compaction.output import RunWriter
from evenshard.storage.compaction.windows import cut_windows
from evenshard.storage.deletions import Hiding
from evenshard.storage.segment.info import FOLDER, SegmentInfo
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.segment.writer import SegmentPlace


def without_hidden(
    disk: Disk,
    next_id: Callable[[], int],
    reader: SegmentReader,
    hiding: Hiding,
    *,
    deletions_seen: int,
    shard: ShardId,
    limits: Limits,
) -> tuple[SegmentInfo, ...]:
    """What takes its place, durable; nothing where every row is hidden. Raises ``DATA_DAMAGED`` and ``OSError``."""
    info = reader.info
    segment = SegmentInput(reader, hiding)
    place = SegmentPlace(info.tenant, info.first_day, info.last_day, info.run, info.written_day, shard, deletions_seen)
    writer = RunWriter(disk, next_id, place, limits.segment_rows, limits.value_keys)
    schema = merged_schema([(segment.schema, info.rows)])
    rows_max = max(1, min(limits.window_rows, limits.window_bytes // row_bytes(schema)))
    try:
        for first, last in cut_windows([segment.weights()], rows_max, limits.window_bytes):
            part = segment.slice(first, last)
            if part is not None:
                writer.append(merge_sorted([part], schema))
        written = tuple(replace(each, layer=info.layer, origin=info.origin) for each in writer.finish())
        if written:
            disk.sync_directory(FOLDER)
    except BaseException:
        writer.discard()
        raise
    if sum(new.rows for new in written) + segment.hidden != info.rows:
        raise AssertionError("a purge wrote another number of rows than it read and left out")
    return written
