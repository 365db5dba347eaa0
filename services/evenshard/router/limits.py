"""What a router takes of each tenant in a second: events and bytes, by token buckets that may go into debt. Pure.

A call passes whenever none of its tenants is in debt, whatever its size, and is then paid for in full: so a batch
larger than a second's worth passes too, and what passes in a time T is at most the rate times T, a second's worth, and
one call. A call that does not pass takes nothing, and is told when its turn comes: those told before it come first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from evenshard.directory.tenant import TenantSettings
from evenshard.errors import EvenshardError
from evenshard.runtime.bucket import BURST_MS, Bucket

Limit = Literal["events_per_second", "bytes_per_second"]

_PRUNE_AT_MIN: Final = 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call has of one tenant."""

    tenant: str
    settings: TenantSettings
    events: int
    bytes: int
    """Its part of the payload, as sent."""


class ImportLimits:
    """The buckets of all tenants that have limits. Belongs to one event loop."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[str, Limit], Bucket] = {}
        self._prune_at = _PRUNE_AT_MIN

    def check(self, costs: Sequence[Cost], now_ms: float) -> None:
        """Raises ``LIMIT_EXCEEDED``, with ``retry_after_ms``, where a tenant is in debt; takes nothing."""
        drawn = self._of(costs, now_ms)
        turns = [
            (bucket.turn_ms(now_ms), tenant, limit, bucket.per_second)
            for tenant, limit, _, bucket in drawn
            if bucket.wait_ms(now_ms) > 0
        ]
        if turns:
            wait_ms, tenant, limit, per_second = max(turns)
            raise _exceeded(tenant, limit, per_second, wait_ms)

    def take(self, costs: Sequence[Cost], now_ms: float) -> None:
        """All of it, or, with ``LIMIT_EXCEEDED`` as ``check`` raises it, nothing."""
        self.check(costs, now_ms)
        for _, _, cost, bucket in self._of(costs, now_ms):
            bucket.pay(cost, now_ms)

    def _of(self, costs: Sequence[Cost], now_ms: float) -> list[tuple[str, Limit, int, Bucket]]:
        """The buckets that a call draws from, made where there are none yet."""
        found: list[tuple[str, Limit, int, Bucket]] = []
        for cost in costs:
            if cost.settings.events_per_second:
                bucket = self._bucket(cost.tenant, "events_per_second", cost.settings.events_per_second, now_ms)
                found.append((cost.tenant, "events_per_second", cost.events, bucket))
            if cost.settings.bytes_per_second:
                bucket = self._bucket(cost.tenant, "bytes_per_second", cost.settings.bytes_per_second, now_ms)
                found.append((cost.tenant, "bytes_per_second", cost.bytes, bucket))
        return found

    def _bucket(self, tenant: str, limit: Limit, per_second: int, now_ms: float) -> Bucket:
        """With the rate as it is set now. Debt of another rate is forgiven: whoever raises a limit means now."""
        bucket = self._buckets.get((tenant, limit))
        if bucket is None or bucket.per_second != per_second:
            if len(self._buckets) >= self._prune_at:
                self._prune(now_ms)
            bucket = self._buckets[tenant, limit] = Bucket(per_second, now_ms - BURST_MS)
        return bucket

    def _prune(self, now_ms: float) -> None:
        """Forgets those that are as if new."""
        self._buckets = {
            key: bucket
            for key, bucket in self._buckets.items()
            if bucket.paid_until_ms > now_ms - BURST_MS or bucket.turns_until_ms > now_ms
        }
        self._prune_at = max(_PRUNE_AT_MIN, 2 * len(self._buckets))


def costs_of(rows: Mapping[str, int], settings: Mapping[str, TenantSettings], payload_bytes: int) -> list[Cost]:
    """What a payload costs its tenants; its bytes are split by their rows, those of one tenant are its own."""
    in_all = sum(rows.values())
    return [
        Cost(tenant, settings[tenant], count, payload_bytes if len(rows) == 1 else -(-payload_bytes * count // in_all))
        for tenant, count in rows.items()
        if tenant in settings
    ]


def _exceeded(tenant: str, limit: Limit, per_second: int, wait_ms: float) -> EvenshardError:
    unit = "events" if limit == "events_per_second" else "bytes"
    retry_after_ms = max(1, -int(-wait_ms // 1))
    return EvenshardError(
        "LIMIT_EXCEEDED",
        f"tenant {tenant!r} is over its limit of {per_second:,} {unit} a second on this router; nothing was stored, "
        f"its turn comes in {retry_after_ms:,} ms",
        retry_after_ms=retry_after_ms,
        details={"tenant": tenant, "limit": limit, "per_second": str(per_second)},
    )
