"""``fsck``: what it finds, that looking changes nothing, and that repairing loses nothing that was not lost."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evenshard.cli import main
from evenshard.errors import EvenshardError
from evenshard.ids import Epoch, ShardId, TenantId
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.append import Appended
from evenshard.storage.settings import StorageSettings
from evenshard.storage.store import Store
from evenshard.testing.clock import ManualClock
from evenshard.testing.events import Event, all_events, append_of

ACME, OTHER, SHARD = TenantId("acme"), TenantId("other"), ShardId("shard-0")
FIRST_LOG, LAST_LOG = "log/0000000001.log", "log/0000000003.log"
PARQUET, FILTER = "segments/0000000001.parquet", "segments/0000000001.filter"


def click(number: int) -> Event:
    return Event("click", f"u{number}", 1_700_000_000_000 + number, "x")


def start(root: Path, reports: list[str] | None = None) -> tuple[LocalDisk, Store]:
    disk = LocalDisk(root)
    report = (reports if reports is not None else []).append
    return disk, Store.open(disk, ManualClock(), SHARD, StorageSettings(log_file_bytes=1), report)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Killed; two indexed rows (one in the log's first file still), four that are not, of two tenants."""
    place = tmp_path_factory.mktemp("fsck")
    disk, store = start(place / "living")
    for events, tenant in [
        ([click(1), click(1), click(2)], "acme"),
        ([], ""),
        ([click(1), click(3)], "acme"),
        ([click(4), click(5)], "other"),
    ]:
        if not events:
            store.compact(ACME)
            continue
        (outcome,) = store.append([append_of(events, tenant)])
        assert isinstance(outcome, Appended)
    shutil.copytree(place / "living", place / "shard-0")
    store.close()
    disk.close()
    return place / "shard-0"


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "data" / "shard-0")
    return tmp_path / "data" / "shard-0"


def fsck(capsys: pytest.CaptureFixture[str], directory: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = main.run(["fsck", str(directory), *flags, "--json"])
    return status, json.loads(capsys.readouterr().out)


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted([root, *root.rglob("*")])
    }


def flip(name: str, at: int) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        data = bytearray((root / name).read_bytes())
        data[at] ^= 0x10
        (root / name).write_bytes(data)

    return change


def cut(name: str, count: int) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:-count]) and None


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def leave(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).write_bytes(b"") and None


def events_of(root: Path, tenant: TenantId) -> list[Event] | str:
    disk, store = start(root)
    try:
        with store.snapshot(tenant) as snapshot:
            return sorted((event for event, _ in all_events(snapshot)), key=lambda event: event.time)
    except EvenshardError as error:
        return error.code
    finally:
        store.close()
        disk.close()


ALL_OF_ACME = [click(1), click(1), click(1), click(2), click(3)]
ALL_OF_OTHER = [click(4), click(5)]


def test_a_sound_directory_is_ok_and_untouched(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(root)
    expected = {"ok": True, "files_checked": 6, "frames": 3, "rows": 7, "findings": []}
    assert fsck(capsys, root) == (0, expected)
    assert fsck(capsys, root.parent) == (0, expected)
    assert fsck(capsys, root, "--repair") == (0, expected)
    assert tree(root) == before


@pytest.mark.parametrize(
    ("change", "file", "code", "lost_rows", "after", "acme", "other"),
    [
        (cut(LAST_LOG, 3), LAST_LOG, "TORN_END", None, None, ALL_OF_ACME, []),
        (leave("segments/0000000007.parquet"), "segments/0000000007.parquet", "LEFTOVER", 0, None, ALL_OF_ACME,
         ALL_OF_OTHER),
        (flip(FILTER, 15), FILTER, "FILTER_DAMAGED", 0, None, ALL_OF_ACME, ALL_OF_OTHER),
        (flip(FILTER, -60), FILTER, "FILTER_DAMAGED", 0, None, ALL_OF_ACME, ALL_OF_OTHER),
        (flip(FILTER, -20), FILTER, "FILTER_DAMAGED", 0, None, ALL_OF_ACME, ALL_OF_OTHER),
        (cut(FILTER, 3), FILTER, "FILTER_DAMAGED", 0, None, ALL_OF_ACME, ALL_OF_OTHER),
        (remove(FILTER), FILTER, "FILTER_DAMAGED", 0, None, ALL_OF_ACME, ALL_OF_OTHER),
        (flip(PARQUET, 40), PARQUET, "DATA_DAMAGED", 3, "QUARANTINED", "DATA_DAMAGED", ALL_OF_OTHER),
        (flip(PARQUET, -30), PARQUET, "DATA_DAMAGED", 3, "QUARANTINED", "DATA_DAMAGED", ALL_OF_OTHER),
        (flip("log/0000000002.log", 300), "log/0000000002.log", "DATA_DAMAGED", 2, "QUARANTINED", "DATA_DAMAGED",
         ALL_OF_OTHER),
        (flip(FIRST_LOG, 300), FIRST_LOG, "DATA_DAMAGED", 0, "DATA_DAMAGED", ALL_OF_ACME, ALL_OF_OTHER),
    ],
)  # fmt: skip
def test_damage_is_found_and_repair_makes_the_rest_serve(
    root: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path], None],
    file: str,
    code: str,
    lost_rows: int | None,
    after: str | None,
    acme: list[Event] | str,
    other: list[Event] | str,
) -> None:
    change(root)
    before = tree(root)
    status, document = fsck(capsys, root.parent)
    assert status == 1
    (finding,) = document["findings"]
    assert (finding["file"], finding["code"], finding["lost_rows"]) == (f"shard-0/{file}", code, lost_rows)
    assert finding["next"]
    assert tree(root) == before
    status, document = fsck(capsys, root, "--repair")
    assert [each["code"] for each in document["findings"]] == ([after] if after else [])
    assert (status, document["ok"]) == ((1, False) if after else (0, True))
    assert fsck(capsys, root)[1] == document
    assert (events_of(root, ACME), events_of(root, OTHER)) == (acme, other)


@pytest.mark.parametrize("at", [15, -20, -60])
def test_a_filter_made_again_is_as_it_was(root: Path, capsys: pytest.CaptureFixture[str], at: int) -> None:
    before = (root / FILTER).read_bytes()
    flip(FILTER, at)(root)
    assert fsck(capsys, root, "--repair")[0] == 0
    assert (root / FILTER).read_bytes() == before


@pytest.mark.parametrize("name", [PARQUET, "log/0000000002.log"])
def test_missing_files_refuse_a_start_until_they_are_given_up(
    root: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (root / name).unlink()
    disk = LocalDisk(root)
    with pytest.raises(EvenshardError, match="fsck --repair"):
        Store.open(disk, ManualClock(), SHARD, StorageSettings(), print)
    disk.close()
    status, document = fsck(capsys, root)
    assert status == 1
    assert {each["file"] for each in document["findings"]} == {name}
    _, document = fsck(capsys, root, "--repair")
    assert [(each["file"], each["code"]) for each in document["findings"]] == [(name, "QUARANTINED")]
    assert events_of(root, ACME) == "DATA_DAMAGED"
    assert events_of(root, OTHER) == (ALL_OF_OTHER if name == PARQUET else "DATA_DAMAGED")


def test_a_damaged_catalog_is_found_and_not_repaired(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = (root / "catalog.sqlite").read_bytes()
    at = data.index(b'"mark"')
    flip("catalog.sqlite", at + 1)(root)
    before = tree(root)
    status, document = fsck(capsys, root, "--repair")
    assert status == 1
    assert [(each["file"], each["code"]) for each in document["findings"]] == [("catalog.sqlite", "DATA_DAMAGED")]
    assert (document["frames"], document["rows"]) == (3, 7)  # of the log, which says of itself that it is sound
    assert tree(root) == before


def test_a_running_shard_is_left_alone(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = LocalDisk(root)
    status, document = fsck(capsys, root)
    disk.close()
    assert (status, document["error"]["code"]) == (4, "DATA_DIR_LOCKED")


def test_what_is_no_shards_directory_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, document = fsck(capsys, tmp_path)
    assert (status, document["error"]["code"]) == (2, "USAGE")
    assert list(tmp_path.iterdir()) == []


def test_an_event_that_was_deleted_and_came_again_has_one_original(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hidden original is still in the main run, the new one in a late run."""
    monkeypatch.setattr("evenshard.storage.compaction.plan.SMALL_ROWS", 2)
    disk, store = start(tmp_path / "shard-0")
    store.append([append_of([click(number) for number in range(50)])])
    store.compact(ACME)
    store.hide_users(ACME, Epoch(1), "op", ["u1"])
    store.append([append_of([click(1), click(1)])])
    store.compact(ACME)
    with store.snapshot(ACME) as snapshot:
        assert [(segment.run, segment.deletions_seen) for segment in snapshot.segments] == [(0, 0), (1, 1)]
    store.close()
    disk.close()
    assert fsck(capsys, tmp_path / "shard-0")[1]["findings"] == []


def test_a_loss_is_accepted_only_by_who_says_so(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = (root / PARQUET).read_bytes()
    flip(PARQUET, 10)(root)
    status, document = fsck(capsys, root, "--repair")
    assert (status, [each["code"] for each in document["findings"]]) == (1, ["QUARANTINED"])
    assert "--accept-loss" in document["findings"][0]["next"]
    status, document = fsck(capsys, root, "--accept-loss")  # there is no terminal to ask on
    assert (status, document["error"]["code"]) == (2, "USAGE")
    assert events_of(root, ACME) == "DATA_DAMAGED"
    assert fsck(capsys, root, "--accept-loss", "--yes")[0] == 0
    assert not (root / PARQUET).exists()
    assert events_of(root, ACME) == [click(1), click(3)]  # of the first a copy was in the log
    assert fsck(capsys, root)[0] == 0
    (root / PARQUET).write_bytes(sound)
    assert events_of(root, ACME) == [click(1), click(3)]


def test_what_was_mended_is_served_again_by_a_repair(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(PARQUET, 10)(root)
    assert fsck(capsys, root, "--repair")[0] == 1
    assert fsck(capsys, root, "--repair")[0] == 1
    flip(PARQUET, 10)(root)
    status, document = fsck(capsys, root, "--repair")
    assert (status, document["findings"]) == (0, [])
    assert events_of(root, ACME) == ALL_OF_ACME
    assert fsck(capsys, root)[0] == 0
