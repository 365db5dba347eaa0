"""Marks of hot keys as the directory has them now, for whoever must not go by a mirror of it."""

from collections.abc import Collection

from evenshard.directory.keys import BLOCKED, MARKS, blocked_name, mark_key, marked_key, marks_of
from evenshard.hotkeys.marks import Mark
from evenshard.ids import TenantId
from evenshard.ports.directory import Directory


class KeyMarks:
    """Reads them; holds nothing."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def of(self, tenant: TenantId, distinct_id: str, days: Collection[int], timeout_s: float) -> dict[int, Mark]:
        """Of one id, by day, those that there are; each is read by itself."""
        found = {}
        for day in days:
            entry = await self._directory.get(mark_key(tenant, distinct_id, day), timeout_s=timeout_s)
            if entry is not None:
                found[day] = Mark.from_json(entry.value)
        return found

    async def refused(self, tenant: TenantId, days: Collection[int], timeout_s: float) -> frozenset[str]:
        """Ids that no event of these days may be given: blocked ones, and those that are hot on one of the days."""
        return (await self.with_refused(tenant, "", days, timeout_s))[1]

    async def with_refused(
        self, tenant: TenantId, distinct_id: str, days: Collection[int], timeout_s: float
    ) -> tuple[dict[int, Mark], frozenset[str]]:
        """As ``of`` and ``refused``, where the days are many."""
        blocked = await self._directory.range(f"{BLOCKED}{tenant}/", timeout_s=timeout_s)
        refused = {blocked_name(entry.key.removeprefix(BLOCKED))[1] for entry in blocked.entries}
        found: dict[int, Mark] = {}
        marks = await self._directory.range(marks_of(tenant), timeout_s=timeout_s)
        for entry in marks.entries:
            _, user, day = marked_key(entry.key.removeprefix(MARKS))
            if day in days:
                refused.add(user)
                if user == distinct_id:
                    found[day] = Mark.from_json(entry.value)
        return found, frozenset(refused)
