"""A saved cohort as the directory holds it."""

import json
from dataclasses import asdict, dataclass

from evenshard.ids import TenantId


@dataclass(frozen=True, slots=True)
class CohortRecord:
    """Replaced as a whole each time it is saved."""

    tenant: TenantId
    name: str
    version: int
    """1 at first; one more each time it is saved."""
    definition: str
    """``CohortDefinition`` as proto3 JSON with snake_case names."""
    nonce: str
    """Nobody else writes the same record: a swap whose reply was lost is told from another's."""

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def from_json(data: bytes) -> "CohortRecord":
        """Raises ``ValueError`` or ``TypeError``."""
        return CohortRecord(**json.loads(data))
