"""Time as an argument."""

from typing import Protocol


class Clock(Protocol):
    """Tells the time and waits."""

    def now_ms(self) -> int:
        """Wall clock, ms since the epoch, UTC. May jump."""
        ...

    def monotonic_ms(self) -> float:
        """A clock that never goes back; only differences mean something."""
        ...

    async def sleep(self, duration_ms: float) -> None:
        """Returns after at least ``duration_ms`` of ``monotonic_ms``."""
        ...
