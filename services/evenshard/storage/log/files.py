"""Which log files are still needed: those with rows of any tenant that are not indexed. And which hold whose rows."""

from collections.abc import Callable
from dataclasses import dataclass

from evenshard.ids import TenantId


@dataclass(frozen=True, slots=True)
class LogUsage:
    """``files``: how many there are; ``kept_by``: the tenants with unindexed rows in the oldest, by name."""

    files: int
    kept_by: tuple[TenantId, ...]


class LogFiles:
    """For each log file, the position after the last row of every tenant in it, that of the first, and when it was
    begun: what a start finds counts as begun then."""

    def __init__(self) -> None:
        self._ends: dict[int, dict[TenantId, int]] = {}
        self._starts: dict[int, dict[TenantId, int]] = {}
        self._begun_ms: dict[int, int] = {}

    def add(self, number: int) -> None:
        """A file without rows yet."""
        self._ends.setdefault(number, {})

    def note(
        self, number: int, tenant: TenantId, end_position: int, first_position: int = 0, *, now_ms: int = 0
    ) -> None:
        """Rows of ``tenant`` from ``first_position`` up to ``end_position`` are in the file."""
        self._begun_ms.setdefault(number, now_ms)
        self._ends.setdefault(number, {})[tenant] = end_position
        self._starts.setdefault(number, {}).setdefault(tenant, first_position)

    def begun_ms(self, number: int) -> int | None:
        """When the first rows came into a file; None: there are none."""
        return self._begun_ms.get(number)

    @property
    def numbers(self) -> list[int]:
        """All there are, in order."""
        return sorted(self._ends)

    @property
    def first_position(self) -> int | None:
        """Of the oldest file with rows, that of its first row; None: there are none."""
        starts = [min(self._starts[number].values()) for number in sorted(self._starts)[:1]]
        return starts[0] if starts else None

    def begun_before(self, limit_ms: int) -> list[int]:
        """The files with rows that came at ``limit_ms`` or earlier, in order."""
        return sorted(number for number, begun_ms in self._begun_ms.items() if begun_ms <= limit_ms)

    def holding(self, tenant: TenantId, below: int) -> list[int]:
        """The files with rows of ``tenant`` at positions lower than ``below``, in order."""
        return sorted(number for number, starts in self._starts.items() if starts.get(tenant, below) < below)

    def keeping(self, last: int, mark: Callable[[TenantId], int]) -> list[TenantId]:
        """Tenants with rows that are not indexed in file ``last`` or one before it, by name."""
        return sorted(
            {
                tenant
                for number, ends in self._ends.items()
                for tenant, end in ends.items()
                if number <= last and mark(tenant) < end
            }
        )

    def removable(self, active: int, mark: Callable[[TenantId], int]) -> list[int]:
        """The oldest files, in order, all of whose rows are indexed; never the active one."""
        numbers = []
        for number in sorted(self._ends):
            ends = self._ends[number]
            if number >= active or any(mark(tenant) < end for tenant, end in ends.items()):
                break
            numbers.append(number)
        return numbers

    def usage(self, mark: Callable[[TenantId], int]) -> LogUsage:
        """``mark`` as for ``removable``."""
        oldest = self._ends[min(self._ends)] if self._ends else {}
        return LogUsage(len(self._ends), tuple(sorted(name for name, end in oldest.items() if mark(name) < end)))

    def remove(self, number: int) -> None:
        """The file is gone."""
        del self._ends[number]
        self._starts.pop(number, None)
        self._begun_ms.pop(number, None)
