"""Every single bit of a shard's files flipped: detected and named, or harmless; never a wrong answer, a crash, a hang.

Shards are opened on real files in processes of their own, since what is damaged might abort one.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import pytest
from evenshard.testing.faults.damaged_shard import CUT, NAMED, RIGHT, Damage, DamageCheck, make_shard
from evenshard.testing.faults.isolated import run

SEED = 11
SHARDS = {
    "log, stopped": make_shard(SEED, indexed=False, end="clean", small=True),
    "log, killed": make_shard(SEED, indexed=False, end="killed", small=True),
    "indexed": make_shard(SEED, indexed=True, end="clean", small=True),
    "real pages": make_shard(SEED, indexed=True, end="clean"),
}
LOG = "log/0000000001.log"
CATALOG = "catalog.sqlite"
FILES = [
    *(("log, stopped", LOG), ("log, killed", LOG)),
    *(("indexed", name) for name in SHARDS["indexed"].files),
    ("real pages", CATALOG),
]
"""Not the catalogs of the first two: all that is in them is in the third one, too."""
SAMPLED = {("indexed", LOG): 3, ("real pages", CATALOG): 8}
"""Of these one bit of so many, in turns: each frame is in the first two, each row of a catalog in the small pages."""


def flips(kind: str, name: str, every_byte: int, bits: int) -> Iterator[Damage]:
    """``bits`` neighbouring bits, one by one, of one byte of ``every_byte``; which ones rotates."""
    content = SHARDS[kind].files[name]
    for number, at in enumerate(range(0, len(content), every_byte)):
        for bit in range(number, number + bits):
            flipped = bytearray(content)
            flipped[at] ^= 1 << bit % 8
            yield Damage(kind, name, bytes(flipped), f"{kind}: {name}: byte {at}, bit {bit % 8}")


def outcomes(damages: Iterable[Damage]) -> dict[tuple[str, str], Counter[str]]:
    """By shard and file; fails at an outcome that may not be."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for damage, outcome in run(DamageCheck(SHARDS), damages):
        assert outcome in (RIGHT, NAMED, CUT), f"{damage.what}: {outcome}"
        counts.setdefault((damage.shard, damage.name), Counter())[outcome] += 1
    print(f"seed {SEED}: {counts}")
    return counts


def test_a_flipped_bit_in_some_bytes_is_named_or_harmless() -> None:
    counts = outcomes(damage for kind, name in FILES for damage in flips(kind, name, every_byte=97, bits=1))
    assert set(counts) == set(FILES)
    assert counts["indexed", "segments/0000000001.parquet"].keys() == {NAMED}
    assert counts["indexed", "segments/0000000001.filter"].keys() == {RIGHT}, "it is made again from its segment"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize(("kind", "name"), FILES, ids=[" ".join(each) for each in FILES])
def test_every_flipped_bit_is_named_or_harmless(kind: str, name: str, quarter: int) -> None:
    damages = list(flips(kind, name, every_byte=1, bits=8))[:: SAMPLED.get((kind, name), 1)]
    outcomes(damages[len(damages) * quarter // 4 : len(damages) * (quarter + 1) // 4])
