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
SHARDS = {
    "log": make_shard(SEED, indexed=False, end="clean"),
    "indexed": make_shard(SEED, indexed=True, end="clean"),
    "killed": make_shard(SEED, indexed=False, end="killed"),
}
SECONDS_OF_SOAK, PROCESSES_OF_SOAK = 60.0, 2
SECONDS_IN_CI, PROCESSES_IN_CI = 6.0, 1
"""For each reader; CI runs two tests at a time."""
TARGETS = [
    ("log", "log/0000000001.log"),
    ("indexed", "segments/0000000001.parquet"),
    ("indexed", "segments/0000000001.filter"),
    ("indexed", "catalog.sqlite"),
    ("killed", "log/0000000001.log"),
]
READERS = ("log", "segments", "catalog")
"""How the names of the files begin that each reads."""


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


def damages(reader: str, seed: int, seconds: float, processes: int) -> Iterator[Damage]:
    random, number, given, end = Random(seed), 0, 0, float("inf")
    while time.monotonic() < end:
        if given == processes:  # all have started
            end = time.monotonic() + seconds
        shard, name = TARGETS[number % len(TARGETS)]
        content = mutated(random, SHARDS[shard].files[name])  # also of those left out: a number is the same damage
        if name.startswith(reader):
            yield Damage(shard, name, content, f"seed {seed}, number {number}, {name}")
            given += 1
        number += 1


SEED_OF_CI = 206_576_233
"""CI tells of changes, so it always tries the same; new damage is looked for by the long run. Number 8 of this seed
makes SQLite quote bytes that are no text."""


def fuzz(reader: str, seed: int, seconds: float, processes: int) -> None:
    counts: dict[str, Counter[str]] = {}
    tries = damages(reader, seed, seconds, processes)
    for damage, outcome in run(DamageCheck(SHARDS, any_end=True), tries, processes=processes):
        assert outcome in (RIGHT, NAMED, CUT), f"{damage.what}: {outcome}"
        counts.setdefault(damage.name, Counter())[outcome] += 1
    print(f"{reader}, {seconds} s, seed {seed}: {counts}")
    assert counts


@pytest.mark.parametrize("reader", READERS)
def test_readers_name_damage_or_answer_right(reader: str) -> None:
    fuzz(reader, SEED_OF_CI, SECONDS_IN_CI, PROCESSES_IN_CI)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("reader", READERS)
def test_readers_name_damage_or_answer_right_for_a_minute(reader: str) -> None:
    fuzz(reader, int.from_bytes(os.urandom(4)), SECONDS_OF_SOAK, PROCESSES_OF_SOAK)
