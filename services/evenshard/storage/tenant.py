"""What a store holds of one tenant: the rows that are visible, and the identities of those not indexed."""

import functools
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from evenshard.events.batch import EventBatch
from evenshard.events.hashing import EventHashes, UInt64
from evenshard.ids import TenantId
from evenshard.ports.disk import Disk
from evenshard.storage.deletions import NO_DELETIONS, RETIRED_DELETIONS_KEPT, Deletion, Deletions
from evenshard.storage.hot_keys import HeldKeys
from evenshard.storage.identity import IdentitySet
from evenshard.storage.layers import TRASH, Layer, copies_count, counting, plain, shown
from evenshard.storage.memory import TailAccount
from evenshard.storage.moving.moves import Moves
from evenshard.storage.moving.record import MoveRecord
from evenshard.storage.ownership import NOTHING_FOREIGN, Foreign
from evenshard.storage.quarantine import Quarantined
from evenshard.storage.segment.cache import SegmentCache
from evenshard.storage.segment.identities import IndexedIdentities
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.tail.block import Block, hidden_by_ordinal
from evenshard.storage.tail.runs import next_run, sorted_run

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class TenantStorage:
    """What a tenant takes on a shard: rows that are hidden and not removed yet are counted too; of what was dropped
    with a move only files and bytes are, until it is removed."""

    tenant: TenantId
    log_rows: int
    """Not indexed yet."""
    segment_rows: int
    duplicate_rows: int
    """In the log and in segments."""
    segments: int
    files: int
    bytes: int
    """Of segment files."""


@dataclass(frozen=True, slots=True)
class Visible:
    """The rows a snapshot sees: all synced ones, each once. Replaced as a whole."""

    segments: tuple[SegmentInfo, ...] = ()
    blocks: tuple[Block, ...] = ()
    mark: int = 0
    """Rows at lower log positions are in segments."""
    end_position: int = 0
    """The log position after the tenant's last row."""
    deletions: Deletions = NO_DELETIONS
    """Those that may still hide rows of ``segments``; in ``blocks`` each has its mark."""
    quarantined: tuple[Quarantined, ...] = ()
    """What is lost of the tenant's rows, or was for a time."""
    layers: Mapping[str, Layer] = field(default_factory=dict)
    """Of ``segments``; by name."""
    foreign: Foreign = NOTHING_FOREIGN
    """Whose rows may be here although the shard does not own them."""

    @property
    def shown(self) -> tuple[SegmentInfo, ...]:
        """The segments that queries see."""
        return shown(self.segments, self.layers)

    @property
    def plain(self) -> tuple[SegmentInfo, ...]:
        """The segments that compactions plan with."""
        return plain(self.segments) if self.layers else self.segments

    @property
    def tail_rows(self) -> int:
        return sum(block.rows for block in self.blocks)

    @property
    def tail_bytes(self) -> int:
        return sum(block.bytes for block in self.blocks)

    @property
    def version(self) -> str:
        """Changes whenever an answer from these rows may."""
        newest = max((segment.id for segment in self.segments), default=0)
        in_force = sum(each.is_in_force for each in self.quarantined)
        accepted = sum(each.is_accepted for each in self.quarantined)
        lost = (f"-q{in_force}" if in_force else "") + (f"-a{accepted}" if accepted else "")
        hidden = sorted(layer.name for layer in self.layers.values() if not layer.shown)
        lost += f"-h{','.join(hidden)}" if hidden else ""
        return f"{self.end_position}-{self.mark}-{newest}-{len(self.segments)}-{self.deletions.last_seq}{lost}"


@dataclass(frozen=True, slots=True)
class Hidden:
    """What a tenant's rows become by deletions; made beforehand, so that nothing can fail once it is durable."""

    deletions: Deletions
    blocks: tuple[Block, ...]
    active: IdentitySet
    sealed: IdentitySet | None
    rows: int
    """Unindexed rows that they hide."""


@dataclass(frozen=True, slots=True)
class SealedLayer:
    """Rows that are to come, with their duplicate bits decided."""

    beside: frozenset[int]
    """Ids of the segments they were decided against."""
    identities: UInt64
    """Of its rows."""


def counting_identities(
    disk: Disk,
    segments: Iterable[SegmentInfo],
    layers: Mapping[str, Layer],
    cache: SegmentCache,
    position: int | None = None,
) -> IndexedIdentities:
    """Of those segments whose rows are originals, now or for rows that were stored from a position on."""
    return IndexedIdentities(
        disk, counting(segments, layers, position), cache, copies_count=copies_count(layers, position)
    )


class TenantRows:
    """Mutable; the store's locks guard it."""

    def __init__(
        self,
        tenant: TenantId,
        visible: Visible,
        indexed: IndexedIdentities,
        hash_mask: int,
        held: HeldKeys,
        originals: IndexedIdentities,
        moves: Iterable[MoveRecord] = (),
    ) -> None:
        self.tenant = tenant
        self.indexed = indexed
        self.held = held
        """Hot keys of which something is known here."""
        self.originals = originals
        """The identities of rows of such keys that other shards have."""
        self.next_ordinal = 0
        self.active = IdentitySet(hash_mask=hash_mask)
        """Takes the identities of new rows."""
        self.sealed: IdentitySet | None = None
        """Those of rows a compaction is indexing."""
        self._account: TailAccount | None = None
        self._visible = visible
        self.writing: list[int] = []
        """Ids of the segments that a compaction or a purge writes."""
        self.rows_purged: dict[int, int] = {}
        """By seq of a deletion: rows written anew or indexed so that what it hid is left out."""
        self.maintenance = threading.Lock()
        """Held by the one compaction or sorting that is at work."""
        self.settled: tuple[int, tuple[SegmentInfo, ...]] | None = None
        """The day on which these segments had nothing to merge; of the thread that asks who is due."""
        self._hash_mask = hash_mask
        self.sealed_layers: dict[str, SealedLayer] = {}
        """Layers whose duplicates are decided, and against what."""
        self.moves = Moves(moves)
        """Those that the shard knows of."""
        self.freed_layers: dict[str, SealedLayer] = {}
        """Layers of which it is known who else sent their rows."""

    @property
    def visible(self) -> Visible:
        return self._visible

    @visible.setter
    def visible(self, visible: Visible) -> None:
        self._visible = visible
        if self._account is not None:
            sealed = 0 if self.sealed is None else self.sealed.bytes
            tail = visible.tail_bytes + self.active.bytes + sealed if visible.blocks else 0
            self._account.note(self.tenant, tail)

    def known(self, batch: EventBatch, hashes: EventHashes) -> Bools | None:
        """For each row whether it is a copy of an indexed one, or of one that another shard has; None: none is. Raises
        ``DATA_DAMAGED``, ``OSError``."""
        deletions = self.visible.deletions
        found = [
            identities.known(self.tenant, batch, hashes, deletions)
            for identities in (self.indexed, self.originals)
            if identities
        ]
        return functools.reduce(np.logical_or, found) if found else None

    def account_to(self, account: TailAccount) -> None:
        """From now on ``account`` knows what the tail takes in memory."""
        self._account = account
        self.visible = self._visible

    def publish(self, blocks: Sequence[Block]) -> None:
        """Synced rows become visible."""
        self.visible = replace(
            self.visible, blocks=(*self.visible.blocks, *blocks), end_position=blocks[-1].end_position
        )
        self.next_ordinal = blocks[-1].first_ordinal + blocks[-1].rows
        self.moves.came(blocks)

    def sort_once(self) -> bool:
        """Joins some blocks into a run, if it is time to. For recovery; the shard does the rest off the ack path."""
        chosen = next_run(self.visible.blocks)
        if chosen is None:
            return False
        self.put_run(chosen, sorted_run(self.visible.blocks[chosen.start : chosen.stop]))
        return True

    def put_run(self, chosen: range, run: Block) -> None:
        """``run`` takes the place of the blocks it was made of."""
        blocks = self.visible.blocks
        hidden = hidden_by_ordinal(blocks[chosen.start : chosen.stop])  # as they are now: a deletion may have come
        if hidden is not None:
            assert run.row_of_ordinal is not None
            of_run = np.empty(run.rows, np.bool_)
            of_run[run.row_of_ordinal] = hidden
            run = replace(run, hidden=of_run)
        self.visible = replace(self.visible, blocks=(*blocks[: chosen.start], run, *blocks[chosen.stop :]))

    def hidden_by(self, *deletions: Deletion) -> Hidden:
        """The rows with the next deletions, which all rows there are were stored before. Changes nothing."""
        visible, hiding = self.visible, Deletions(deletions).hiding(0)
        blocks, rows = [], 0
        for block in visible.blocks:
            hides = None if hiding is None else hiding.rows_of(block.batch, block.placement, in_order=block.is_run)
            if hides is not None:
                rows += int(np.count_nonzero(hides))
                block = replace(block, hidden=hides if block.hidden is None else block.hidden | hides)
            blocks.append(block)
        active, sealed = self.active, self.sealed
        hidden = hidden_by_ordinal(blocks) if rows else None
        if hidden is not None:
            active = active.without(hidden, blocks[0].first_ordinal)
            sealed = None if sealed is None else sealed.without(hidden, blocks[0].first_ordinal)
        return Hidden(visible.deletions.with_next(deletions), tuple(blocks), active, sealed, rows)

    def tail_rows_hidden_by(self, deletion: Deletion) -> int:
        """Unindexed rows that a deletion which took effect hides, alone or with others."""
        hiding = Deletions([deletion]).hiding(0)
        masks = (
            []
            if hiding is None
            else [
                (block.hidden, hiding.rows_of(block.batch, block.placement, in_order=block.is_run))
                for block in self.visible.blocks
                if block.hidden is not None
            ]
        )
        return sum(int(np.count_nonzero(now & hides)) for now, hides in masks if hides is not None)

    def hide(self, hidden: Hidden) -> None:
        """``hidden_by`` comes true; nothing may have changed since."""
        self.active, self.sealed = hidden.active, hidden.sealed
        self.moves.changed()
        self.visible = replace(self.visible, blocks=hidden.blocks, deletions=hidden.deletions)

    def note_purged(self, count: int) -> None:
        """So many rows were written anew for all deletions there are."""
        for record in self.visible.deletions.records:
            self.rows_purged[record.seq] = self.rows_purged.get(record.seq, 0) + count
        for seq in sorted(self.rows_purged)[:-RETIRED_DELETIONS_KEPT]:
            del self.rows_purged[seq]

    def forget_deletions(self, seqs: Iterable[int]) -> None:
        """Nothing that they hid is left."""
        self.visible = replace(self.visible, deletions=self.visible.deletions.without(seqs))

    def replace_segments(
        self,
        segments: tuple[SegmentInfo, ...],
        indexed: IndexedIdentities,
        layers: Mapping[str, Layer] | None = None,
    ) -> None:
        """Some were written anew without their hidden rows, or belong to other layers now."""
        self.visible = replace(
            self.visible, segments=segments, layers=self.visible.layers if layers is None else layers
        )
        self.indexed = indexed

    def seal(self) -> IdentitySet:
        """A compaction begins: the identities so far, which it gets, belong to the rows it takes."""
        assert self.sealed is None
        self.sealed = taken = self.active
        self.active = IdentitySet(hash_mask=self._hash_mask)
        return taken

    def unseal(self) -> None:
        """A compaction failed: all rows are still in the log."""
        assert self.sealed is not None
        self.sealed.absorb(self.active)
        self.active, self.sealed = self.sealed, None

    def indexed_up_to(
        self, taken_blocks: int, mark: int, segments: tuple[SegmentInfo, ...], indexed: IndexedIdentities
    ) -> None:
        """A compaction is done: the first blocks are in segments now."""
        self.sealed = None
        self.indexed = indexed
        self.visible = replace(self.visible, segments=segments, blocks=self.visible.blocks[taken_blocks:], mark=mark)

    def storage(self) -> TenantStorage:
        """Figures of the visible rows."""
        segments, blocks = self.visible.segments, self.visible.blocks
        held = [segment for segment in segments if not segment.layer.startswith(TRASH)]
        return TenantStorage(
            tenant=self.tenant,
            log_rows=self.visible.tail_rows,
            segment_rows=sum(segment.rows for segment in held),
            duplicate_rows=sum(segment.duplicates for segment in held)
            + sum(int(block.duplicates.sum()) for block in blocks),
            segments=len(segments),
            files=sum(len(segment.files) for segment in segments),
            bytes=sum(segment.bytes for segment in segments),
        )
