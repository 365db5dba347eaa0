"""One measured number, as the contract prints it."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """``ratio`` > 1: we are better than the peer; all three are None where there is no peer."""

    name: str
    value: float
    unit: str
    events: int
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    def to_text(self) -> str:
        compared = f"  ({self.ratio:.2f} x {self.peer})" if self.ratio is not None else ""
        detail = ", ".join(f"{name} {value}" for name, value in self.detail.items())
        return f"{self.name:<24} {self.value:>14,.{0 if self.value >= 1000 else 3}f} {self.unit}{compared}  {detail}"
