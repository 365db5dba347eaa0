"""Every saved cohort in memory, as the directory's watch tells."""

from evenshard.directory.cohort import CohortRecord
from evenshard.directory.keys import COHORTS, cohort_key
from evenshard.ids import Revision, TenantId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory, Entry
from evenshard.runtime.mirror import START_TIMEOUT_S, Mirror


class CohortView:
    """A mirror of all ``CohortRecord``s; it may be behind by what the watch has not delivered."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._mirror = Mirror(directory, clock, COHORTS, CohortRecord.from_json)

    async def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Loads all cohorts and follows them; raises ``DIRECTORY_UNAVAILABLE`` where no answer came in time."""
        await self._mirror.start(timeout_s)

    async def close(self) -> None:
        await self._mirror.close()

    def get(self, tenant: TenantId, name: str) -> CohortRecord | None:
        """As last seen."""
        return self._mirror.get(cohort_key(tenant, name).removeprefix(COHORTS))

    def of(self, tenant: TenantId) -> list[CohortRecord]:
        """A tenant's, by name."""
        return sorted((each for each in self._mirror.all() if each.tenant == tenant), key=lambda each: each.name)

    async def fetch(self, tenant: TenantId, name: str, *, timeout_s: float) -> tuple[CohortRecord | None, Revision]:
        """Asks the directory now: the cohort, and the revision of its last change (0: there is none)."""
        key = cohort_key(tenant, name).removeprefix(COHORTS)
        record = await self._mirror.fetch(key, timeout_s=timeout_s)
        return record, self._mirror.revision_of(key) if record is not None else Revision(0)

    def learn(self, record: CohortRecord, revision: Revision) -> None:
        """Shows what this process has just written."""
        self._mirror.learn(Entry(cohort_key(record.tenant, record.name), record.to_json(), revision))
