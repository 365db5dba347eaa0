"""What moving slots asks of shards: protobuf ↔ ours."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from evenshard.api.v1 import shard_pb2
from evenshard.directory.moves import Leg
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, Revision, TenantId

DIFFERENCES_TOLD_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Moved:
    """A leg, as shards know it."""

    tenant: TenantId
    name: str
    """Of the leg."""
    revision: Revision
    """Of the operation's last change."""
    leg: Leg

    def message(self) -> shard_pb2.MovedSlots:
        return shard_pb2.MovedSlots(
            tenant=self.tenant,
            operation=self.name,
            revision=self.revision,
            slots=[shard_pb2.SlotSpan(first=first, last=last) for first, last in self.leg.slots],
            overflow=self.leg.overflow,
        )


def follow_request(
    moved: Moved,
    epoch: Epoch,
    source: str,
    address: str,
    bytes_per_second: int,
    from_position: int | None = None,
    copies: int = 0,
) -> shard_pb2.FollowSlotsRequest:
    return shard_pb2.FollowSlotsRequest(
        moved=moved.message(),
        epoch=epoch,
        source=source,
        source_address=address,
        bytes_per_second=bytes_per_second,
        from_position=from_position,
        copies=copies,
    )


def digest_request(moved: Moved, position: int, *, with_cells: bool = False) -> shard_pb2.GetDigestRequest:
    return shard_pb2.GetDigestRequest(moved=moved.message(), position=position, with_cells=with_cells)


def count_request(moved: Moved, agreed: Iterable[bytes] | None = None) -> shard_pb2.GetDigestRequest:
    """Counting begins, or goes on. ``agreed``: what files contain that both sides have; None: that is to be told."""
    if agreed is None:
        return shard_pb2.GetDigestRequest(moved=moved.message(), tell_files=True)
    return shard_pb2.GetDigestRequest(moved=moved.message(), agreed_files=sorted(agreed))


def compare_request(
    moved: Moved,
    step: shard_pb2.CompareStep,
    position: int | None = None,
    agreed: Iterable[bytes] | None = (),
) -> shard_pb2.CompareSlotsRequest:
    """One step of a comparison; ``agreed`` as of ``count_request``."""
    return shard_pb2.CompareSlotsRequest(
        moved=moved.message(),
        step=step,
        position=position,
        agreed_files=sorted(agreed or ()),
        tell_files=agreed is None,
    )


def are_equal(one: shard_pb2.GetDigestResponse, other: shard_pb2.GetDigestResponse) -> bool:
    """Whether both hold the same."""
    return _numbers(one) == _numbers(other)


def digest_differences(
    leg: Leg, one: shard_pb2.GetDigestResponse, other: shard_pb2.GetDigestResponse
) -> tuple[str, ...]:
    """Where source and target differ, for people; the first of them. Raises ``SHARD_UNAVAILABLE`` where they counted
    other files as files, as one does that was restarted: that says nothing."""
    if are_equal(one, other):
        return ()
    if frozenset(one.files) != frozenset(other.files):
        raise EvenshardError(
            "SHARD_UNAVAILABLE",
            f"{leg.source} and {leg.target} counted other files: nothing was compared",
            details={"begin_anew": "1"},
        )
    told = []
    if one.state_digest != other.state_digest:
        told.append(f"{leg.source} and {leg.target}: what is known of hot keys, or the horizon, is not the same")
    there, here = _cells(one.cells), _cells(other.cells)
    for slot, day in sorted(there.keys() | here.keys()):
        before, after = there.get((slot, day)), here.get((slot, day))
        if before != after:
            rows = [0 if each is None else each[0] for each in (before, after)]
            what = "not the same" if rows[0] == rows[1] else f"{rows[0]:,} and {rows[1]:,}"
            told.append(f"{leg.source} and {leg.target}: rows of slot {slot} on day {day} are {what}")
    if not told:
        told.append(f"{leg.source} and {leg.target}: {one.rows:,} and {other.rows:,} rows, and not the same")
    more = len(told) - DIFFERENCES_TOLD_MAX
    return tuple(told[:DIFFERENCES_TOLD_MAX] + ([f"and {more:,} more"] if more > 0 else []))


def _numbers(digest: shard_pb2.GetDigestResponse) -> tuple[int, ...]:
    return digest.rows, digest.digest, digest.digest_high, digest.state_digest


def _cells(cells: Iterable[shard_pb2.DigestCell]) -> dict[tuple[int, int], tuple[int, int, int]]:
    return {(cell.slot, cell.day): (cell.rows, cell.digest, cell.digest_high) for cell in cells}
