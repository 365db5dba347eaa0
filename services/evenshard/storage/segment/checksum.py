"""The checksum of everything indexed: XXH64 of bytes."""

import numpy as np

from evenshard.events.hashing import hash_strings


def checksum_of(data: bytes | memoryview) -> int:
    """XXH64 (seed 0) of up to 2 GiB of bytes."""
    out = np.empty(1, np.uint64)
    hash_strings(np.array([0, len(data)], np.int32), np.frombuffer(data, np.uint8), out)
    return int(out[0])
