"""The readers of log, segment and catalog on bytes that never were written: named damage, or a right answer.

Bytes of a real shard are mutated, or made up, from a seed that is printed; for a time, not a number of tries.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from evenshard.testing.faults.damaged_shard import CUT, NAMED, RIGHT, Damage, DamageCheck, make_shard
from evenshard.testing.faults.isolated import run

SEED = 13
SHARDS = {"log": make_shard(SEED, indexed=False, end="clean"), "indexed": make_shard(SEED, indexed=True, end="clean")}
PROCESSES = 2
TARGETS = [
    ("log", "log/0000000001.log"),
    ("indexed", "segments/0000000001.parquet"),
    ("indexed", "segments/0000000001.filter"),
    ("indexed", "catalog.sqlite"),
]


def mutated(random: Random, content: bytes) -> bytes:
    """One to four changes: bytes overwritten, cut out, doubled, moved, zeroed; or another end; or nothing like it."""
    if random.random() < 0.1:
        return random.randbytes(random.choice([0, 1, 50, 104, 105, 4096, len(content)]))
    data = bytearray(content)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(data) + 1)
        length = min(random.choice([1, 1, 2, 8, 64, 512]), len(data) - at)
        match random.randrange(7):
            case 0:
                data[at : at + length] = random.randbytes(length)
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = data[at : at + length]
            case 3:
                piece = data[at : at + length]
                del data[at : at + length]
                to = random.randrange(len(data) + 1)
                data[to:to] = piece
            case 4:
                data[at : at + length] = bytes(length)
            case 5:
                del data[at:]
                data += random.randbytes(random.choice([0, 7, 300]))
            case 6 if length >= 4:
                number = random.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, len(data)])
                data[at : at + 4] = number.to_bytes(4, random.choice(["little", "big"]))
    return bytes(data)


def damages(seed: int, seconds: float) -> Iterator[Damage]:
    random, number, end = Random(seed), 0, float("inf")
    while time.monotonic() < end:
        if number == PROCESSES:  # all have started
            end = time.monotonic() + seconds
        shard, name = TARGETS[number % len(TARGETS)]
        yield Damage(shard, name, mutated(random, SHARDS[shard].files[name]), f"seed {seed}, number {number}, {name}")
        number += 1


SEED_OF_CI = 206_575_406
"""CI tells of changes, so it always tries the same; new damage is looked for by the long run. Number 31 of this seed
makes SQLite quote bytes that are no text."""


def fuzz(seconds: float, seed: int) -> None:
    print(f"seed {seed}")
    counts: dict[str, Counter[str]] = {}
    for damage, outcome in run(DamageCheck(SHARDS, any_end=True), damages(seed, seconds), processes=PROCESSES):
        assert outcome in (RIGHT, NAMED, CUT), f"{damage.what}: {outcome}"
        counts.setdefault(damage.name, Counter())[outcome] += 1
    print(counts)
    assert counts


def test_readers_name_damage_or_answer_right() -> None:
    fuzz(4, SEED_OF_CI)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_readers_name_damage_or_answer_right_for_minutes() -> None:
    fuzz(60 * 4, int.from_bytes(os.urandom(4)))
