"""Chance that a seed repeats."""

import random


class SeededRng:
    """The same seed gives the same answers."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._random = random.Random(seed)

    def random(self) -> float:
        return self._random.random()

    def token_hex(self, length_bytes: int) -> str:
        return self._random.randbytes(length_bytes).hex()
