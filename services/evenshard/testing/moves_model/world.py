"""A small cluster in virtual time, one process a node: routers that drive and administer, gateways, shards, one
directory. Everything that was acknowledged must be answered exactly once, whatever happens.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeVar, cast

from evenshard.directory.keys import LEADER, OPERATIONS, service_key, tenant_key
from evenshard.directory.operations import GROUP_KINDS, Operation
from evenshard.directory.placement import Placement, even_placement
from evenshard.directory.service import ServiceRecord
from evenshard.directory.tenant import Tenant, TenantSettings
from evenshard.errors import EvenshardError
from evenshard.events.hashing import SLOT_COUNT
from evenshard.ids import OperationId, ShardId, TenantId
from evenshard.ports.directory import Put
from evenshard.router.admin import ChangeOptions
from evenshard.router.cluster_facts import ClusterFacts
from evenshard.router.groups_driver import GroupDriver
from evenshard.router.moves_admin import MoveAdmin
from evenshard.router.moves_driver import MoveDriver
from evenshard.router.operations_admin import OperationAdmin
from evenshard.router.operations_driver import OperationDriver
from evenshard.router.repairs_admin import RepairAdmin
from evenshard.router.repairs_driver import RepairDriver
from evenshard.router.repairs_ended import EndedRepairs
from evenshard.router.tenant_shards import TenantShards
from evenshard.runtime.blocked import BlockedView
from evenshard.runtime.call import DEVELOPMENT, Call, enter_call
from evenshard.runtime.election import Election, Term
from evenshard.runtime.fences import FenceProposals
from evenshard.runtime.operations import OperationView
from evenshard.runtime.service import Servicer
from evenshard.runtime.services import ServiceView
from evenshard.runtime.tenants import TenantView
from evenshard.testing.directory import MemoryDirectory
from evenshard.testing.moves_model.nodes import Faults, Links, Node, NodeDirectory, NodePeers
from evenshard.testing.moves_model.small_shard import Row, SmallDisk, SmallShard, owner
from evenshard.testing.moves_model.virtual_time import VirtualClock
from evenshard.testing.peers import MemoryPeers
from evenshard.testing.rng import SeededRng
from evenshard.wire.rpcs import SHARD_SERVICE

RETRY_MS: Final = 50.0
SENT_WITHIN_MS: Final = 2_000.0
"""A router gives rows back that were not taken by then; whoever sent them may send them again."""
HEALED_WITHIN_MS: Final = 30_000.0
"""After the last fault everything goes on."""
SEEN_WITHIN_MS: Final = 2_500.0
"""Whoever watches the directory has seen by then what there was."""
SLOTS_LOOKED_AT: Final = 16

_Result = TypeVar("_Result")


@dataclass
class _Router:
    node: Node
    tenants: TenantView
    operations: OperationView
    services: ServiceView
    admin: OperationAdmin
    moves: MoveAdmin
    election: Election

    async def close(self) -> None:
        for each in (self.election, self.operations, self.services, self.tenants):
            await each.close()


@dataclass
class _ShardNode:
    node: Node
    disk: SmallDisk
    shard: SmallShard | None = None
    tenants: TenantView | None = None


@dataclass
class Acked:
    """What was acknowledged of one tenant, and what may be stored besides."""

    names: set[str] = field(default_factory=set)
    maybe: set[str] = field(default_factory=set)
    """Sent, and no answer came."""


class MovingWorld:
    """``start`` it within ``clock.run``."""

    def __init__(self, seed: int, shards: int = 3, routers: int = 2, mutants: Collection[str] = ()) -> None:
        self.seed = seed
        self.random = Random(f"moving {seed}")
        self.clock = VirtualClock()
        self.rng = SeededRng(seed)
        self.directory = MemoryDirectory(self.clock)
        self.peers = MemoryPeers(self.clock, self.rng)
        self.links = Links()
        self.faults = Faults()
        self.mutants = mutants
        self.shards = {
            ShardId(f"shard-{number}"): _ShardNode(Node(f"shard-{number}", self.clock), SmallDisk())
            for number in range(shards)
        }
        self.router_names = [f"router-{number}" for number in range(routers)]
        self.routers: dict[str, _Router] = {}
        self.gateway: TenantView | None = None
        self.acked: dict[TenantId, Acked] = {}
        self._users = 0

    async def start(self) -> None:
        for name in self.shards:
            await self.start_shard(name)
        for router in self.router_names:
            await self.start_router(router)
        gateway = Node("gateway-0", self.clock)
        self.gateway_node = gateway
        self.gateway = TenantView(NodeDirectory(gateway, self.directory, self.faults), self.clock)
        await self.gateway.start()

    async def close(self) -> None:
        self.heal()
        assert self.gateway is not None
        await self.gateway.close()
        for router in self.routers.values():
            await router.close()
        for each in self.shards.values():
            if each.shard is not None and each.tenants is not None:
                each.shard.end()
                await each.tenants.close()
        await self.peers.close()

    # Processes

    async def start_shard(self, name: ShardId) -> None:
        each = self.shards[name]
        directory = NodeDirectory(each.node, self.directory, self.faults)
        each.tenants = TenantView(directory, self.clock)
        self.faults.calls_failing = 0  # it would try again
        await each.tenants.start()
        proposals = FenceProposals(name, directory, self.clock, self.rng)
        each.shard = SmallShard(name, each.disk, each.tenants, self.clock, proposals, self._source, self.mutants)
        self.peers.register(name, [Servicer(SHARD_SERVICE, lambda *_: None, _Stoppable(each.node, each.shard))])
        record = ServiceRecord(name, "shard", name, "localhost", 1, 0)
        await self.directory.swap([], [Put(service_key(name), record.to_json())])

    async def kill_shard(self, name: ShardId) -> None:
        """And start it again on its disk, as soon as it reaches the directory."""
        each = self.shards[name]
        if each.shard is None or each.tenants is None:
            return
        self.peers.partition(name)
        self.peers.unregister(name)
        each.shard.end()
        each.shard = None
        await each.tenants.close()
        self.peers.heal(name)
        each.node.go_on()
        each.node.is_cut_off = False
        await self.start_shard(name)

    async def start_router(self, name: str) -> None:
        node = Node(name, self.clock)
        directory = NodeDirectory(node, self.directory, self.faults)
        peers = NodePeers(node, self.peers, self.clock, self.random, self.links)
        tenants, services = TenantView(directory, self.clock), ServiceView(directory, self.clock)
        operations = OperationView(directory, self.clock)
        self.faults.calls_failing = 0  # it would try again
        for view in (tenants, services, operations):
            await view.start()
        shards = TenantShards(tenants, services, peers)
        facts = ClusterFacts(directory, tenants, services, shards)
        repairs = RepairDriver(directory, operations, shards, self.clock, self.rng)
        nothing = cast(Any, None)  # what only deletions need
        driver = OperationDriver(
            directory,
            operations,
            shards,
            nothing,
            repairs,
            EndedRepairs(directory, operations, shards, self.clock),
            MoveDriver(directory, operations, shards, self.clock, self.rng),
            GroupDriver(directory, operations, facts, self.clock, self.rng),
            nothing,
            self.clock,
            self.rng,
        )
        repair_admin = RepairAdmin(directory, operations, shards, self.clock, self.rng)
        blocked = BlockedView(directory, self.clock)
        admin = OperationAdmin(directory, operations, blocked, None, repair_admin, self.clock, self.rng)
        moves = MoveAdmin(directory, tenants, operations, facts, self.clock, self.rng)

        async def lead(term: Term) -> None:
            await driver.lead(term)

        election = Election(directory, self.clock, self.rng, LEADER, name, lead)
        self.routers[name] = _Router(node, tenants, operations, services, admin, moves, election)
        election.start()

    async def kill_router(self, name: str) -> None:
        """And start it again."""
        router = self.routers.pop(name)
        router.node.is_cut_off = True
        router.node.go_on()
        await router.close()
        await self.start_router(name)

    def heal(self) -> None:
        """Nothing goes wrong any more; what was stopped goes on where it was."""
        self.links.lose = self.links.lose_answer = self.links.repeat = self.links.delay = 0.0
        self.faults.calls_failing = self.faults.replies_lost = 0
        nodes = [each.node for each in self.shards.values()] + [each.node for each in self.routers.values()]
        for node in [*nodes, self.gateway_node]:
            node.is_cut_off = False
            node.go_on()
        self.directory.resume_watches()

    @property
    def leader(self) -> str | None:
        return next((name for name, router in self.routers.items() if router.election.term is not None), None)

    # What people do

    async def create(self, name: str, on: Sequence[ShardId] | None = None, *, overflow: bool = False) -> TenantId:
        shards = list(on or self.shards)
        placement = even_placement(shards)
        if overflow:
            placement = Placement(placement.epoch, placement.slots, even_placement(list(reversed(shards))).slots)
        tenant = Tenant(TenantId(name), TenantSettings(), placement, self.rng.token_hex(8))
        await self.directory.swap([], [Put(tenant_key(tenant.name), tenant.to_json())])
        self.acked[tenant.name] = Acked()
        return tenant.name

    async def send(self, router: str, tenant: TenantId, count: int) -> None:
        """New rows and some that were sent before, through one router, as it knows the placement."""
        record = await self.tenant(tenant)
        rows = []
        for _ in range(count):
            again = self.acked[tenant].names | self.acked[tenant].maybe
            if again and self.random.random() < 0.3:
                rows.append(_row(self.random.choice(sorted(again)), hot=bool(record.placement.overflow)))
                continue
            self._users += 1
            rows.append(_row(f"{tenant}-{self._users}", hot=bool(record.placement.overflow)))
        until_ms = self.clock.monotonic_ms() + SENT_WITHIN_MS
        tenants = self.routers[router].tenants
        while rows and self.clock.monotonic_ms() < until_ms:
            rows = await self._send(tenants, tenant, rows)
            if rows:
                await self.clock.sleep(RETRY_MS)

    async def _send(self, tenants: TenantView, tenant: TenantId, rows: list[Row]) -> list[Row]:
        """Those that were refused."""
        known = tenants.get(tenant) or await self.tenant(tenant)
        by_shard: dict[ShardId, list[Row]] = {}
        for row in rows:
            by_shard.setdefault(_shard_of(known.placement, row), []).append(row)
        left = []
        for shard, some in by_shard.items():
            names = {row.name for row in some}
            try:
                await self._reach(shard, lambda found: found.append(tenant, known.placement.epoch, some))  # noqa: B023
            except EvenshardError as error:
                left += some
                if error.code not in ("STALE_EPOCH", "SLOTS_FENCED"):
                    self.acked[tenant].maybe |= names
                continue
            if self.links.lose_answer and self.random.random() < self.links.lose_answer:
                self.acked[tenant].maybe |= names
                continue
            self.acked[tenant].names |= names
        return left

    async def _reach(self, shard: ShardId, call: "Callable[[SmallShard], Awaitable[_Result]]") -> _Result:
        each = self.shards[shard]
        if each.shard is None or each.node.is_stopped:
            raise EvenshardError("UNREACHABLE", f"{shard} does not answer")
        return await call(each.shard)

    async def answer(self, tenant: TenantId, tenants: TenantView | None = None) -> list[Row] | None:
        """What a gateway says that knows the placement as ``tenants`` do; None: it has no answer now."""
        view = tenants or self.gateway
        assert view is not None
        known = view.get(tenant)
        if known is None:
            return None
        found: list[Row] = []
        for shard in known.placement.shards:
            try:
                found += await self._reach(shard, lambda each: each.scan(tenant, known.placement.epoch))
            except EvenshardError:
                return None
        return found

    async def tenant(self, name: TenantId) -> Tenant:
        entry = await self.directory.get(tenant_key(name))
        assert entry is not None
        return Tenant.from_json(entry.value)

    async def operation(self, name: OperationId) -> Operation:
        entry = await self.directory.get("/evenshard/operations/" + name)
        assert entry is not None
        return Operation.from_json(entry.value)

    async def asked(
        self, work: Callable[[], Coroutine[Any, Any, _Result]], seconds: float = 5.0
    ) -> "_Result | EvenshardError":
        """What an operator is answered; one who waits too long goes away."""

        async def ask() -> _Result:
            enter_call(Call(DEVELOPMENT, "0" * 32, time.monotonic() + 3600))
            return await work()

        task = asyncio.ensure_future(ask())
        over = asyncio.ensure_future(self.clock.sleep(seconds * 1000))
        await asyncio.wait((task, over), return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return EvenshardError("DEADLINE_EXCEEDED", "no answer")
        try:
            return task.result()
        except EvenshardError as error:
            return error

    # What must hold

    def check_owners(self) -> None:
        """At most one shard would take a row of a slot."""
        for tenant in self.acked:
            for slot in range(0, SLOT_COUNT, SLOT_COUNT // SLOTS_LOOKED_AT):
                owners = [
                    name
                    for name, each in self.shards.items()
                    if each.shard is not None and each.shard.accepts(tenant, slot)
                ]
                assert len(owners) <= 1, f"seed {self.seed}: {owners} take slot {slot} of {tenant}"

    def check_answer(self, tenant: TenantId, acked_before: Collection[str], answer: Sequence[Row] | None) -> None:
        """Whatever was acknowledged before the question is in it once; nothing is in it twice or made up."""
        if answer is None:
            return
        counted = Counter(row.name for row in answer if not row.is_copy)
        twice = sorted(name for name, count in counted.items() if count > 1)
        assert not twice, f"seed {self.seed}: {twice[:3]} of {tenant} twice"
        missing = sorted(set(acked_before) - counted.keys())
        assert not missing, f"seed {self.seed}: {len(missing)} acknowledged events of {tenant} lost, as {missing[:3]}"
        known = self.acked[tenant]
        made_up = sorted(counted.keys() - known.names - known.maybe)
        assert not made_up, f"seed {self.seed}: {made_up[:3]}"

    async def ask(self, tenant: TenantId, tenants: TenantView | None = None) -> bool:
        """Asks, and checks the answer; False: there was none."""
        before = set(self.acked[tenant].names)
        answer = await self.answer(tenant, tenants)
        self.check_answer(tenant, before, answer)
        return answer is not None

    async def settled(self) -> None:
        """Everything is healed: within ``HEALED_WITHIN_MS`` every tenant answers, and no slot is fenced."""
        self.heal()
        await self.clock.sleep(SEEN_WITHIN_MS)
        until_ms = self.clock.monotonic_ms() + HEALED_WITHIN_MS
        for tenant in self.acked:
            while not await self.ask(tenant):
                assert self.clock.monotonic_ms() < until_ms, f"seed {self.seed}: {tenant} does not answer"
                await self.clock.sleep(100)
        self.check_owners()
        for entry in (await self.directory.range(OPERATIONS)).entries:
            await self._goes_on(Operation.from_json(entry.value).id, until_ms)

    async def _goes_on(self, name: OperationId, until_ms: float) -> None:
        """A move that nobody has paused ends, or has switched and waits to be completed; what is a part of an operation
        waits for that one while it is paused."""
        while True:
            now = await self.operation(name)
            waits = False
            if now.move is not None and now.state == "switched" and not now.move.wish:
                waits = now.move.group is None or (await self.operation(now.move.group)).paused
            if now.ended or waits or now.paused or now.kind in GROUP_KINDS:
                return
            assert self.clock.monotonic_ms() < until_ms, f"seed {self.seed}: {now}"
            await self.clock.sleep(100)

    def _source(self, address: str) -> SmallShard | None:
        each = self.shards[ShardId(address)]
        return None if each.node.is_stopped else each.shard


class _Stoppable:
    """A servicer of a process that may be stopped."""

    def __init__(self, node: Node, shard: SmallShard) -> None:
        self._node = node
        self._shard = shard

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._shard, name)

        async def call(request: Any, context: Any) -> Any:
            await self._node.turn()
            return await method(request, context)

        return call


def _row(name: str, *, hot: bool) -> Row:
    """Its slots follow from its name; every third is of a hot key, where there is an overflow."""
    chance = Random(name)
    slot, identity = chance.randrange(SLOT_COUNT), chance.randrange(SLOT_COUNT)
    return Row(name, slot, identity if hot and slot % 3 == 0 else None)


def _shard_of(placement: Placement, row: Row) -> ShardId:
    if row.overflow_slot is not None:
        return owner(placement.overflow, row.overflow_slot)
    return owner(placement.slots, row.slot)


def options(request_id: str = "", revision: int = 0) -> ChangeOptions:
    return ChangeOptions(request_id, False, revision)
