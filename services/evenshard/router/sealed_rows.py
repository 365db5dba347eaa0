"""Rows that a shard refused because their key is sealed there: held until the key was handed over, then placed anew."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow.compute as pc

from evenshard.errors import EvenshardError
from evenshard.hotkeys.aggregate import DAY_MS
from evenshard.hotkeys.marks import HotKey, Mark
from evenshard.ports.clock import Clock
from evenshard.router.hot_keys import Flight
from evenshard.router.partition import Bools, Part, deal
from evenshard.runtime.marks import MarkView
from evenshard.runtime.tenants import TenantView

HOLD_MS: Final = 1_000.0
"""How long rows wait for a hand-over, in all."""
RETRY_MS: Final = 20.0
"""Between two looks where the directory and a shard do not agree yet, as when a user is being deleted."""
UserDay = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A part that was refused, and the keys that are sealed there."""

    part: Part
    keys: Sequence[UserDay]

    def rows(self) -> Bools:
        """Those of these keys."""
        ids = self.part.batch.record.column("distinct_id")
        days = self.part.batch.record.column("time").to_numpy() // DAY_MS
        found = np.zeros(self.part.rows, np.bool_)
        for distinct_id, day in self.keys:
            found |= pc.equal(ids, distinct_id).to_numpy(zero_copy_only=False) & (days == day)
        return found

    def split(self) -> tuple[Part | None, "Sealed | None"]:
        """The rest, and what is left with the sealed keys; all is, should none of the rows be of them."""
        held = self.rows()
        if held.all() or not held.any():
            return None, self
        return self.part.take(np.flatnonzero(~held)), Sealed(self.part.take(np.flatnonzero(held)), self.keys)


class SealedRows:
    """Belongs to one event loop."""

    def __init__(self, tenants: TenantView, marks: MarkView, clock: Clock) -> None:
        self._tenants = tenants
        self._marks = marks
        self._clock = clock

    async def placed(self, held: Sequence[Sealed], flights: Mapping[str, Flight], until_ms: float) -> list[Part]:
        """The rows as they are to be sent now: once their keys have been handed over, or ``until_ms`` is over. Raises
        ``DIRECTORY_UNAVAILABLE``, ``TENANT_NOT_FOUND``."""
        keys: list[HotKey] = list({(each.part.tenant, *key): None for each in held for key in each.keys})
        marks = dict(zip(keys, await asyncio.gather(*(self._mark(key, until_ms) for key in keys)), strict=True))
        parts = []
        for each in held:
            parts += await self._dealt(each, marks, flights[each.part.tenant])
        return parts

    async def _mark(self, key: HotKey, until_ms: float) -> Mark | None:
        while True:
            left_s = max(0.001, (until_ms - self._clock.monotonic_ms()) / 1000)
            mark = await self._marks.fetch(key, left_s)
            if mark is None or mark.state == "active" or self._clock.monotonic_ms() >= until_ms:
                return mark
            await self._marks.wait_active(key, left_s)

    async def _dealt(self, sealed: Sealed, marks: Mapping[HotKey, Mark | None], flight: Flight) -> list[Part]:
        part = sealed.part
        hot, spread = np.zeros(part.rows, np.bool_), np.zeros(part.rows, np.bool_)
        for key in sealed.keys:
            mark = marks[part.tenant, *key]
            rows = Sealed(part, [key]).rows()
            hot |= rows & (mark is not None and mark.has_hot_rows)
            spread |= rows & (mark is not None and mark.is_spread)
        if flight.remediated is not None:
            hot |= flight.remediated[flight.rows_of(part.positions)]
        part = replace(part, hot=hot if hot.any() else None, spread=spread if spread.any() else None)
        name = part.tenant
        tenant = self._tenants.get(name)
        if tenant is None or (part.spread is not None and not tenant.placement.overflow):
            tenant = await self._tenants.fetch(name)
        if tenant is None:
            raise EvenshardError("TENANT_NOT_FOUND", f"there is no tenant {name!r} any more")
        return await asyncio.to_thread(
            deal, name, part.batch, part.positions, part.placement, tenant.placement, part.hot, part.spread
        )
