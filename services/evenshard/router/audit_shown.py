"""What operators changed, as they ask for it."""

from dataclasses import dataclass
from typing import Final

from evenshard.directory.audit import Audited, in_order
from evenshard.directory.keys import AUDIT
from evenshard.errors import EvenshardError
from evenshard.ids import Revision
from evenshard.ports.directory import Directory
from evenshard.router.admin import budget_s

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Shown:
    """The newest of the changes that were asked for, in their order; and how many older ones there are."""

    changes: tuple[tuple[Revision, Audited], ...]
    left_out: int


class AuditShown:
    """Belongs to one event loop."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def newest(self, subject: str, verb: str, limit: int) -> Shown:
        """Of ``subject`` and ``verb``, where given. Raises ``LIMIT_EXCEEDED``, ``DIRECTORY_UNAVAILABLE``."""
        if not 0 <= limit <= LIMIT_MAX:
            raise EvenshardError("LIMIT_EXCEEDED", f"1 to {LIMIT_MAX:,} changes can be shown, not {limit:,}")
        snapshot = await self._directory.range(AUDIT, timeout_s=budget_s())
        found = [
            (revision, audited)
            for revision, audited in in_order(snapshot.entries)
            if verb in ("", audited.verb) and (not subject or audited.concerns(subject))
        ]
        kept = found[-(limit or LIMIT_DEFAULT) :]
        return Shown(tuple(kept), len(found) - len(kept))
