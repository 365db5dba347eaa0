"""One compaction of a tenant: plan, read, merge, write, sync.

The caller tells the catalog, then removes the files replaced.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from evenshard.events.scan import DUPLICATE
from evenshard.ids import ShardId, TenantId
from evenshard.ports.disk import Disk
from evenshard.storage.compaction.inputs import Input, SegmentInput, TailInput, TailTable, count_days
from evenshard.storage.compaction.merge import merge_sorted, merged_schema, row_bytes
from evenshard.storage.compaction.output import RunWriter
from evenshard.storage.compaction.plan import SHARED_ROWS_MAX, Task, cut_days, plan, ranges_of
from evenshard.storage.compaction.settle import Settle, checked
from evenshard.storage.compaction.windows import WINDOW_BYTES, WINDOW_ROWS, cut_windows
from evenshard.storage.deletions import NO_DELETIONS, Deletions
from evenshard.storage.segment.format import SEGMENT_BYTES_MAX, SEGMENT_ROWS_MAX
from evenshard.storage.segment.info import DAY_MS, FOLDER, MAIN_RUN, SegmentInfo
from evenshard.storage.segment.loose_hashes import LooseHashes
from evenshard.storage.segment.order import only_chunk
from evenshard.storage.segment.reader import SegmentReader
from evenshard.storage.segment.value_keys import KEYS_MAX
from evenshard.storage.segment.writer import SegmentPlace, identities_in, with_identities, without_identities
from evenshard.storage.segment.written_keys import WrittenKeys


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of files and of memory; smaller ones in tests."""

    segment_rows: int = SEGMENT_ROWS_MAX
    window_rows: int = WINDOW_ROWS
    window_bytes: int = WINDOW_BYTES
    value_keys: int = KEYS_MAX
    """Of all segments that are written at once."""


_NO_SHARD = ShardId("")
_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction wrote. ``added`` are durable; ``removed`` are replaced by them, together with the tail rows."""

    added: tuple[SegmentInfo, ...]
    removed: tuple[int, ...]
    rows: int
    """Tail rows indexed."""
    duplicates_marked: int
    """Of these, with their duplicate bit set."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What every task of one compaction shares."""

    disk: Disk
    next_id: Callable[[], int]
    tenant: TenantId
    shard: ShardId
    now_day: int
    limits: Limits
    deletions: Deletions
    pace: Callable[[int], None]
    settle: Settle
    kept: WrittenKeys | None


def compact(
    disk: Disk,
    next_id: Callable[[], int],
    tenant: TenantId,
    tail: Iterable[pa.Table | TailTable],
    existing: Sequence[SegmentInfo],
    now_day: int,
    *,
    shard: ShardId = _NO_SHARD,
    limits: Limits = _LIMITS,
    deletions: Deletions = NO_DELETIONS,
    spared: Container[int] = (),
    tasks: Sequence[Task] | None = None,
    settle: Settle = checked,
    pace: Callable[[int], None] = lambda _: None,
    kept: WrittenKeys | None = None,
) -> Compaction:
    """Indexes ``tail``: tables of canonical columns plus ``placement_hash``, ``duplicate``, ``hot``, in log order; and
    ``identity_hash``, where it is known.

    ``existing`` are all live segments of ``tenant``; ``now_day`` is the UTC day it is. Without tail rows it merges what
    has become due. ``spared``: segments that are not read. ``tasks``: what to do instead of what is planned.
    ``settle``: what becomes of merged rows before they are written. Rows of segments that ``deletions`` hide are left
    out; the tail has none of them, and all its rows were stored before any later one. ``pace`` is told of the bytes
    written, every now and then, and may wait. ``kept`` gets the identity fields of the rows written.

    Raises ``DATA_DAMAGED`` and ``OSError``; what files are left behind then, the catalog does not name.
    """
    inputs = [item for each in tail if (item := _tail_input(tenant, each)) is not None]
    tail_days: dict[int, int] = {}
    for item in inputs:
        count_days(item.times(), tail_days)
    if tasks is None:
        tasks = plan(ranges_of(existing), tail_days, now_day, spared=spared)
    work = _Work(disk, next_id, tenant, shard, now_day, limits, deletions, pace, settle, kept)
    infos = {info.id: info for info in existing}
    runs: list[RunWriter] = []
    try:
        hidden = sum(_carry_out(work, task, [infos[number] for number in task.inputs], inputs, runs) for task in tasks)
        added = tuple(info for run in runs for info in run.finish())
        if added:
            disk.sync_directory(FOLDER)
    except BaseException:
        for run in runs:
            run.discard()
        raise
    rows = sum(item.table.num_rows for item in inputs)
    marked = sum(only_chunk(item.table.column(DUPLICATE)).true_count for item in inputs)
    removed = tuple(number for task in tasks for number in task.inputs)
    if sum(info.rows for info in added) + hidden != rows + sum(infos[number].rows for number in removed):
        raise AssertionError("a compaction wrote another number of rows than it read and left out")
    return Compaction(added, removed, rows, marked)


def _carry_out(
    work: _Work, task: Task, replaced: Sequence[SegmentInfo], tail: Sequence[TailInput], runs: list[RunWriter]
) -> int:
    """Merges window by window; ``runs`` gets the writers, so that the caller can finish or discard them. Returns how
    many rows were left out: hidden ones, and what ``settle`` dropped."""
    segments = [
        SegmentInput(SegmentReader(work.disk, info), work.deletions.hiding(info.deletions_seen)) for info in replaced
    ]
    own_tail = [part for item in tail if (part := item.of_days(task.first_day, task.last_day)) is not None]
    stored = [(item.schema, info.rows) for item, info in zip(segments, replaced, strict=True)]
    schema = merged_schema(stored, [item.table for item in own_tail])
    rows = sum(info.rows for info in replaced) + sum(item.table.num_rows for item in own_tail)
    pieces = _pieces(task, [*segments, *own_tail], rows)
    is_one_file = len(pieces) == 1 and rows <= work.limits.segment_rows and _are_small(segments, own_tail)
    loose: list[LooseHashes] | None = None
    if is_one_file and not all(item.is_ordered for item in own_tail):
        loose = [hashes for item in own_tail for hashes in item.loose]
        schema = without_identities(schema.empty_table()).schema
    else:  # where the row of each hash goes has to be known
        own_tail = [item.ordered() for item in own_tail]
    inputs: list[Input] = [*segments, *own_tail]
    writers = [
        RunWriter(
            work.disk,
            work.next_id,
            SegmentPlace(work.tenant, first, last, task.run, work.now_day, work.shard, work.deletions.last_seq),
            work.limits.segment_rows,
            work.limits.value_keys // len(pieces),
            loose=loose,
            kept=work.kept,
        )
        for first, last in pieces
    ]
    runs.extend(writers)
    weights = [item.weights() for item in inputs]
    dropped = 0
    limits = work.limits
    window_rows = max(1, min(limits.window_rows, limits.window_bytes // row_bytes(schema)))
    for first_hash, last_hash in cut_windows(weights, window_rows, limits.window_bytes):
        parts = [part for item in inputs if (part := item.slice(first_hash, last_hash)) is not None]
        if not parts:
            continue
        if loose is not None:
            loose += [hashes for part in parts for hashes in identities_in(part)]
        woven = merge_sorted(parts, schema)
        merged = work.settle(woven, work.tenant)
        dropped += woven.num_rows - merged.num_rows
        for (first, last), writer in zip(pieces, writers, strict=True):
            written = writer.bytes
            writer.append(merged if len(pieces) == 1 else _of_days(merged, first, last))
            work.pace(writer.bytes - written)
    for writer in writers:
        writer.finish()
    return sum(item.hidden for item in segments) + dropped


def _tail_input(tenant: TenantId, tail: pa.Table | TailTable) -> TailInput | None:
    """None: there are no rows."""
    if isinstance(tail, TailTable):
        return TailInput.of_tail(tail) if tail.table.num_rows else None
    return TailInput.of_table(with_identities(tenant, tail)) if tail.num_rows else None


def _are_small(segments: Sequence[SegmentInput], tail: Sequence[TailInput]) -> bool:
    """Whether all rows together are surely good for one file."""
    inputs: list[Input] = [*segments, *tail]
    return sum(int(item.weights().bytes.sum()) for item in inputs) <= SEGMENT_BYTES_MAX // 2


def _pieces(task: Task, inputs: Sequence[Input], rows: int) -> tuple[tuple[int, int], ...]:
    """The ranges a task lays its rows down in."""
    if task.run != MAIN_RUN or rows <= SHARED_ROWS_MAX or task.first_day == task.last_day:
        return ((task.first_day, task.last_day),)
    counts: dict[int, int] = {}
    for item in inputs:
        count_days(item.times(), counts)
    return cut_days(counts)


def _of_days(table: pa.Table, first_day: int, last_day: int) -> pa.Table:
    times = only_chunk(table.column("time")).to_numpy()
    wanted = (times >= first_day * DAY_MS) & (times < (last_day + 1) * DAY_MS)
    return without_identities(table).filter(pa.array(np.ascontiguousarray(wanted)))
