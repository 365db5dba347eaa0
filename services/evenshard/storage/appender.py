"""Stores groups of event batches: checks, decides duplicate bits, writes and syncs once, then makes rows visible.

An identity is an original only together with its stored frame: where the write fails, the group's identities are
forgotten before anybody is answered. Where a defect leaves open whether frames were stored, the log takes nothing any
more: what it holds then is what a restart reads from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from evenshard.errors import EvenshardError
from evenshard.ids import TenantId
from evenshard.storage.append import Append, Appended, Synced
from evenshard.storage.dedupe import decide_duplicates
from evenshard.storage.log.frame import Content, packed_bits
from evenshard.storage.state import State, refusal
from evenshard.storage.tail.block import ROW_BYTES, Block
from evenshard.storage.tenant import TenantRows

Outcome = Appended | EvenshardError


@dataclass(slots=True)
class _Group:
    """Batches whose bits are decided, not yet written. ``numbers`` are their places in the caller's group."""

    numbers: list[int] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    pending: dict[TenantId, list[Block]] = field(default_factory=dict)


def append_group(state: State, appends: Sequence[Append]) -> list[Outcome]:
    """In this order; under ``append_lock``. For each batch what came of it."""
    outcomes: dict[int, Outcome] = {}
    group = _Group()
    try:
        for number, append in enumerate(appends):
            try:
                empty = _decide(state, group, number, append.prepared())
                if empty is not None:
                    outcomes[number] = empty
            except EvenshardError as error:
                outcomes[number] = error
        first_rows, sync = _write(state, group) if group.contents else ([], None)
    except EvenshardError as error:
        _forget(state, group)
        outcomes.update(dict.fromkeys(group.numbers, error))
    except BaseException:
        _forget(state, group)
        raise
    else:
        try:
            outcomes.update(_publish(state, group, first_rows, sync))
        except BaseException as defect:
            state.writer.stop(f"what was written could not be shown: {defect!r}")
            raise
    return [outcomes[number] for number in range(len(appends))]


def _decide(state: State, group: _Group, number: int, append: Append) -> Appended | None:
    """Adds a batch to the group; an empty one is done at once."""
    assert append.hashes is not None
    assert append.payload_checksum is not None
    if state.writer.broken is not None:
        raise replace(state.writer.broken)
    state.fence(append.tenant, append.epoch)
    rows = state.rows(append.tenant)
    spread = rows.held.check(append)
    rows.moves.check(append.tenant, append.batch, append.hashes.placement, spread)
    if append.batch.rows == 0:
        return Appended(np.zeros(0, np.bool_), rows.visible.end_position)
    pending = group.pending.setdefault(append.tenant, [])
    first_ordinal = pending[-1].first_ordinal + pending[-1].rows if pending else rows.next_ordinal
    duplicates = _duplicates(rows, append, pending, first_ordinal)
    block = Block(
        append.batch,
        append.hashes.placement,
        duplicates,
        first_ordinal=first_ordinal,
        end_position=0,  # the writer's to say
        appended_ms=state.clock.now_ms(),
        bytes=len(append.payload) + ROW_BYTES * append.batch.rows,
        hot=append.hot,
        spread=spread,
    )
    pending.append(block)
    group.blocks.append(block)
    group.numbers.append(number)
    bits = packed_bits(duplicates)
    hot_bits = b"" if append.hot is None else packed_bits(append.hot)
    spread_bits = b"" if spread is None else packed_bits(spread)
    group.contents.append(
        Content(
            append.tenant,
            append.epoch,
            block.rows,
            bits,
            append.payload,
            append.payload_checksum,
            hot_bits,
            spread_bits,
        )
    )
    return None


def _duplicates(
    rows: TenantRows, append: Append, pending: Sequence[Block], first_ordinal: int
) -> npt.NDArray[np.bool_]:
    assert append.hashes is not None
    try:
        known = rows.known(append.batch, append.hashes)
    except OSError as error:
        raise refusal(error, "segments could not be read to find duplicates") from error
    try:
        return decide_duplicates(
            append.batch,
            append.hashes.identity,
            known,
            rows.sealed,
            rows.active,
            (*rows.visible.blocks, *pending),
            first_ordinal,
        )
    except BaseException:
        rows.active.forget(first_ordinal)
        raise


def _forget(state: State, group: _Group) -> None:
    for tenant, blocks in group.pending.items():
        if blocks:
            state.rows(tenant).active.forget(blocks[0].first_ordinal)


def _write(state: State, group: _Group) -> tuple[list[int], object]:
    """The position of each batch's first row, and what ``on_sync`` says of it."""
    began_ms = state.clock.monotonic_ms()
    first_rows = state.writer.append(group.contents)
    synced = Synced(
        state.clock.monotonic_ms() - began_ms,
        len(group.contents),
        sum(content.rows for content in group.contents),
        sum(len(content.payload) for content in group.contents),
    )
    try:
        return first_rows, state.on_sync(synced)
    except Exception as error:  # noqa: BLE001 - the group is stored, whatever its listener makes of it
        state.report(f"the sync of {synced.rows} rows was not told: {error!r}")
        return first_rows, None


def _publish(state: State, group: _Group, first_rows: Sequence[int], sync: object) -> dict[int, Outcome]:
    outcomes: dict[int, Outcome] = {}
    written: dict[TenantId, list[Block]] = {}
    for number, content, block, first_row in zip(group.numbers, group.contents, group.blocks, first_rows, strict=True):
        end_position = first_row + block.rows
        written.setdefault(content.tenant, []).append(replace(block, end_position=end_position))
        state.log_files.note(state.writer.number, content.tenant, end_position, first_row, now_ms=block.appended_ms)
        outcomes[number] = Appended(block.duplicates, end_position, sync)
    with state.visible_lock:
        for tenant, blocks in written.items():
            state.tenants[tenant].publish(blocks)
    return outcomes
