"""One tenant's rows at one moment: segments, synced tail and deletions, whatever is appended, compacted or deleted
meanwhile."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Final

from evenshard.errors import EvenshardError
from evenshard.events.held import Held
from evenshard.events.scan import SHOWN_NEEDS, Parts, ScannedRows
from evenshard.ids import Epoch, TenantId
from evenshard.ports.disk import Disk
from evenshard.storage.columns.cache import ColumnCache
from evenshard.storage.columns.lookups import Lookups, SegmentHeld
from evenshard.storage.columns.scan import ColumnScan
from evenshard.storage.columns.sources import Wanted
from evenshard.storage.deletions import Hiding
from evenshard.storage.ownership import (
    Owned,
    Ownership,
    Shown,
    fields_needed,
    hash_bounds,
    shown_block,
    shown_rows,
    shows_any_of,
    shows_segment,
)
from evenshard.storage.quarantine import quarantined_segment, refusal
from evenshard.storage.segment.cache import OnUnreadable
from evenshard.storage.segment.info import SegmentInfo
from evenshard.storage.segment.reader import GroupMatters, SegmentReader
from evenshard.storage.tail.scan import scan_block
from evenshard.storage.tenant import Visible

ALL_TIMES_MS: Final = (-(1 << 62), 1 << 62)
MayMatter = Callable[[Held], bool]


class Snapshot:
    """Must be closed (it is a context manager): the files it reads stay on disk until then."""

    def __init__(
        self,
        disk: Disk,
        tenant: TenantId,
        epoch: Epoch,
        visible: Visible,
        release: Callable[[Visible], None],
        on_unreadable: OnUnreadable = lambda _info, _error: None,
        owned: Ownership | Owned | None = None,
        columns: ColumnCache | None = None,
    ) -> None:
        self.tenant = tenant
        self.epoch = epoch
        """The highest placement epoch the shard has seen of the tenant; 0: none."""
        self.data_version = visible.version
        """Changes whenever an answer from these rows may; the same across restarts."""
        self._disk = disk
        self._visible: Visible | None = visible
        self._release = release
        self._on_unreadable = on_unreadable
        self._shown = Shown.of(tenant, owned, visible.foreign)
        self._columns = ColumnCache(0) if columns is None else columns
        self._lookups = Lookups(disk, self._columns, self._reading)

    def check_epoch(self, epoch: Epoch) -> None:
        """Raises ``STALE_EPOCH`` where the rows may be those of a newer one. What comes true with an epoch does so
        after it was persisted: rows that pass are as they were before it."""
        if self.epoch > epoch:
            raise EvenshardError(
                "STALE_EPOCH",
                f"epoch {epoch} of {self.tenant} is over, the shard has seen {self.epoch}",
                details={"epoch": str(self.epoch)},
            )

    @property
    def segments(self) -> tuple[SegmentInfo, ...]:
        """The indexed part."""
        return self._open().segments

    @property
    def tail_rows(self) -> int:
        """Rows of the part not yet indexed, hidden ones included."""
        return self._open().tail_rows

    def rows_given_up(self, start_ms: int, end_ms: int) -> int:
        """Rows at most of this time that were lost and of which the loss was accepted: no scan has them."""
        lost = (each for each in self._open().quarantined if each.is_accepted)
        return sum(each.rows for each in lost if each.touches(start_ms, end_ms))

    @property
    def bytes_looked_up(self) -> int:
        """Of filters, to tell what need not be read."""
        return self._lookups.bytes

    def scan(
        self,
        fields: Sequence[str],
        properties: Sequence[str] | None,
        start_ms: int,
        end_ms: int,
        may_matter: MayMatter | None = None,
        *,
        but: Collection[SegmentInfo] = (),
    ) -> Iterator[ScannedRows]:
        """The rows with ``start_ms <= time < end_ms`` in owned slots that no deletion hides, each once, as stored; see
        ``ScannedRows``. ``properties``: None for all. ``may_matter``: False of rows that need not be given. ``but``:
        segments that are left out. Raises ``DATA_DAMAGED`` naming the file.
        """
        return self._scan(fields, fields, properties, start_ms, end_ms, may_matter, frozenset(each.id for each in but))

    def scan_only(self, fields: Sequence[str], segments: Collection[SegmentInfo]) -> Iterator[ScannedRows]:
        """Of some segments that are shown the rows in owned slots that no deletion hides, with all their properties.
        Raises as ``scan``."""
        visible = self._open()
        start_ms, end_ms = ALL_TIMES_MS
        self._refuse_quarantined(visible, start_ms, end_ms)
        wanted = {each.id for each in segments}
        for segment in visible.shown:
            if segment.id in wanted:
                yield from self._of_segment(segment, fields, None, start_ms, end_ms, None)

    def segments_shown_whole(self) -> Iterator[SegmentInfo]:
        """The segments of which no deletion hides a row."""
        visible = self._open()
        for segment in visible.shown:
            if self._hiding(segment) is None:
                yield segment

    def verified_footer(self, segment: SegmentInfo) -> bytes:
        """The footer of a segment's file, all of whose blocks were found to be as it says. Raises ``DATA_DAMAGED``."""
        with self._reading(segment):
            return SegmentReader(self._disk, segment).verified_footer()

    def scan_to_show(
        self,
        fields: Sequence[str],
        properties: Sequence[str] | None,
        start_ms: int,
        end_ms: int,
        may_matter: MayMatter | None = None,
    ) -> Iterator[ScannedRows]:
        """As ``scan``; where there are hot rows, with ``SHOWN_NEEDS`` besides ``fields``."""
        with_hot = tuple(dict.fromkeys((*fields, *SHOWN_NEEDS)))
        return self._scan(fields, with_hot, properties, start_ms, end_ms, may_matter)

    def parts(self, wanted: Wanted) -> Parts:
        """The same rows as ``scan`` gives, each once, hot ones with ``SHOWN_NEEDS``, as parts that are read when they
        are asked for, while the snapshot is open. Raises ``DATA_DAMAGED``, ``QUERY_INVALID`` for too many users."""
        self._refuse_quarantined(self._open(), wanted.start_ms, wanted.end_ms)
        return self._column_scan().parts(wanted)

    def number_users(self) -> None:
        """Keeps whose all rows are for the scans that follow. Raises as ``parts``."""
        self._column_scan().number_users()

    def _column_scan(self) -> ColumnScan:
        visible = self._open()
        return ColumnScan(self._disk, self._columns, self.tenant, visible, self._shown, self._reading, self._lookups)

    def _refuse_quarantined(self, visible: Visible, start_ms: int, end_ms: int) -> None:
        for lost in visible.quarantined:
            if lost.is_in_force and lost.touches(start_ms, end_ms):
                raise refusal(self.tenant, lost)

    def _scan(
        self,
        fields: Sequence[str],
        fields_if_hot: Sequence[str],
        properties: Sequence[str] | None,
        start_ms: int,
        end_ms: int,
        may_matter: MayMatter | None,
        but: frozenset[int] = frozenset(),
    ) -> Iterator[ScannedRows]:
        visible = self._open()
        self._refuse_quarantined(visible, start_ms, end_ms)
        for segment in visible.shown:
            if segment.id not in but and segment.max_time_ms >= start_ms and segment.min_time_ms < end_ms:
                wanted = fields_if_hot if segment.hot_rows else fields
                yield from self._of_segment(segment, wanted, properties, start_ms, end_ms, may_matter)
        for stored in visible.blocks:
            block = stored if self._shown is None else shown_block(self._shown, stored)
            wanted = fields if block.hot is None else fields_if_hot
            scanned = scan_block(block, wanted, properties, start_ms, end_ms)
            if scanned is not None:
                yield scanned

    def _of_segment(
        self,
        segment: SegmentInfo,
        fields: Sequence[str],
        properties: Sequence[str] | None,
        start_ms: int,
        end_ms: int,
        may_matter: MayMatter | None,
    ) -> Iterator[ScannedRows]:
        hiding = self._hiding(segment)
        if hiding is not None and segment.max_time_ms < hiding.horizon_ms:
            return
        groups = None if may_matter is None else partial(_may_matter_within, may_matter, self._lookups.held(segment))
        if groups is None or groups(None, None):
            yield from self._scan_shown(segment, fields, properties, start_ms, end_ms, hiding, groups)

    def _hiding(self, segment: SegmentInfo) -> Hiding | None:
        """What may hide rows of a segment; None: nothing does."""
        hiding = self._open().deletions.hiding(segment.deletions_seen)
        if hiding is None or not hiding.may_hide(*segment.hash_bounds, segment.min_time_ms):
            return None
        return hiding

    def _scan_shown(
        self,
        segment: SegmentInfo,
        fields: Sequence[str],
        properties: Sequence[str] | None,
        start_ms: int,
        end_ms: int,
        hiding: Hiding | None,
        groups: GroupMatters | None,
    ) -> Iterator[ScannedRows]:
        shown = self._shown
        if shown is None or shows_segment(shown, segment):
            yield from self._scan_segment(segment, fields, properties, start_ms, end_ms, hiding, groups)
            return
        if not shows_any_of(shown, segment):
            return
        placed = tuple(dict.fromkeys((*fields, *fields_needed(shown, segment))))
        hashes = hash_bounds(shown, segment)
        for scanned in self._scan_segment(segment, placed, properties, start_ms, end_ms, hiding, groups, hashes):
            kept = shown_rows(shown, scanned, fields)
            if kept is not None:
                yield kept

    def _scan_segment(
        self,
        segment: SegmentInfo,
        fields: Sequence[str],
        properties: Sequence[str] | None,
        start_ms: int,
        end_ms: int,
        hiding: Hiding | None,
        groups: GroupMatters | None,
        hashes: tuple[int, int] | None = None,
    ) -> Iterator[ScannedRows]:
        with self._reading(segment):
            reader = SegmentReader(self._disk, segment)
            yield from reader.scan(fields, properties, start_ms, end_ms, hiding, hashes, groups)

    @contextmanager
    def _reading(self, segment: SegmentInfo) -> Iterator[None]:
        """What goes wrong there is named, and damage put on record."""
        try:
            yield
        except EvenshardError as error:
            if error.code != "DATA_DAMAGED":
                raise
            self._on_unreadable(segment, error)
            raise refusal(self.tenant, quarantined_segment(segment, error)) from error
        except OSError as error:
            raise EvenshardError("SHARD_UNAVAILABLE", f"{segment.parquet} could not be read: {error}") from error

    def close(self) -> None:
        """May be called twice."""
        visible, self._visible = self._visible, None
        if visible is not None:
            self._release(visible)

    def __enter__(self) -> "Snapshot":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Visible:
        if self._visible is None:
            raise ValueError("the snapshot is closed")
        return self._visible


def _may_matter_within(
    may_matter: MayMatter, held: SegmentHeld, times_ms: tuple[int, int] | None, hashes: tuple[int, int] | None
) -> bool:
    """Whether a row of a segment may matter that lies within these times and placement hashes; None: any."""
    return may_matter(held if times_ms is None or hashes is None else held.within(times_ms, hashes))
