"""How far a replay of the log is, in words. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

_SURE_AFTER_MS = 500
"""Sooner a guess at the time left is worth nothing."""


@dataclass(frozen=True, slots=True)
class Replaying:
    """``file`` of ``files`` is being read, counted from 1."""

    file: int
    files: int
    bytes_done: int
    bytes_total: int
    elapsed_ms: float

    def __str__(self) -> str:
        text = f"replaying log {self.file} of {self.files}"
        if self.elapsed_ms < _SURE_AFTER_MS or not self.bytes_done:
            return text
        left_ms = self.elapsed_ms * (self.bytes_total - self.bytes_done) / self.bytes_done
        return f"{text}, {max(1, round(left_ms / 1000))} s left"


OnProgress = Callable[[Replaying], None]
"""Told every now and then, in the thread that replays; must be quick."""
