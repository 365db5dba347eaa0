"""Chance as an argument."""

from typing import Protocol


class Rng(Protocol):
    """A source of chance; seeded in tests."""

    def random(self) -> float:
        """Uniform in [0, 1)."""
        ...

    def token_hex(self, length_bytes: int) -> str:
        """``2 × length_bytes`` hex digits."""
        ...
