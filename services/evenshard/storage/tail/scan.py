"""Scans a block: the rows of a time range, with the columns that were asked for. Pure."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from evenshard.events.batch import REST, property_of
from evenshard.events.scan import DUPLICATE, HOT, PLACEMENT_HASH, SPREAD, ScannedRows
from evenshard.storage.tail.block import Block


def scan_block(
    block: Block, fields: Sequence[str], properties: Sequence[str] | None, start_ms: int, end_ms: int
) -> ScannedRows | None:
    """Rows with ``start_ms <= time < end_ms`` that are not hidden; of ``properties`` (None: all) every typed column.
    None: no row.

    ``fields`` may name ``placement_hash`` and ``hot`` too.
    """
    record = block.batch.record
    times = record.column("time").to_numpy()
    inside = (times >= start_ms) & (times < end_ms)
    if block.hidden is not None:
        inside &= ~block.hidden
    rows = int(np.count_nonzero(inside))
    if rows == 0:
        return None
    names = scanned_columns(record.schema.names, fields, properties)
    arrays = [record.column(name) for name in names]
    if PLACEMENT_HASH in fields:
        names.append(PLACEMENT_HASH)
        arrays.append(pa.array(block.placement))
    if HOT in fields:
        names.append(HOT)
        arrays.append(pa.array(np.zeros(block.rows, np.bool_) if block.hot is None else block.hot))
    if SPREAD in fields:
        names.append(SPREAD)
        bits = np.zeros(block.rows, np.bool_) if block.spread is None else block.spread
        arrays.append(pa.array(bits, mask=np.full(block.rows, block.of_old)))
    scanned = pa.RecordBatch.from_arrays([*arrays, pa.array(block.duplicates)], names=[*names, DUPLICATE])
    if rows < block.rows:
        scanned = scanned.filter(pa.array(inside))
    return ScannedRows(scanned, indexed=False, bytes_read=int(scanned.nbytes))


def scanned_columns(existing: Sequence[str], fields: Sequence[str], properties: Sequence[str] | None) -> list[str]:
    """The columns of ``existing`` that a scan for these fields and properties gives."""
    wanted = None if properties is None else frozenset(properties)
    names = []
    for name in existing:
        held = property_of(name)
        if held is not None:
            chosen = wanted is None or held[0] in wanted
        elif name == REST:
            chosen = wanted is None or len(wanted) > 0
        else:
            chosen = name in fields
        if chosen:
            names.append(name)
    return names
