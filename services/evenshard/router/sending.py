"""Rows of one import on their way to shards: sent, held and sent again where they could not be taken, until all are
accounted for."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, TenantId
from evenshard.ports.clock import Clock
from evenshard.router.appending import Appender, PartAppended
from evenshard.router.hot_keys import Flight, HotKeys
from evenshard.router.packing import ShardRequest, pack
from evenshard.router.partition import Part, deal
from evenshard.router.sealed_rows import HOLD_MS, RETRY_MS, Sealed, SealedRows
from evenshard.router.tally import Tally
from evenshard.runtime.tenants import TenantView
from evenshard.wire.shards import BatchAppended

PLACEMENTS_TRIED_MAX: Final = 4
"""The first, and three more where shards say that it is out of date."""
RETRY_WAIT_MS: Final = 20
"""Before placing anew; doubles with each try."""
FENCED_RETRY_MS: Final = 20.0
"""How long the next placement is waited for before slots that are fenced are tried again."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Tries:
    """What was tried of some rows."""

    placements: int = 1
    held_until_ms: float | None = None
    """When rows of sealed keys are given back; None: they were not held yet."""


class Sending:
    """The rows of one import; it ends before ``until_ms``."""

    def __init__(
        self,
        tenants: TenantView,
        appender: Appender,
        hot_keys: HotKeys,
        sealed: SealedRows,
        clock: Clock,
        pool: ThreadPoolExecutor,
        tally: Tally,
        flights: Mapping[str, Flight],
        until_ms: float,
    ) -> None:
        """``tally`` hears what became of the rows; ``flights``: by tenant."""
        self._tenants = tenants
        self._appender = appender
        self._hot_keys = hot_keys
        self._sealed = sealed
        self._clock = clock
        self._pool = pool
        self._tally = tally
        self._flights = flights
        self._until_ms = until_ms

    async def send(self, requests: Sequence[ShardRequest], tries: "_Tries | None" = None) -> None:
        """Sends, and what could not be taken where it came once more, until all is accounted for."""
        tries = tries or _Tries()
        timeout_s = max(0.0, self._until_ms - self._clock.monotonic_ms()) / 1000
        answers = await asyncio.gather(*(self._appender.append(request, timeout_s) for request in requests))
        stale: list[Part] = []
        sealed: list[Sealed] = []
        fenced: list[Part] = []
        early: list[PartAppended] = []
        for part, result in (each for answer in answers for each in answer):
            match result.code:
                case "STALE_EPOCH":
                    stale.append(part)
                case "KEY_SEALED" if result.sealed:
                    sealed.append(Sealed(part, result.sealed))
                case "SLOTS_FENCED":
                    fenced.append(part)
                case "OVERLOADED" if result.retry_after_ms:
                    early.append((part, result))
                case _:
                    self._settle(part, result)
        if stale or sealed or fenced or early:
            await asyncio.gather(
                self._send_anew(stale, tries),
                self._send_sealed(sealed, tries),
                self._send_after_fence(fenced, tries),
                self._send_later(early, tries),
            )

    async def _send_later(self, early: Sequence[PartAppended], tries: "_Tries") -> None:
        """Parts for which a shard had no room: sent again when it may have, if that leaves it as long again to take
        them. To give them back costs both sides more than to hold them, event by event."""
        if not early:
            return
        wait_ms = max(result.retry_after_ms for _, result in early)
        if self._clock.monotonic_ms() + 2 * wait_ms >= self._until_ms:
            for part, result in early:
                self._settle(part, result)
            return
        await self._clock.sleep(wait_ms)
        requests = await self._in_thread(pack, [part for part, _ in early])
        await self.send(requests, tries)

    async def _send_anew(self, stale: Sequence[Part], tries: "_Tries") -> None:
        """Parts whose placement was out of date."""
        if not stale:
            return
        wait_ms = RETRY_WAIT_MS << tries.placements
        if tries.placements == PLACEMENTS_TRIED_MAX or self._clock.monotonic_ms() + wait_ms >= self._until_ms:
            for part in stale:
                self._tally.refused(part, "SHARD_UNAVAILABLE", f"{part.shard}: the tenant's placement kept changing")
            return
        await self._clock.sleep(wait_ms)
        requests = await self._place_anew(stale)
        await self.send(requests, replace(tries, placements=tries.placements + 1))

    async def _send_after_fence(self, fenced: Sequence[Part], tries: "_Tries") -> None:
        """Parts with rows of slots that go to another shard just now: held until they are there, or stay."""
        if not fenced:
            return
        if self._clock.monotonic_ms() + FENCED_RETRY_MS >= self._until_ms:
            for part in fenced:
                self._tally.refused(part, "SHARD_UNAVAILABLE", f"{part.shard}: its slots are being moved")
            return
        names = list(dict.fromkeys((part.tenant, part.epoch) for part in fenced))
        found = await asyncio.gather(*(self._after_fence(name, epoch) for name, epoch in names))
        tenants = dict(zip(names, found, strict=True))
        placed = [(part, tenant) for part in fenced if (tenant := tenants[part.tenant, part.epoch]) is not None]
        for part in fenced:
            if tenants[part.tenant, part.epoch] is None:
                self._tally.refused(part, "TENANT_NOT_FOUND", f"there is no tenant {part.tenant!r} any more")
        await self.send(await self._in_thread(_stage_anew, placed), tries)

    async def _after_fence(self, name: TenantId, epoch: Epoch) -> Tenant | None:
        """The tenant with its next placement, as soon as that is seen here; as it is where that does not come soon."""
        return await self._tenants.wait_epoch(name, Epoch(epoch + 1), FENCED_RETRY_MS / 1000) or self._tenants.get(name)

    async def _send_sealed(self, sealed: Sequence[Sealed], tries: "_Tries") -> None:
        """Parts with rows of keys that are sealed where they were sent: these wait for the hand-over, the rest does
        not."""
        if not sealed:
            return
        pieces = [each.split() for each in sealed]
        rest = [part for part, _ in pieces if part is not None]
        held = [each for _, each in pieces if each is not None]
        free = await self._in_thread(pack, rest)
        await asyncio.gather(self.send(free, tries), self._send_held(held, tries))

    async def _send_held(self, held: Sequence[Sealed], tries: "_Tries") -> None:
        now_ms = self._clock.monotonic_ms()
        held_until_ms = min(self._until_ms, now_ms + HOLD_MS) if tries.held_until_ms is None else tries.held_until_ms
        problem = "a hot key is being handed over"
        if held and now_ms < held_until_ms:
            try:
                if tries.held_until_ms is not None:
                    await self._clock.sleep(RETRY_MS)
                parts = await self._sealed.placed(held, self._flights, held_until_ms)
            except EvenshardError as error:
                problem = f"the mark of a hot key is not known: {error.code}: {error.message}"
            else:
                requests = await self._in_thread(pack, parts)
                await self.send(requests, replace(tries, held_until_ms=held_until_ms))
                return
        for each in held:
            self._tally.refused(each.part, "SHARD_UNAVAILABLE", f"{each.part.shard}: {problem}")

    def _settle(self, part: Part, result: BatchAppended) -> None:
        """Accounts for a part."""
        match result.code:
            case "":
                self._tally.stored(part, result.duplicates)
                self._hot_keys.stored(self._flights[part.tenant], part, result.duplicates)
            case "TENANT_NOT_FOUND":
                self._tally.refused(part, result.code, result.message)
            case "SHARD_UNAVAILABLE":
                self._tally.refused(part, result.code, result.message)
            case _:
                message = f"{part.shard} refused it: {result.code}: {result.message}"
                self._tally.come_again(result.retry_after_ms)
                self._tally.refused(part, "SHARD_UNAVAILABLE", message)

    async def _place_anew(self, stale: Sequence[Part]) -> Sequence[ShardRequest]:
        """Requests by the placements as the directory has them now; accounts for parts that have none any more."""
        placed: list[tuple[Part, Tenant]] = []
        for name in dict.fromkeys(part.tenant for part in stale):
            parts = [part for part in stale if part.tenant == name]
            timeout_s = max(0.001, (self._until_ms - self._clock.monotonic_ms()) / 1000)
            try:
                tenant = await self._tenants.fetch(name, timeout_s=timeout_s)
            except EvenshardError as error:
                for part in parts:
                    self._tally.refused(part, "SHARD_UNAVAILABLE", f"its placement is not known: {error.message}")
                continue
            for part in parts:
                if tenant is None:
                    self._tally.refused(part, "TENANT_NOT_FOUND", f"there is no tenant {name!r} any more")
                else:
                    placed.append((part, tenant))
        return await self._in_thread(_stage_anew, placed)

    async def _in_thread(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def _stage_anew(placed: Sequence[tuple[Part, Tenant]]) -> list[ShardRequest]:
    return pack(
        new
        for part, tenant in placed
        for new in deal(
            part.tenant, part.batch, part.positions, part.placement, tenant.placement, part.hot, part.spread
        )
    )
