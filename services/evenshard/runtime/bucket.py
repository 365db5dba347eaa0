"""A token bucket that may go into debt. Pure.

A call passes whenever there is no debt, whatever its size, and is then paid for in full. So what passes in a time T is
at most the rate times T, a second's worth, and one call.
"""

from dataclasses import dataclass
from typing import Final

BURST_MS: Final = 1000.0
"""How much may be saved up."""
TURNS_AHEAD_MS_MAX: Final = 10_000.0
"""Turns given to others that put a caller off, at most: they may never come back."""


@dataclass(slots=True)
class Bucket:
    """One limit. Times are ``monotonic_ms``."""

    per_second: int
    paid_until_ms: float
    """Debt ends here; before now: so much is saved up."""
    turns_until_ms: float = 0.0
    """When the last of those who were told to come again will have had their turn."""
    last_cost_ms: float = 0.0
    """Of the last call that passed: about as long as a turn is."""

    def wait_ms(self, now_ms: float) -> float:
        """How long debt lasts; 0: there is none."""
        return max(0.0, self.paid_until_ms - now_ms)

    def pay(self, cost: int, now_ms: float) -> None:
        self.last_cost_ms = 1000.0 * cost / self.per_second
        self.paid_until_ms = max(self.paid_until_ms, now_ms - BURST_MS) + self.last_cost_ms

    def turn_ms(self, now_ms: float) -> float:
        """Gives a caller who has to wait a turn: in how many ms."""
        free_ms = max(now_ms, self.paid_until_ms)
        turn = max(free_ms, min(self.turns_until_ms, free_ms + TURNS_AHEAD_MS_MAX))
        self.turns_until_ms = turn + self.last_cost_ms
        return turn - now_ms
