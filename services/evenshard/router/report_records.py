"""Claims weekly reports and records what became of them, by compare-and-swap."""

from collections.abc import Callable

from evenshard.directory.changes import tenant_not_found
from evenshard.directory.keys import report_key, tenant_key
from evenshard.directory.report_record import CLAIMANT_CHARACTERS_MAX, ReportRecord, claimed, recorded
from evenshard.directory.tenant import tenant_id
from evenshard.errors import EvenshardError, FieldFault
from evenshard.hotkeys.weeks import days_of_week
from evenshard.ids import Revision, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory, Put, Unchanged
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

        def decide(current: ReportRecord | None) -> ReportRecord | None:
            return claimed(current, name, week, claimant, self._clock.now_ms())

        record = await self._change(name, week, decide)
        return record.state == "sending" and record.claimant == claimant, record

    async def record(self, outcome: ReportRecord) -> ReportRecord:
        """The record as it is now. Raises ``OPERATION_CONFLICT`` where it is not the caller's any more, and
        ``OPERATION_STATE``."""
        name, _ = tenant_id(outcome.tenant), days_of_week(outcome.week)
        return await self._change(name, outcome.week, lambda current: recorded(current, outcome, self._clock.now_ms()))

    async def _change(
        self, tenant: TenantId, week: str, decide: Callable[[ReportRecord | None], ReportRecord | None]
    ) -> ReportRecord:
        """Reads, decides, swaps; again while others came between. The record as it is then: changed, or, where nothing
        was decided, as it was."""
        key = report_key(tenant, week)
        for _ in range(TRIES_MAX):
            entry = await self._directory.get(key, timeout_s=budget_s())
            current = None if entry is None else ReportRecord.from_json(entry.value)
            wanted = decide(current)
            if current is not None and (wanted is None or wanted == current):
                return current
            assert wanted is not None  # where there is no record it can be claimed
            revision: Revision = NOT_THERE if entry is None else entry.revision
            put = Put(key, wanted.to_json())
            if (await self._directory.swap([Unchanged(key, revision)], [put], timeout_s=budget_s())).swapped:
                return wanted
            await self._clock.sleep(self._rng.random() * RETRY_PAUSE_MS_MAX)
        raise EvenshardError("OPERATION_CONFLICT", f"others kept changing the report of {tenant!r}: gave up")
