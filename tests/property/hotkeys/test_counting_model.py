"""Counts against a dict that forgets nothing: never too high, and too low by no more than they own up to."""

from collections import Counter
from datetime import date, timedelta
from random import Random

import pyarrow as pa
import pytest
from evenshard.hotkeys import count_table
from evenshard.hotkeys.aggregate import DAY_MS, KEY_SCHEMA, NAME_SCHEMA
from evenshard.hotkeys.counting import Counts, KeyCount
from evenshard.hotkeys.saved_counts import decoded, encoded
from evenshard.ids import TenantId

FIRST_DAY = 400
START_MS = (FIRST_DAY - 1) * DAY_MS
EPOCH_DAY = date(1970, 1, 1)

Key = tuple[str, str, int]


def columns(rows: list[tuple[str, int, int]], schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array([row[column] for row in rows], field.type) for column, field in enumerate(schema)], schema=schema
    )


def counts_of(counts: Counts, keys: list[Key]) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for tenant in sorted({key[0] for key in keys}):
        of_tenant = [key for key in keys if key[0] == tenant]
        asked = columns([(key[1], key[2], 0) for key in of_tenant], NAME_SCHEMA)
        found |= dict(zip(of_tenant, counts.counts_of(TenantId(tenant), asked).tolist(), strict=True))
    return found


def as_key(shown: KeyCount) -> Key:
    return shown.tenant, shown.distinct_id, (shown.day - EPOCH_DAY).days


def paged(counts: Counts, tenant: str | None, count_min: int, limit: int) -> dict[Key, int]:
    found: list[KeyCount] = []
    hash_from = 0
    while True:
        page, hash_from = counts.near(None if tenant is None else TenantId(tenant), count_min, hash_from, limit)
        found += page
        if not hash_from:
            break
    assert len({as_key(key) for key in found}) == len(found)
    return {as_key(key): key.count for key in found}


def saved_and_restored(counts: Counts, heavy_max: int) -> Counts:
    return Counts.restore(decoded(b"".join(encoded(counts.save()))), counts.start_ms, heavy_max)


@pytest.mark.parametrize("keys_max", [10, 60, 100_000])
@pytest.mark.parametrize("heavy_max", [2, 20, 100_000])
@pytest.mark.parametrize("seed", range(6))
def test_counts_are_those_of_a_dict_but_for_what_they_own_up_to(
    keys_max: int, heavy_max: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"seed {seed}")
    if seed % 2:
        monkeypatch.setattr(count_table, "SLOTS_MIN", 16)  # so that tables grow
    rng = Random(seed)
    users = rng.choice([5, 40, 300])
    increments = rng.choice([(1, 3), (1, 100), (20_000, 70_000)])
    counts, exact, now_ms = Counts(keys_max, START_MS, heavy_max), Counter[Key](), (FIRST_DAY + 2) * DAY_MS
    for _ in range(60):
        now_ms += rng.randrange(2 * 3_600_000)
        tenant = rng.choice("tu")
        rows = [
            (f"user-{int(rng.paretovariate(0.5)) % users}", FIRST_DAY + rng.randrange(3), rng.randint(*increments))
            for _ in range(rng.randrange(40))
        ]
        said = counts.add(TenantId(tenant), columns(rows, KEY_SCHEMA), now_ms)
        for id_, day, count in rows:
            exact[tenant, id_, day] += count
        known = counts_of(counts, list(exact))
        if keys_max == 100_000:  # else some may be forgotten again by the rows behind them
            last_said = dict(zip(((tenant, *row[:2]) for row in rows), said.tolist(), strict=True))
            assert last_said == {key: known[key] for key in last_said}
        if rng.random() < 0.2:
            gone_tenant, gone = rng.choice("tu"), [f"user-{rng.randrange(users)}" for _ in range(rng.randrange(4))]
            counts.forget(TenantId(gone_tenant), gone)
            for key in [key for key in exact if key[0] == gone_tenant and key[1] in gone]:
                del exact[key]
        if rng.random() < 0.1:
            counts = saved_and_restored(counts, heavy_max)

        known = counts_of(counts, [*exact, ("t", "nobody", FIRST_DAY)])
        assert counts.keys <= keys_max
        for key, true in exact.items():
            shown = KeyCount(TenantId(key[0]), key[1], EPOCH_DAY + timedelta(days=key[2]), known[key])
            missing_max = counts.missing_max([shown])
            assert missing_max is not None
            assert true - missing_max <= known[key] <= true
            assert missing_max == 0 or keys_max < 100_000
        assert known["t", "nobody", FIRST_DAY] == 0

        listed = {key: count for key, count in known.items() if count >= counts.listed_from}
        for tenant_asked in ("t", None):
            wanted = {key: count for key, count in listed.items() if tenant_asked in (None, key[0])}
            top = counts.top(None if tenant_asked is None else TenantId(tenant_asked), 10_000)
            assert [(as_key(key), key.count) for key in top] == sorted(
                wanted.items(), key=lambda item: (-item[1], *item[0])
            )
            count_min = rng.choice([1, 3, 50])
            assert paged(counts, tenant_asked, count_min, rng.randint(1, 9)) == {
                key: count for key, count in wanted.items() if count >= count_min
            }


def test_a_key_that_is_forgotten_again_and_again_lacks_no_more_than_it_is_said_to() -> None:
    counts, true = Counts(8, START_MS), 0
    lost = KeyCount(TenantId("t"), "again", EPOCH_DAY + timedelta(days=FIRST_DAY), 0)
    for number in range(200):
        rows = [("again", FIRST_DAY, 5)] if number % 20 == 0 else [(f"other-{number}", FIRST_DAY, 1)]
        counts.add(TenantId("t"), columns(rows, KEY_SCHEMA), FIRST_DAY * DAY_MS + number)
        true += 5 * (number % 20 == 0)
    known = counts_of(counts, [("t", "again", FIRST_DAY)])["t", "again", FIRST_DAY]
    missing_max = counts.missing_max([lost])
    assert (known, true) == (0, 50)
    assert missing_max is not None
    assert true - missing_max <= known
    assert counts.missing_max([KeyCount(lost.tenant, "x", lost.day + timedelta(days=1), 1)]) == 0
