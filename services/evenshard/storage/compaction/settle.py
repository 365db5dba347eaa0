"""What becomes of merged rows of which more than one, or none, is the original of its event. Pure.

Usually each event has one original among all rows of its range, and anything else is a defect. Where rows were lost, or
came back, it need not have: the earliest original stays one; where there is none, the earliest copy becomes it.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from evenshard.events.hashing import string_buffers
from evenshard.events.scan import DUPLICATE
from evenshard.ids import TenantId
from evenshard.kernels import kernel, view
from evenshard.storage.compaction.merge import check_originals
from evenshard.storage.segment.order import event_ranks, only_chunk, same_event
from evenshard.storage.segment.writer import without_identities

Settle = Callable[[pa.Table, TenantId], pa.Table]
"""Of what ``merge_sorted`` gives; equal rows stand in the order in which they were stored."""


def checked(table: pa.Table, tenant: TenantId) -> pa.Table:
    """As it is. Raises ``DATA_DAMAGED`` where an event has two originals."""
    check_originals(table, tenant)
    return table


def as_it_is(table: pa.Table, tenant: TenantId) -> pa.Table:
    """Unchecked: for rows that replace nothing, so that no evidence is lost."""
    del tenant
    return table


def with_one_original(table: pa.Table, tenant: TenantId) -> pa.Table:
    """Each event with one original; a range's rows of an event must all be there."""
    del tenant
    column = table.column_names.index(DUPLICATE)
    duplicate = only_chunk(table.column(DUPLICATE)).to_numpy(zero_copy_only=False).copy()
    inserts = string_buffers(only_chunk(table.column("insert_id")))
    changed = _settle(
        only_chunk(table.column("distinct_id")).indices.to_numpy(),
        only_chunk(table.column("time")).to_numpy(),
        event_ranks(only_chunk(table.column("event").unify_dictionaries())),
        inserts.offsets,
        inserts.data,
        inserts.valid,
        duplicate,
    )
    return table.set_column(column, table.schema.field(column), pa.array(duplicate)) if changed else table


def copies_with_originals(table: pa.Table, known: npt.NDArray[np.bool_]) -> pa.Table:
    """Each event with one original, the first that was one, unless it is ``known`` elsewhere: then all are copies.
    Copies of which none was the original, and that are not known elsewhere, are dropped: nobody would stand for them.
    All rows of an event must be there."""
    column = table.column_names.index(DUPLICATE)
    duplicate = only_chunk(table.column(DUPLICATE)).to_numpy(zero_copy_only=False).copy()
    orphaned = np.zeros(duplicate.size, np.bool_)
    inserts = string_buffers(only_chunk(table.column("insert_id")))
    _settle_copies(
        only_chunk(table.column("distinct_id")).indices.to_numpy(),
        only_chunk(table.column("time")).to_numpy(),
        event_ranks(only_chunk(table.column("event").unify_dictionaries())),
        inserts.offsets,
        inserts.data,
        inserts.valid,
        duplicate,
        orphaned,
    )
    settled = table.set_column(column, table.schema.field(column), pa.array(duplicate | known))
    orphaned &= ~known
    return without_identities(settled).filter(pa.array(~orphaned)) if orphaned.any() else settled


@kernel(
    f"void({view('int32')}, {view('int64')}, {view('int32')}, {view('int32')}, {view('uint8')}, {view('boolean')},"
    "boolean[::1], boolean[::1])"
)
def _settle_copies(users, times, ranks, inserts, insert_data, has_insert, duplicate, orphaned):  # type: ignore[no-untyped-def]
    start = 0
    while start < users.size:
        end = start + 1
        while end < users.size and same_event(end, start, users, times, ranks, inserts, insert_data, has_insert):
            end += 1
        first = start
        while first < end and duplicate[first]:
            first += 1
        for row in range(start, end):
            duplicate[row] = row != first
            orphaned[row] = first == end
        start = end


@kernel(
    f"int64({view('int32')}, {view('int64')}, {view('int32')}, {view('int32')}, {view('uint8')}, {view('boolean')},"
    "boolean[::1])"
)
def _settle(users, times, ranks, inserts, insert_data, has_insert, duplicate):  # type: ignore[no-untyped-def]
    """Sets ``duplicate`` of sorted rows anew where events have not one original; returns how many bits changed."""
    changed = 0
    start = 0
    while start < users.size:
        end = start + 1
        while end < users.size and same_event(end, start, users, times, ranks, inserts, insert_data, has_insert):
            end += 1
        original = start
        for row in range(start, end):
            if not duplicate[row]:
                original = row
                break
        for row in range(start, end):
            wanted = row != original
            if duplicate[row] != wanted:
                duplicate[row] = wanted
                changed += 1
        start = end
    return changed
