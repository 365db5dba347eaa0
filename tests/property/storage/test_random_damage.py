"""Anything may happen to a file: the shard refuses to start, or says what is lost, or answers as before; it never
answers anything wrong, and ``fsck`` finds whatever changed an answer."""

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import pytest
from evenshard.errors import EvenshardError
from evenshard.events.batch import FIELD_NAMES
from evenshard.events.scan import HOT
from evenshard.ids import ShardId, TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.fsck import TORN_END, Checked, check
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.events import FOR_EVER

SOUND = Path(__file__).parents[2] / "compat" / "v1"
SHARD = ShardId("shard-0")
ROUNDS_IN_CI, ROUNDS_OF_SOAK = 25, 400


def damage(random: Random, data: bytearray) -> str:
    """One act of a disk, a copy or a finger."""
    at = random.randrange(len(data))
    match random.choice(["bit", "byte", "cut", "zeros", "doubled"]):
        case "bit":
            data[at] ^= 1 << random.randrange(8)
        case "byte":
            data[at] = random.randrange(256)
        case "cut":
            del data[at:]
        case "zeros":
            data[at : at + 50] = bytes(len(data[at : at + 50]))
        case _:
            data[at:at] = data[max(0, at - 100) : at]
    return f"at {at} of {len(data)}"


def rows_of(store: Store, tenant: str) -> list[str]:
    with store.snapshot(TenantId(tenant)) as snapshot:
        return sorted(
            json.dumps(
                {name: value for name, value in row.items() if name in KEPT or value is not None}, sort_keys=True
            )
            for scanned in snapshot.scan((*FIELD_NAMES, HOT), None, *FOR_EVER)
            for row in scanned.record.to_pylist()
        )


KEPT = (*FIELD_NAMES, HOT, "duplicate")


def checked(root: Path) -> Checked:
    disk = LocalDisk(root, read_only=True)
    try:
        return check(disk, ManualClock(), SHARD, lambda _: None)
    finally:
        disk.close()


def answers(root: Path, tenants: Any) -> dict[str, list[str]]:
    """Of those tenants that are answered; none where the shard does not start."""
    disk = LocalDisk(root)
    found: dict[str, list[str]] = {}
    try:
        store = Store.open(disk, ManualClock(), SHARD, StorageSettings(), lambda _: None)
        for tenant in tenants:
            try:
                found[tenant] = rows_of(store, tenant)
            except EvenshardError as error:
                assert error.code == "DATA_DAMAGED"  # noqa: PT017 (no answer is right too)
        store.close()
    except EvenshardError as error:
        assert error.code in ("DATA_DAMAGED", "FORMAT_TOO_NEW")  # noqa: PT017
    finally:
        disk.close()
    return found


def try_rounds(seed: int, rounds: int, place: Path) -> None:
    print("seed", seed)
    random = Random(seed)
    expected = {
        tenant: sorted(json.dumps(row, sort_keys=True) for row in rows)
        for tenant, rows in json.loads((SOUND / "expected.json").read_text()).items()
    }
    files = sorted(path.relative_to(SOUND) for path in (SOUND / "shard-0").rglob("*") if path.is_file())
    for _ in range(rounds):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(SOUND / "shard-0", place / "shard-0")
        name = random.choice(files)
        data = bytearray((place / name).read_bytes())
        what = f"{name}, {damage(random, data)}"
        (place / name).write_bytes(data)
        seen = checked(place / "shard-0")
        torn = any(finding.code == TORN_END for finding in seen.findings)
        for tenant, rows in answers(place / "shard-0", expected).items():
            if rows != expected[tenant]:
                # The end of a log that was cut looks like a write that was never acknowledged: that much is said.
                assert torn, what
                assert set(rows) < set(expected[tenant]), what


def test_random_damage_is_never_answered_wrongly(tmp_path: Path) -> None:
    try_rounds(11, ROUNDS_IN_CI, tmp_path / "place")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(4))
def test_much_random_damage_is_never_answered_wrongly(seed: int, tmp_path: Path) -> None:
    try_rounds(seed, ROUNDS_OF_SOAK, tmp_path / "place")
