"""A shard that keeps rows in lists: it appends, scans, follows, is fenced, compared and cleared as a real one.

What ``Disk`` holds survives a restart. Naive on purpose, and sharing no code with the real one but the port by which a
source proposes that its fence comes to nothing. ``mutants`` are ways to be wrong that tests must see.
"""

import asyncio
import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from evenshard.api.v1 import common_pb2, shard_pb2
from evenshard.directory.placement import Placement, SlotRange
from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.propose_back import ProposeBack
from evenshard.runtime.tenants import TenantView

SWITCH_WAITED_MS: Final = 1_000.0
PULL_EVERY_MS: Final = 20.0
PULL_ROWS: Final = 7
"""At a time, so that copying takes long."""
PROPOSE_TIMEOUT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """An event: its identity, and the slots it has."""

    name: str
    slot: int
    """Of its user."""
    overflow_slot: int | None = None
    """Of its identity, where its key is hot: then this one counts."""
    is_copy: bool = False
    """Decided when it was stored, and never again."""

    def is_in(self, moved: shard_pb2.MovedSlots) -> bool:
        slot = self.overflow_slot if moved.overflow else self.slot
        if slot is None or (self.overflow_slot is None) == moved.overflow:
            return False
        return any(span.first <= slot <= span.last for span in moved.slots)


@dataclass
class Fence:
    moved: shard_pb2.MovedSlots
    position: int


@dataclass
class Following:
    request: shard_pb2.FollowSlotsRequest
    position: int = 0
    """Of the source's log: what came before is here."""


@dataclass
class SmallDisk:
    """What survives."""

    log: list[tuple[TenantId, Row]] = field(default_factory=list)
    """By position; rows that were dropped are None's place holders' worth: their positions stay."""
    dropped: set[int] = field(default_factory=set)
    epochs: dict[TenantId, Epoch] = field(default_factory=dict)
    fences: dict[tuple[str, bool], Fence] = field(default_factory=dict)
    followings: dict[tuple[str, bool], Following] = field(default_factory=dict)
    revisions: dict[tuple[str, bool], int] = field(default_factory=dict)

    def rows(self, tenant: TenantId, until: int | None = None) -> list[Row]:
        ends = len(self.log) if until is None else until
        return [
            row
            for position, (name, row) in enumerate(self.log[:ends])
            if name == tenant and position not in self.dropped
        ]


class SmallShard:
    """One process of a shard; the next one begins with the same disk."""

    def __init__(
        self,
        name: ShardId,
        disk: SmallDisk,
        tenants: TenantView,
        clock: Clock,
        proposals: ProposeBack,
        source_of: Callable[[str], "SmallShard | None"],
        mutants: Collection[str] = (),
    ) -> None:
        """``source_of``: another shard by its address, None where it cannot be reached."""
        self.name = name
        self.disk = disk
        self._tenants = tenants
        self._clock = clock
        self._proposals = proposals
        self._source_of = source_of
        self._mutants = frozenset(mutants)
        self.on_compared: Callable[[], None] = lambda: None
        """Told when it says what it holds at a fence of its own."""
        self._tasks: set[asyncio.Task[None]] = set()
        if "fence not logged" in self._mutants:
            disk.fences = {}
        if "epoch not persisted" in self._mutants:
            disk.epochs = {}
        for key in disk.fences:
            self._start(self._await_switch(key))

    def end(self) -> None:
        for task in self._tasks:
            task.cancel()

    # What everybody asks

    async def append(self, tenant: TenantId, epoch: int, rows: Iterable[Row]) -> list[bool]:
        """Which are copies."""
        known = await self._at(tenant, Epoch(epoch))
        asked = list(rows)
        for row in asked:
            if not self._owns(known.placement, row):
                raise EvenshardError("STALE_EPOCH", f"{self.name} does not own slot {row.slot}")
        self._check_fences(tenant, asked)
        found = []
        stored = {row.name for row in self.disk.rows(tenant) if self._owns(known.placement, row)}
        for row in asked:
            found.append(row.name in stored)
            stored.add(row.name)
            self.disk.log.append((tenant, replace(row, is_copy=found[-1])))
        return found

    async def scan(self, tenant: TenantId, epoch: int) -> list[Row]:
        """What it answers for."""
        known = await self._at(tenant, Epoch(epoch))
        if self.name not in known.placement.shards:
            raise EvenshardError("STALE_EPOCH", f"{self.name} owns no slot")
        if any(fence.moved.tenant == tenant for fence in self.disk.fences.values()):
            raise EvenshardError("SLOTS_FENCED", f"{self.name}: slots of {tenant} are fenced")
        return [row for row in self.disk.rows(tenant) if self._owns(known.placement, row)]

    async def LearnEpoch(self, request: Any, context: Any) -> shard_pb2.LearnEpochResponse:
        await self._at(TenantId(request.tenant), Epoch(request.epoch))
        return shard_pb2.LearnEpochResponse()

    async def GetShardLoad(self, request: Any, context: Any) -> shard_pb2.GetShardLoadResponse:
        return shard_pb2.GetShardLoadResponse(load=common_pb2.ShardLoad(shard=self.name, rows=len(self.disk.log)))

    async def GetShardStorage(self, request: Any, context: Any) -> shard_pb2.GetShardStorageResponse:
        names = sorted({tenant for tenant, _ in self.disk.log})
        told = [
            shard_pb2.ShardTenantStorage(tenant=name, segment_rows=len(self.disk.rows(name)))
            for name in names
            if request.tenant in ("", name)
        ]
        return shard_pb2.GetShardStorageResponse(tenants=told)

    # What drivers ask

    async def FollowSlots(self, request: shard_pb2.FollowSlotsRequest, context: Any) -> shard_pb2.FollowSlotsResponse:
        await self._at(TenantId(request.moved.tenant), Epoch(request.epoch))
        key = self._check_revision(request.moved)
        following = self.disk.followings.get(key)
        if following is None or following.request.source != request.source:
            following = self.disk.followings[key] = Following(request, request.from_position)
        following.request = request
        self._pull(key, following)
        source = self._source_of(request.source_address)
        end = len(source.disk.log) if source is not None else following.position
        lag = end - following.position
        caught_up = lag <= PULL_ROWS
        return shard_pb2.FollowSlotsResponse(
            phase=shard_pb2.FOLLOW_PHASE_CATCHING_UP if caught_up else shard_pb2.FOLLOW_PHASE_COPYING,
            rows_done=following.position,
            rows_total=end,
            lag_rows=lag,
            position=following.position,
            error_code="" if source is not None else "UNREACHABLE",
        )

    async def FenceSlots(self, request: shard_pb2.FenceSlotsRequest, context: Any) -> shard_pb2.FenceSlotsResponse:
        known = await self._at(TenantId(request.moved.tenant), Epoch(request.epoch))
        key = self._check_revision(request.moved)
        fence = self.disk.fences.get(key)
        if fence is not None:
            fence.moved = request.moved
            return shard_pb2.FenceSlotsResponse(position=fence.position)
        ranges = known.placement.overflow if request.moved.overflow else known.placement.slots
        for piece in ranges:
            for span in request.moved.slots:
                if piece.first <= span.last and span.first <= piece.last and piece.shard != self.name:
                    raise EvenshardError("OPERATION_CONFLICT", f"{self.name} does not own the slots")
        self.disk.fences[key] = Fence(request.moved, len(self.disk.log))
        self._start(self._await_switch(key))
        return shard_pb2.FenceSlotsResponse(position=len(self.disk.log))

    async def LiftFence(self, request: shard_pb2.LiftFenceRequest, context: Any) -> shard_pb2.LiftFenceResponse:
        key = self._check_revision(request.moved)
        self.disk.fences.pop(key, None)
        return shard_pb2.LiftFenceResponse()

    async def GetDigest(self, request: shard_pb2.GetDigestRequest, context: Any) -> shard_pb2.GetDigestResponse:
        key = self._check_revision(request.moved)
        if not request.HasField("position"):
            return shard_pb2.GetDigestResponse(ready=True)
        fence, following = self.disk.fences.get(key), self.disk.followings.get(key)
        until = None
        if fence is not None:
            if fence.position != request.position:
                raise EvenshardError("OPERATION_CONFLICT", "fenced elsewhere")
            until = fence.position
            self.on_compared()
        elif following is None:
            raise EvenshardError("OPERATION_CONFLICT", "neither fenced nor following")
        elif following.position < request.position:
            self._pull(key, following)
            raise EvenshardError("OPERATION_STATE", "not there yet")
        rows = [row for row in self.disk.rows(TenantId(request.moved.tenant), until) if row.is_in(request.moved)]
        sums = [int.from_bytes(hashlib.sha256(repr(row).encode()).digest()[:8]) for row in rows]
        return shard_pb2.GetDigestResponse(
            ready=True, rows=len(rows), digest=sum(sums) % (1 << 64), log_position=len(self.disk.log)
        )

    async def EndFollowing(self, request: Any, context: Any) -> shard_pb2.EndFollowingResponse:
        key = self._check_revision(request.moved)
        self.disk.followings.pop(key, None)
        return shard_pb2.EndFollowingResponse()

    async def DropSlots(self, request: shard_pb2.DropSlotsRequest, context: Any) -> shard_pb2.DropSlotsResponse:
        tenant = TenantId(request.moved.tenant)
        known = await self._at(tenant, Epoch(request.epoch))
        self._check_revision(request.moved)
        rows = 0
        for position, (name, row) in enumerate(self.disk.log):
            mine = "drops what it owns" not in self._mutants and self._owns(known.placement, row)
            if name == tenant and row.is_in(request.moved) and not mine and position not in self.disk.dropped:
                self.disk.dropped.add(position)
                rows += 1
        return shard_pb2.DropSlotsResponse(rows=rows)

    # What it knows

    def accepts(self, tenant: TenantId, slot: int) -> bool:
        """Whether it would take a row of the slot, planned with what it knows."""
        known = self._tenants.get(tenant)
        if known is None or known.placement.epoch < self.disk.epochs.get(tenant, 0):
            return False
        row = Row("", slot)
        fenced = any(f.moved.tenant == tenant and row.is_in(f.moved) for f in self.disk.fences.values())
        return self._owns(known.placement, row) and not fenced

    async def _at(self, name: TenantId, epoch: Epoch) -> Tenant:
        tenant = self._tenants.get(name)
        if tenant is None or tenant.placement.epoch < epoch:
            tenant = await self._tenants.fetch(name, timeout_s=1.0)
        if tenant is None:
            raise EvenshardError("TENANT_NOT_FOUND", f"there is no tenant {name!r}")
        seen = self.disk.epochs.get(name, Epoch(0))
        if tenant.placement.epoch != epoch or epoch < seen:
            raise EvenshardError("STALE_EPOCH", f"at {max(seen, tenant.placement.epoch)}, not {epoch}")
        if epoch > seen:
            self.disk.epochs[name] = epoch
            self._let_go(tenant)
        return tenant

    def _let_go(self, tenant: Tenant) -> None:
        """Fences of slots that are others' by now have done what they are for."""
        for key, fence in list(self.disk.fences.items()):
            overflow = fence.moved.overflow
            ranges = tenant.placement.overflow if overflow else tenant.placement.slots
            mine = any(
                piece.shard == self.name and piece.first <= span.last and span.first <= piece.last
                for piece in ranges
                for span in fence.moved.slots
            )
            if fence.moved.tenant == tenant.name and not mine:
                del self.disk.fences[key]

    def _owns(self, placement: Placement, row: Row) -> bool:
        if row.overflow_slot is not None and placement.overflow:
            return owner(placement.overflow, row.overflow_slot) == self.name
        return owner(placement.slots, row.slot) == self.name

    def _check_fences(self, tenant: TenantId, rows: Iterable[Row]) -> None:
        fences = [fence.moved for fence in self.disk.fences.values() if fence.moved.tenant == tenant]
        if any(row.is_in(moved) for row in rows for moved in fences):
            raise EvenshardError("SLOTS_FENCED", f"{self.name}: slots of {tenant} are fenced")

    def _check_revision(self, moved: shard_pb2.MovedSlots) -> tuple[str, bool]:
        key = (moved.operation, moved.overflow)
        seen = self.disk.revisions.get(key, 0)
        if moved.revision < seen and "revision not checked" not in self._mutants:
            raise EvenshardError("OPERATION_CONFLICT", f"revision {moved.revision} is older than {seen}")
        self.disk.revisions[key] = max(seen, moved.revision)
        return key

    def _pull(self, key: tuple[str, bool], following: Following) -> None:
        """Takes what came to the source, as it was stored there."""
        source = self._source_of(following.request.source_address)
        if source is None:
            return
        moved = following.request.moved
        end = min(len(source.disk.log), following.position + PULL_ROWS)
        for position in range(following.position, end):
            tenant, row = source.disk.log[position]
            if tenant == moved.tenant and row.is_in(moved) and position not in source.disk.dropped:
                self.disk.log.append((tenant, row))
        following.position = end

    async def _await_switch(self, key: tuple[str, bool]) -> None:
        """Proposes that the fence comes to nothing, where no switch is seen."""
        while True:
            await self._clock.sleep(SWITCH_WAITED_MS)
            fence = self.disk.fences.get(key)
            if fence is None:
                return
            tenant = self._tenants.get(fence.moved.tenant)
            if tenant is not None and tenant.placement.epoch > self.disk.epochs.get(tenant.name, 0):
                self.disk.epochs[tenant.name] = tenant.placement.epoch
                self._let_go(tenant)
                continue
            moved = fence.moved
            try:
                revision = await self._proposals.propose_back(
                    TenantId(moved.tenant), moved.operation, moved.revision, PROPOSE_TIMEOUT_S
                )
            except EvenshardError:
                continue
            now = self.disk.fences.get(key)
            if revision is not None and now is not None and now.moved.revision == moved.revision:
                self.disk.revisions[key] = max(self.disk.revisions.get(key, 0), revision)
                del self.disk.fences[key]
                return

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def owner(ranges: Iterable[SlotRange], slot: int) -> ShardId:
    return next(piece.shard for piece in ranges if piece.first <= slot <= piece.last)
