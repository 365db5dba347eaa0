"""Claims weekly reports and records what became of them, by compare-and-swap."""

from evenshard.directory.changes import tenant_not_found
from evenshard.directory.keys import report_claim_key, report_key, reports_of, tenant_key
from evenshard.directory.report_record import (
    CLAIM_S,
    CLAIMANT_CHARACTERS_MAX,
    RECORDS_MAX,
    ReportRecord,
    claimed,
    recorded,
)
from evenshard.directory.tenant import tenant_id
from evenshard.errors import EvenshardError, FieldFault
from evenshard.hotkeys.weeks import days_of_week
from evenshard.ids import Revision, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.router.admin import NOT_THERE, RETRY_PAUSE_MS_MAX, TRIES_MAX, budget_s


class ReportRecords:
    """Holds no state of its own."""

    def __init__(self, directory: Directory, clock: Clock, rng: Rng) -> None:
        self._directory = directory
        self._clock = clock
        self._rng = rng

    async def claim(self, tenant: str, week: str, claimant: str) -> tuple[bool, ReportRecord]:
        """Whether the caller is to send it, and the record as it is now. Raises ``TENANT_NOT_FOUND``,
        ``RANGE_INVALID`` for what is no week, ``QUERY_INVALID`` for what names no claimant, ``OPERATION_CONFLICT``."""
        name, _ = tenant_id(tenant), days_of_week(week)
        if not 0 < len(claimant) <= CLAIMANT_CHARACTERS_MAX:
            why = f"it has 1 to {CLAIMANT_CHARACTERS_MAX} characters"
            raise EvenshardError("QUERY_INVALID", f"claimant: {why}", fields=(FieldFault("claimant", why),))
        if await self._directory.get(tenant_key(name), timeout_s=budget_s()) is None:
            raise tenant_not_found(name)
        key, claim = report_key(name, week), report_claim_key(name, week)
        for _ in range(TRIES_MAX):
            held = await self._directory.get(claim, timeout_s=budget_s())
            current, revision = await self._read(key)
            holder = None if held is None else held.value.decode()
            wanted = claimed(current, holder, name, week, claimant, self._clock.now_ms())
            if wanted is None:
                assert current is not None  # where there is no record it can be claimed
                return False, current
            lease = await self._directory.grant(CLAIM_S, timeout_s=budget_s())
            conditions = [Unchanged(key, revision), Unchanged(claim, NOT_THERE if held is None else held.revision)]
            changes: list[Put | Delete] = [Put(key, wanted.to_json()), Put(claim, claimant.encode(), lease)]
            if current is None:
                changes += await self._oldest(name)
            if (await self._directory.swap(conditions, changes, timeout_s=budget_s())).swapped:
                return True, wanted
            await self._directory.revoke(lease, timeout_s=budget_s())
            await self._pause()
        raise _contended(name)

    async def record(self, outcome: ReportRecord) -> ReportRecord:
        """The record as it is now; the claim ends. Raises ``OPERATION_CONFLICT`` where it is not the caller's any more,
        and ``OPERATION_STATE``."""
        name, _ = tenant_id(outcome.tenant), days_of_week(outcome.week)
        key, claim = report_key(name, outcome.week), report_claim_key(name, outcome.week)
        for _ in range(TRIES_MAX):
            current, revision = await self._read(key)
            wanted = recorded(current, outcome, self._clock.now_ms())
            if wanted == current:
                return wanted
            changes: list[Put | Delete] = [Put(key, wanted.to_json()), Delete(claim)]
            if (await self._directory.swap([Unchanged(key, revision)], changes, timeout_s=budget_s())).swapped:
                return wanted
            await self._pause()
        raise _contended(name)

    async def _read(self, key: str) -> tuple[ReportRecord | None, Revision]:
        entry = await self._directory.get(key, timeout_s=budget_s())
        return (None, NOT_THERE) if entry is None else (ReportRecord.from_json(entry.value), entry.revision)

    async def _oldest(self, tenant: TenantId) -> list[Delete]:
        """Records to forget where one comes."""
        entries = (await self._directory.range(reports_of(tenant), timeout_s=budget_s())).entries
        return [Delete(entry.key) for entry in entries[: max(0, len(entries) - RECORDS_MAX + 1)]]

    async def _pause(self) -> None:
        await self._clock.sleep(self._rng.random() * RETRY_PAUSE_MS_MAX)


def _contended(tenant: TenantId) -> EvenshardError:
    return EvenshardError("OPERATION_CONFLICT", f"others kept changing the report of {tenant!r}: gave up")
