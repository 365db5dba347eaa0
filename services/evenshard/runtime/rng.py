"""Real chance."""

import random
import secrets


class SystemRng:
    """The operating system's."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def random(self) -> float:
        return self._random.random()

    def token_hex(self, length_bytes: int) -> str:
        return secrets.token_hex(length_bytes)
