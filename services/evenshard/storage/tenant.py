"""What a store holds of one tenant: the rows that are visible, and the identities of those not indexed."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evenshard.ids import TenantId
from evenshard.storage.identity import IdentitySet
from evenshard.storage.quarantine import Quarantined
from evenshard.storage.segment.identities import IndexedIdentities
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.tail.block import Block
from evenshard.storage.tail.runs import next_run, sorted_run


@dataclass(frozen=True, slots=True)
class TenantStorage:
    """What a tenant takes on a shard."""

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
    quarantined: tuple[Quarantined, ...] = ()
    """What is lost of the tenant's rows."""

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
        lost = f"-q{len(self.quarantined)}" if self.quarantined else ""
        return f"{self.end_position}-{self.mark}-{newest}-{len(self.segments)}{lost}"


class TenantRows:
    """Mutable; the store's locks guard it."""

    def __init__(self, tenant: TenantId, visible: Visible, indexed: IndexedIdentities, hash_mask: int) -> None:
        self.tenant = tenant
        self.visible = visible
        self.indexed = indexed
        self.next_ordinal = 0
        self.active = IdentitySet(hash_mask=hash_mask)
        """Takes the identities of new rows."""
        self.sealed: IdentitySet | None = None
        """Those of rows a compaction is indexing."""
        self.maintenance = threading.Lock()
        """Held by the one compaction or sorting that is at work."""
        self._hash_mask = hash_mask

    def publish(self, blocks: Sequence[Block]) -> None:
        """Synced rows become visible."""
        self.visible = replace(
            self.visible, blocks=(*self.visible.blocks, *blocks), end_position=blocks[-1].end_position
        )
        self.next_ordinal = blocks[-1].first_ordinal + blocks[-1].rows

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
        self.visible = replace(self.visible, blocks=(*blocks[: chosen.start], run, *blocks[chosen.stop :]))

    def seal(self) -> None:
        """A compaction begins: the identities so far belong to the rows it takes."""
        assert self.sealed is None
        self.sealed = self.active
        self.active = IdentitySet(hash_mask=self._hash_mask)

    def unseal(self) -> None:
        """A compaction failed: all rows are still in the log."""
        assert self.sealed is not None
        self.sealed.absorb(self.active)
        self.active, self.sealed = self.sealed, None

    def indexed_up_to(
        self, taken_blocks: int, mark: int, segments: tuple[SegmentInfo, ...], indexed: IndexedIdentities
    ) -> None:
        """A compaction is done: the first blocks are in segments now."""
        self.visible = replace(self.visible, segments=segments, blocks=self.visible.blocks[taken_blocks:], mark=mark)
        self.indexed = indexed
        self.sealed = None

    def storage(self) -> TenantStorage:
        """Figures of the visible rows."""
        segments, blocks = self.visible.segments, self.visible.blocks
        return TenantStorage(
            tenant=self.tenant,
            log_rows=self.visible.tail_rows,
            segment_rows=sum(segment.rows for segment in segments),
            duplicate_rows=sum(segment.duplicates for segment in segments)
            + sum(int(block.duplicates.sum()) for block in blocks),
            segments=len(segments),
            files=sum(len(segment.files) for segment in segments),
            bytes=sum(segment.bytes for segment in segments),
        )
