"""Keys that become hot while their events come three times, through several routers, over links that delay, lose and
repeat: what is stored must be each event once, whatever happens.

Every tenant has one key, which crosses, and one that does not. Many tenants live in one cluster at a time.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import orjson

from evenshard.api.v1 import admin_pb2
from evenshard.directory.keys import mark_key
from evenshard.directory.tenant import HotKeyMode, TenantSettings
from evenshard.errors import EvenshardError
from evenshard.hotkeys.marks import Mark
from evenshard.ids import TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.peers import Request, Response, Rpc
from evenshard.ports.rng import Rng
from evenshard.testing.cluster import ROUTER, MemoryCluster
from evenshard.testing.peers import MemoryPeers
from evenshard.testing.reference import Row, ndjson_of
from evenshard.wire import rpcs

START_MS: Final = 1_767_225_600_000
DAY: Final = START_MS // 86_400_000
END_MS: Final = START_MS + 86_400_000
DATE: Final = "2026-01-01"
HOT: Final = "runaway"
THRESHOLD: Final = 100
BATCH_ROWS_MAX: Final = 40
AT_ONCE: Final = 3
IN_FLIGHT: Final = AT_ONCE * BATCH_ROWS_MAX
OF_MOVES: Final = frozenset(
    rpc.path
    for rpc in (
        rpcs.FOLLOW_SLOTS,
        rpcs.FENCE_SLOTS,
        rpcs.LIFT_FENCE,
        rpcs.GET_DIGEST,
        rpcs.END_FOLLOWING,
        rpcs.DROP_SLOTS,
    )
)
OF_DRIVERS: Final = OF_MOVES | {
    rpc.path for rpc in (rpcs.LEARN_EPOCH, rpcs.SEAL_KEY, rpcs.KEEP_ORIGINALS, rpcs.RECORD_KEY)
}
TO_SHARDS: Final = OF_DRIVERS | {rpc.path for rpc in (rpcs.APPEND_EVENTS, rpcs.HIDE_USERS)}


@dataclass
class Chances:
    """Of each call to a shard. ``until``: nothing goes wrong any more."""

    lose: float = 0.0
    lose_answer: float = 0.0
    repeat: float = 0.0
    delay: float = 0.0
    delay_ms_max: float = 30.0
    pause: float = 0.0
    """Of a driver's calls: so long that others take over."""
    pause_ms: float = 250.0


class ChancyPeers(MemoryPeers):
    """Links to shards that delay, lose and repeat what is sent."""

    def __init__(self, clock: Clock, rng: Rng, random: Random) -> None:
        super().__init__(clock, rng)
        self._sleep = clock.sleep
        self._random = random
        self.chances = Chances()
        self.met: Counter[str] = Counter()
        self._late: set[asyncio.Task[Any]] = set()
        self.before: Callable[[str, str], Any] | None = None
        """Told of the address and the path of each call of a driver, and waited for."""
        self.after: Callable[[str, str], Any] | None = None

    async def call(self, address: str, rpc: Rpc[Request, Response], request: Request, *, timeout_s: float) -> Response:
        if rpc.path not in TO_SHARDS:
            return await super().call(address, rpc, request, timeout_s=timeout_s)
        chances = self.chances
        if self.before is not None:
            await self.before(address, rpc.path)
        if rpc.path in OF_DRIVERS and self._happens("paused", chances.pause):
            await self._sleep(chances.pause_ms)
        if self._happens("delayed", chances.delay):
            await self._sleep(self._random.random() * chances.delay_ms_max)
        if self._happens("lost", chances.lose):
            raise EvenshardError("UNREACHABLE", f"{address}: lost", details={"address": address})
        if self._happens("repeated", chances.repeat):
            again = asyncio.create_task(self._again(address, rpc, request, timeout_s))
            self._late.add(again)
            again.add_done_callback(self._late.discard)
        answer = await super().call(address, rpc, request, timeout_s=timeout_s)
        if self.after is not None:
            await self.after(address, rpc.path)
        if self._happens("answer lost", chances.lose_answer):
            raise EvenshardError("UNREACHABLE", f"{address}: the answer was lost", details={"address": address})
        return answer

    async def stream(
        self, address: str, rpc: Rpc[Request, Response], request: Request, *, timeout_s: float
    ) -> AsyncIterator[Response]:
        async for answer in super().stream(address, rpc, request, timeout_s=timeout_s):
            yield answer

    async def settle(self) -> None:
        """Until everything that was sent twice has come."""
        while self._late:
            await asyncio.gather(*self._late, return_exceptions=True)

    async def _again(self, address: str, rpc: Rpc[Any, Any], request: Any, timeout_s: float) -> None:
        await self._sleep(self._random.random() * 4 * self.chances.delay_ms_max)
        with contextlib.suppress(EvenshardError):
            await super().call(address, rpc, request, timeout_s=timeout_s)

    def _happens(self, what: str, chance: float) -> bool:
        happens = self._random.random() < chance
        self.met[what] += happens
        return happens


def chancy_cluster(seed: int, *, shards: int = 3, routers: int = 3, **options: Any) -> MemoryCluster:
    """A cluster over such links."""
    cluster = MemoryCluster(shards=shards, routers=routers, seed=seed, **options)
    cluster.peers = ChancyPeers(cluster.clock, cluster.rng, Random(f"peers {seed}"))
    return cluster


def chancy(cluster: MemoryCluster) -> ChancyPeers:
    """Its links."""
    assert isinstance(cluster.peers, ChancyPeers)
    return cluster.peers


@dataclass
class Crossing:
    """One tenant whose key crosses."""

    cluster: MemoryCluster
    seed: int
    mode: HotKeyMode
    events: int = 160
    random: Random = field(init=False)
    tenant: str = field(init=False)
    rows: list[Row] = field(init=False)
    routers: Sequence[str] = (ROUTER, "router-1", "router-2")
    threshold: int = THRESHOLD

    def __post_init__(self) -> None:
        self.random = Random(f"crossing {self.seed} {self.mode}")
        self.tenant = f"{self.mode}-{self.seed}"
        self.rows = [self._row(HOT, number) for number in range(self.events)]
        self.rows += [self._row("calm", number) for number in range(20)]

    def _row(self, distinct_id: str, number: int) -> Row:
        return {
            "tenant": self.tenant,
            "event": self.random.choice(["view", "buy"]),
            "distinct_id": distinct_id,
            "time": START_MS + self.random.randrange(86_400_000),
            "insert_id": f"{distinct_id}-{number}",
            "properties": {"number": number},
        }

    async def create(self) -> None:
        await self.cluster.create_tenant(
            self.tenant, TenantSettings(hot_key_threshold=self.threshold, hot_key_mode=self.mode)
        )

    async def send_all(self, times: int, batch_rows_max: int = BATCH_ROWS_MAX, at_once: int = AT_ONCE) -> int:
        """Every event so many times, in random order, through any router, until all are accepted; returns how many
        were duplicates, as told."""
        rows = [row for row in self.rows for _ in range(times)]
        self.random.shuffle(rows)
        batches = []
        while rows:
            size = self.random.randrange(1, batch_rows_max)
            batches.append(rows[:size])
            rows = rows[size:]
        permits = asyncio.Semaphore(at_once)

        async def send(batch: list[Row]) -> int:
            async with permits:
                return await self.send(batch)

        return sum(await asyncio.gather(*map(send, batches)))

    async def send(self, rows: list[Row]) -> int:
        """Until all are accepted; returns how many were duplicates."""
        duplicates = 0
        for _ in range(200):
            router = self.random.choice(self.routers)
            try:
                answer = await self.cluster.import_events(self.tenant, router=router, ndjson=ndjson_of(rows))
            except EvenshardError as error:
                if not (error.retryable or error.in_doubt or error.code == "UNREACHABLE"):
                    raise
                await self.cluster.clock.sleep(20)
                continue
            duplicates += answer.duplicates
            assert all(error.code == "SHARD_UNAVAILABLE" for error in answer.errors), answer.errors[0]
            rows = [rows[error.index] for error in answer.errors]
            if not rows:
                return duplicates
            await self.cluster.clock.sleep(10)
        raise AssertionError(f"{len(rows)} events are not taken")

    async def cross(self) -> None:
        """Sends more events, should the key not have crossed yet: what several routers had in flight may not have been
        counted in time."""
        while await self.mark() is None:
            await self.cluster.clock.sleep(100)
            more = [self._row(HOT, number) for number in range(self.events, self.events + 20)]
            self.events += len(more)
            self.rows += more
            await self.send(more)
            await self.send(more)

    async def mark(self) -> Mark | None:
        entry = await self.cluster.directory.get(mark_key(TenantId(self.tenant), HOT, DAY))
        return None if entry is None else Mark.from_json(entry.value)

    async def until_active(self, timeout_s: float = 30.0) -> Mark:
        async def active() -> bool:
            with contextlib.suppress(EvenshardError):  # the directory may be away
                mark = await self.mark()
                return mark is not None and mark.state == "active"
            return False

        await self.cluster.until(active, timeout_s)
        mark = await self.mark()
        assert mark is not None
        return mark

    async def until_settled(self, timeout_s: float = 30.0) -> None:
        """Until no hand-over is under way."""

        async def settled() -> bool:
            mark = await self.mark()
            return mark is None or mark.state == "active"

        await self.cluster.until(settled, timeout_s)

    async def delete_user(self) -> None:
        """Until it is hidden."""
        request = admin_pb2.DeleteUsersRequest(
            tenant=self.tenant,
            distinct_ids=[HOT],
            options=admin_pb2.ChangeOptions(request_id=f"delete-{self.tenant}"),
        )
        for _ in range(50):
            try:
                await self.cluster.call(self.random.choice(self.routers), rpcs.DELETE_USERS, request)
                return
            except EvenshardError as error:
                if not (error.retryable or error.code in ("UNREACHABLE", "DEADLINE_EXCEEDED")):
                    raise
                await self.cluster.clock.sleep(20)
        raise AssertionError("the user could not be deleted")

    async def exported(self, **options: Any) -> list[Any]:
        payload = await self.cluster.export(self.tenant, START_MS, END_MS, **options)
        return [orjson.loads(line) for line in payload.splitlines()]

    async def check(self, *, is_hot: bool = True) -> None:
        """Each event is there once, as it came; as many are shown rewritten as the mode says, if it is known whether
        the key is hot: while a user is deleted other routers go on with their counts and marks for a moment."""
        found = [
            (row["event"], row["properties"]["distinct_id"], row["properties"]["time"], row["properties"]["$insert_id"])
            for row in await self.exported(restore_hot=True)
        ]
        sent = [(row["event"], row["distinct_id"], row["time"], row["insert_id"]) for row in self.rows]
        twice = {identity: count for identity, count in Counter(found).items() if count > 1}
        assert twice == {}, f"seed {self.seed}: stored more than once"
        missing = sorted(set(sent) - set(found))
        assert missing == [], f"seed {self.seed}: {len(missing)} lost"
        assert len(found) == len(sent)
        shown = await self.exported()
        rewritten = sum(row["event"] == "$hotshard_events" for row in shown)
        assert len(shown) == len(sent)
        if self.mode == "rewrite":
            # Copies on their way count as new until their acks say which are: so many may make it cross early.
            least, most = (1, self.events - self.threshold + IN_FLIGHT) if is_hot else (0, self.events)
            assert least <= rewritten <= most, f"seed {self.seed}: {rewritten} of {self.events} rewritten"
        else:
            assert rewritten == 0
        records = [
            orjson.loads(line)["properties"]["mp_original_distinct_id"]
            for line in (await self.cluster.export(self.tenant, 0, 1 << 42, events=["$hotshard_record"])).splitlines()
        ]
        marked = await self.mark() is not None  # one that was deleted left nothing
        assert records == [HOT] * marked, f"seed {self.seed}: {len(records)} records"

    async def answers(self) -> list[Any]:
        """What is asked, without how it was found."""
        found: list[Any] = [await self.exported(), await self.exported(restore_hot=True)]
        for options in ({}, {"restore_hot": True}):
            for question in ({}, {"measure": "unique"}, {"by": ["$event"]}, {"by": ["$distinct_id"]}):
                answer = await self.cluster.segmentation(self.tenant, DATE, DATE, options=options, **question)
                rewritten = answer.meta.hot_events_rewritten
                answer.ClearField("meta")
                found.append((str(answer), rewritten))
        return found
