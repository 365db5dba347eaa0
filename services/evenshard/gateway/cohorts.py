"""Saves cohorts in the directory, and puts those a query needs into its scan."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from evenshard.directory.cohort import CohortRecord
from evenshard.directory.keys import cohort_key
from evenshard.directory.tenant import Tenant
from evenshard.errors import EvenshardError, FieldFault
from evenshard.gateway.scatter import Deadline, Scatter, Terms
from evenshard.gateway.segmentation import answer_segmentation
from evenshard.ids import TenantId
from evenshard.ports.directory import Delete, Directory, Put, Unchanged
from evenshard.ports.rng import Rng
from evenshard.queries.cohort_model import CohortQuery, check_cohort_name, cohorts_named, in_order
from evenshard.queries.cohort_plan import plan_cohort, with_cohorts
from evenshard.queries.expression import COHORT_PREFIX, names_in, parse
from evenshard.queries.model import segmentation_query
from evenshard.queries.names import proposal
from evenshard.queries.scans import cohorts_needed
from evenshard.runtime.cohorts import CohortView
from evenshard.wire.cohorts import query_of_text

COHORTS_MAX: Final = 1_000
"""Of a tenant."""
TRIES_MAX: Final = 5
"""Of a change that others' changes come between."""
COUNTED_AT_ONCE: Final = 4
"""Cohorts whose users are counted at a time."""


@dataclass(frozen=True, slots=True)
class CountedCohort:
    """A cohort, and how many belong to it now."""

    record: CohortRecord
    users: int


class ScanCohorts:
    """What scatters a query asks this to put the cohorts it names into its scan."""

    def __init__(self, view: CohortView) -> None:
        self._view = view

    async def complete(self, tenant: Tenant, scan: bytes) -> bytes:
        """The scan with the cohorts it needs. Raises ``QUERY_INVALID`` for unknown ones."""
        names = cohorts_needed(scan)
        return await asyncio.to_thread(self._with, tenant, scan, names) if names else scan

    def _with(self, tenant: Tenant, scan: bytes, names: Sequence[str]) -> bytes:
        queries: dict[str, CohortQuery] = {}

        def uses(name: str) -> list[str]:
            queries[name] = query_of_text(self.known(tenant.name, name).definition)
            return cohorts_used(queries[name])

        ordered = in_order(names, uses)
        zone, dedupe = ZoneInfo(tenant.settings.timezone), tenant.settings.dedupe
        return with_cohorts(scan, [plan_cohort(name, queries[name], zone, dedupe=dedupe) for name in ordered])

    def known(self, tenant: TenantId, name: str) -> CohortRecord:
        """Raises ``QUERY_INVALID`` where there is none of that name."""
        record = self._view.get(tenant, name)
        if record is None:
            near = proposal(name, {each.name for each in self._view.of(tenant)})
            problem = f"there is no cohort {name!r}{near}"
            raise EvenshardError(
                "QUERY_INVALID",
                problem,
                hint="see those there are: evenshard cohorts --tenant TENANT",
                fields=(FieldFault("where", problem),),
            )
        return record


def cohorts_used(query: CohortQuery) -> list[str]:
    """Those that a cohort's filters and its funnel refer to."""
    names: Iterable[str] = (name for text in query.sources for name in sorted(names_in(parse(text))))
    held = query.funnel.hold_constant if query.funnel is not None else ()
    return cohorts_named([*names, *held])


class Cohorts:
    """The three calls."""

    def __init__(
        self, directory: Directory, view: CohortView, cohorts: ScanCohorts, scatter: Scatter, rng: Rng
    ) -> None:
        self._directory = directory
        self._view = view
        self._cohorts = cohorts
        self._scatter = scatter
        self._rng = rng

    async def save(self, tenant: str, name: str, definition: str, terms: Terms) -> CountedCohort:
        """Saves a cohort (its definition as text), or its next version.

        Raises ``QUERY_INVALID`` for one that is none or refers to itself, and ``OPERATION_CONFLICT`` where others keep
        changing it."""
        deadline = terms.deadline
        owner = (await self._scatter.tenant(tenant, deadline)).name
        check_cohort_name(name)
        mine = {name: cohorts_used(query_of_text(definition))}

        def uses(each: str) -> list[str]:
            if each not in mine:
                mine[each] = cohorts_used(query_of_text(self._cohorts.known(owner, each).definition))
            return mine[each]

        in_order([name], uses)
        for _ in range(TRIES_MAX):
            before, revision = await self._view.fetch(owner, name, timeout_s=deadline.remaining_s())
            if before is None and len(self._view.of(owner)) >= COHORTS_MAX:
                raise EvenshardError("QUERY_INVALID", f"a tenant has at most {COHORTS_MAX} cohorts")
            record = CohortRecord(owner, name, before.version + 1 if before else 1, definition, self._rng.token_hex(8))
            key = cohort_key(owner, name)
            swapped = await self._directory.swap(
                [Unchanged(key, revision)], [Put(key, record.to_json())], timeout_s=deadline.remaining_s()
            )
            if swapped.swapped:
                self._view.learn(record, swapped.revision)
                return await self._counted(record, terms)
        raise EvenshardError("OPERATION_CONFLICT", f"others kept changing cohort {name!r}: gave up after {TRIES_MAX}")

    async def all(self, tenant: str, terms: Terms) -> list[CountedCohort]:
        """A tenant's, by name."""
        owner = (await self._scatter.tenant(tenant, terms.deadline)).name
        room = asyncio.Semaphore(COUNTED_AT_ONCE)

        async def counted(record: CohortRecord) -> CountedCohort:
            async with room:
                return await self._counted(record, terms)

        return list(await asyncio.gather(*map(counted, self._view.of(owner))))

    async def delete(self, tenant: str, name: str, deadline: Deadline) -> None:
        """Raises ``COHORT_NOT_FOUND``; ``QUERY_INVALID`` where another one refers to it."""
        owner = (await self._scatter.tenant(tenant, deadline)).name
        check_cohort_name(name)
        for other in self._view.of(owner):
            if other.name != name and name in cohorts_used(query_of_text(other.definition)):
                raise EvenshardError(
                    "QUERY_INVALID", f"cohort {other.name!r} refers to {name!r}: change that one first"
                )
        for _ in range(TRIES_MAX):
            before, revision = await self._view.fetch(owner, name, timeout_s=deadline.remaining_s())
            if before is None:
                raise EvenshardError("COHORT_NOT_FOUND", f"there is no cohort {name!r}")
            key = cohort_key(owner, name)
            swapped = await self._directory.swap(
                [Unchanged(key, revision)], [Delete(key)], timeout_s=deadline.remaining_s()
            )
            if swapped.swapped:
                await self._view.fetch(owner, name, timeout_s=deadline.remaining_s())
                return
        raise EvenshardError("OPERATION_CONFLICT", f"others kept changing cohort {name!r}: gave up after {TRIES_MAX}")

    async def _counted(self, record: CohortRecord, terms: Terms) -> CountedCohort:
        """All who belong have an event in its range."""
        cohort = query_of_text(record.definition)
        quoted = (COHORT_PREFIX + record.name).replace("`", "``")
        query = segmentation_query(
            from_date=str(cohort.from_date),
            to_date=str(cohort.to_date),
            unit="month",
            measure="unique",
            where=f"`{quoted}` == true",
        )
        answered = await answer_segmentation(self._scatter, record.tenant, query, terms)
        return CountedCohort(record, int(answered.answer.series[0].overall or 0))
