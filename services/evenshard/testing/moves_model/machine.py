"""The stateful model of moves: people, and whatever goes wrong between them, in any order that Hypothesis thinks of."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from evenshard.directory.moves import Slots
from evenshard.errors import EvenshardError
from evenshard.events.hashing import SLOT_COUNT
from evenshard.ids import OperationId, ShardId, TenantId
from evenshard.testing.moves_model.world import MovingWorld, options

SHARDS = st.integers(0, 2).map(lambda number: ShardId(f"shard-{number}"))
ROUTERS = st.sampled_from(["router-0", "router-1"])
TENANTS = st.sampled_from([TenantId("acme"), TenantId("bolt")])
CHANCES = st.sampled_from([0.0, 0.05, 0.3])
SLOTS = st.none() | st.tuples(st.integers(0, SLOT_COUNT - 1), st.integers(0, SLOT_COUNT - 1)).map(
    lambda slots: (min(slots), max(slots))
)


class Moving(RuleBasedStateMachine):
    """Set ``mutants`` to see that they are caught."""

    mutants: ClassVar[Collection[str]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.operations: list[OperationId] = []
        self.world: MovingWorld | None = None

    def live(self, work: Callable[[MovingWorld], Coroutine[Any, Any, Any]]) -> Any:
        assert self.world is not None
        return self.runner.run(self.world.clock.run(work(self.world)))

    @initialize(seed=st.integers(0, 1 << 20))
    def begin(self, seed: int) -> None:
        async def start() -> None:
            self.world = MovingWorld(seed, mutants=self.mutants)
            await self.world.start()
            await self.world.create("acme", [ShardId("shard-0"), ShardId("shard-1")])
            await self.world.create("bolt", [ShardId("shard-0")], overflow=True)

        async def started() -> None:
            loop = asyncio.ensure_future(start())
            while not loop.done():
                if self.world is not None:
                    await self.world.clock.step()
                else:
                    await asyncio.sleep(0)
            await loop

        self.runner.run(started())

    @rule(router=ROUTERS, tenant=TENANTS, count=st.integers(1, 25))
    def send(self, router: str, tenant: TenantId, count: int) -> None:
        self.live(lambda world: world.send(router, tenant, count))

    @rule(tenant=TENANTS, via=st.sampled_from(["", "router-0", "router-1"]))
    def ask(self, tenant: TenantId, via: str) -> None:
        self.live(lambda world: world.ask(tenant, world.routers[via].tenants if via else None))

    @rule(duration_ms=st.sampled_from([10.0, 100.0, 700.0, 1_500.0, 12_000.0]))
    def wait(self, duration_ms: float) -> None:
        self.live(lambda world: world.clock.sleep(duration_ms))

    @rule(router=ROUTERS, tenant=TENANTS, to=SHARDS, slots=SLOTS, overflow=st.booleans())
    def move(self, router: str, tenant: TenantId, to: ShardId, slots: Slots | None, overflow: bool) -> None:
        self._begun(lambda world: world.routers[router].moves.move(tenant, to, slots, 0, options(), overflow=overflow))

    @rule(router=ROUTERS, tenant=TENANTS, to=SHARDS, kind=st.sampled_from(["split", "merge", "isolate"]))
    def lay_out(self, router: str, tenant: TenantId, to: ShardId, kind: str) -> None:
        def work(world: MovingWorld) -> Coroutine[Any, Any, Any]:
            moves = world.routers[router].moves
            if kind == "split":
                return moves.split(tenant, [to], 0, options())
            return getattr(moves, kind)(tenant, to, 0, options())  # type: ignore[no-any-return]

        self._begun(work)

    @rule(router=ROUTERS, shard=SHARDS)
    def drain(self, router: str, shard: ShardId) -> None:
        self._begun(lambda world: world.routers[router].moves.drain(shard, 0, options()))

    def _begun(self, work: Callable[[MovingWorld], Coroutine[Any, Any, Any]]) -> None:
        async def ask(world: MovingWorld) -> None:
            planned = await world.asked(lambda: work(world))
            if not isinstance(planned, EvenshardError) and planned.stored is not None:
                self.operations.append(planned.stored.operation.id)

        self.live(ask)

    @precondition(lambda self: self.operations)
    @rule(
        router=ROUTERS,
        verb=st.sampled_from(["cancel", "rollback", "complete", "pause", "resume"]),
        which=st.integers(0, 3),
    )
    def wish(self, router: str, verb: str, which: int) -> None:
        name = self.operations[-1 - which % len(self.operations)]

        async def ask(world: MovingWorld) -> None:
            await world.asked(lambda: getattr(world.routers[router].admin, verb)(name, options()))

        self.live(ask)

    @rule(shard=SHARDS, how=st.sampled_from(["kill", "stop", "cut off"]))
    def hurt_shard(self, shard: ShardId, how: str) -> None:
        async def hurt(world: MovingWorld) -> None:
            node = world.shards[shard].node
            match how:
                case "kill":
                    await world.kill_shard(shard)
                case "stop":
                    node.stop()
                case "cut off":
                    node.is_cut_off = True
                    world.directory.break_watches()

        self.live(hurt)

    @rule(router=ROUTERS, how=st.sampled_from(["kill", "stop", "cut off"]))
    def hurt_router(self, router: str, how: str) -> None:
        async def hurt(world: MovingWorld) -> None:
            match how:
                case "kill":
                    await world.kill_router(router)
                case "stop":
                    world.routers[router].node.stop()
                case "cut off":
                    world.routers[router].node.is_cut_off = True
                    world.directory.break_watches()

        self.live(hurt)

    @rule(lose=CHANCES, lose_answer=CHANCES, repeat=CHANCES, delay=CHANCES)
    def bad_links(self, lose: float, lose_answer: float, repeat: float, delay: float) -> None:
        assert self.world is not None
        links = self.world.links
        links.lose, links.lose_answer, links.repeat, links.delay = lose, lose_answer, repeat, delay

    @rule(what=st.sampled_from(["watches stand still", "calls fail", "replies are lost", "gateway is stale"]))
    def hurt_directory(self, what: str) -> None:
        assert self.world is not None
        match what:
            case "watches stand still":
                self.world.directory.pause_watches()
            case "calls fail":
                self.world.faults.calls_failing = 2
            case "replies are lost":
                self.world.faults.replies_lost = 1
            case "gateway is stale":
                self.world.gateway_node.stop()

    @rule()
    def heal(self) -> None:
        assert self.world is not None
        self.world.heal()

    @invariant()
    def a_slot_has_one_owner(self) -> None:
        if self.world is not None:
            self.world.check_owners()

    def teardown(self) -> None:
        if self.world is not None:
            try:
                self.live(lambda world: world.settled())
            finally:
                self.live(lambda world: world.close())
        self.runner.close()
