"""Anything may happen to a file: the shard refuses to start, or says what is lost, or answers as before; it never
answers anything wrong, and ``fsck`` finds whatever changed an answer.

That is so of what was stopped by a version that puts on record where the log ends. Of the bytes of an older one, as of
a shard that was killed, whole frames may be missing at the end of the log without a trace: nothing tells such a cut
from a stop at that moment.
"""

import importlib.util
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
from evenshard.storage.log.reader import read_log_file
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.events import FOR_EVER

COMPAT = Path(__file__).parents[2] / "compat"
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


def made_today(folder: Path) -> Path:
    """What the evenshard of now makes of the committed bytes' story."""
    spec = importlib.util.spec_from_file_location("make_v1", COMPAT / "make_v1.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(folder)
    return folder


def has_clean_end(root: Path) -> bool:
    """Whether the last log file of an undamaged directory, or a cut one, ends with the marker of a clean stop."""
    path = max((root / "log").iterdir())
    return read_log_file(path.read_bytes(), path.name, int(path.stem), SHARD, last=True).clean


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


def try_rounds(seed: int, rounds: int, sound: Path, place: Path, *, end_is_on_record: bool) -> None:
    print("seed", seed)
    random = Random(seed)
    expected = {
        tenant: sorted(json.dumps(row, sort_keys=True) for row in rows)
        for tenant, rows in json.loads((sound / "expected.json").read_text()).items()
    }
    files = sorted(path.relative_to(sound) for path in (sound / "shard-0").rglob("*") if path.is_file())
    for _ in range(rounds):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(sound / "shard-0", place / "shard-0")
        name = random.choice(files)
        data = bytearray((place / name).read_bytes())
        what = f"{name}, {damage(random, data)}"
        (place / name).write_bytes(data)
        seen = checked(place / "shard-0")
        torn = not end_is_on_record and (
            any(finding.code == TORN_END for finding in seen.findings)
            or (not seen.findings and not has_clean_end(place / "shard-0"))
        )
        for tenant, rows in answers(place / "shard-0", expected).items():
            if rows != expected[tenant]:
                # The end of a log that was cut looks like a write that was never acknowledged.
                assert torn, what
                assert set(rows) < set(expected[tenant]), what


def test_random_damage_is_never_answered_wrongly(tmp_path: Path) -> None:
    try_rounds(11, ROUNDS_IN_CI, COMPAT / "v1", tmp_path / "old", end_is_on_record=False)
    try_rounds(11, ROUNDS_IN_CI, made_today(tmp_path / "made"), tmp_path / "new", end_is_on_record=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("made", ["v1", "today"])
def test_much_random_damage_is_never_answered_wrongly(made: str, seed: int, tmp_path: Path) -> None:
    today = made == "today"
    sound = made_today(tmp_path / "made") if today else COMPAT / made
    try_rounds(seed, ROUNDS_OF_SOAK, sound, tmp_path / "place", end_is_on_record=today)
