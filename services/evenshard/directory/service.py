"""A service process as the directory lists it: where it serves, and who it is."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final, Literal

from evenshard.errors import EvenshardError

Kind = Literal["router", "counter", "shard", "gateway", "etcd"]
_LABEL: Final = re.compile(r"([A-Za-z0-9_.-]{1,63})=([A-Za-z0-9_.-]{1,63})", re.ASCII)


def labels_of(text: str) -> dict[str, str]:
    """Of ``zone=a,tier=hot``; none of an empty text. Raises ``USAGE``."""
    found = {}
    for each in text.split(",") if text else ():
        label = _LABEL.fullmatch(each.strip())
        if label is None or label[1] in found:
            raise EvenshardError(
                "USAGE", f"shard_labels: {each!r} is no NAME=VALUE of letters, digits, _ . -, each name once"
            )
        found[label[1]] = label[2]
    return found


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """Written by the service when it serves, or starts for long; removed when it stops cleanly, unless it is a shard:
    that one holds data, and is missed. A dead one stays listed."""

    name: str
    """``router-0``, ``shard-1`` …; a shard's name is its ``ShardId``."""
    kind: Kind
    address: str
    """``host:port``."""
    host: str
    pid: int
    restarts: int
    """How often the supervisor has restarted it; 0 where there is none."""
    reason: str = ""
    """Why it does not serve yet, or not wholly; empty: it does, or says nothing."""
    note: str = ""
    """What somebody should look at although it serves; empty, and not written then: nothing."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of a shard, for constraints of placements; not written where there are none."""

    def to_json(self) -> bytes:
        record = asdict(self)
        for name in ("note", "labels"):
            if not record[name]:
                del record[name]
        return json.dumps(record).encode()

    @staticmethod
    def from_json(data: bytes) -> "ServiceRecord":
        return ServiceRecord(**json.loads(data))
