"""How a shard is to be used, as an operator says: a record that is there only where it is not ``active``."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

from evenshard.errors import EvenshardError
from evenshard.ids import ShardId

RECORD_VERSION: Final = 1
Use = Literal["active", "cordoned", "draining"]
"""``cordoned``: nothing new is placed there. ``draining``: besides, what is there is being moved away."""
USES: Final[tuple[Use, ...]] = get_args(Use)


@dataclass(frozen=True, slots=True)
class ShardState:
    """Of one shard."""

    shard: ShardId
    use: Use
    changed_by: str
    """The principal."""
    nonce: str
    """Written anew by each change."""

    def to_json(self) -> bytes:
        return json.dumps({"version": RECORD_VERSION, **asdict(self)}).encode()

    @staticmethod
    def from_json(data: bytes) -> "ShardState":
        """Raises ``FORMAT_TOO_NEW`` for what a newer evenshard wrote."""
        record: dict[str, Any] = json.loads(data)
        if record.pop("version") > RECORD_VERSION or record["use"] not in USES:
            raise EvenshardError("FORMAT_TOO_NEW", f"the state of shard {record['shard']!r} is of a newer version")
        return ShardState(**record)
