"""Each sync, cut, checksum and rule of order, taken away one at a time, is missed after some power cut or flip.

Syncs, cuts and checks are found in the source of storage: a new one without a scenario that misses it fails here.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from evenshard.errors import EvenshardError
from evenshard.runtime.disk import LocalDisk
from evenshard.storage.catalog import Catalog
from evenshard.testing.faults.crash_states import few_cuts
from evenshard.testing.faults.damaged_shard import CUT, NAMED, RIGHT, Damage, DamageCheck, make_shard
from evenshard.testing.faults.exploring import Explorer
from evenshard.testing.faults.isolated import run
from evenshard.testing.faults.moving_scenarios import MOVES
from evenshard.testing.faults.mutants import CALLS, RULES, calls, checksum_calls, mutated, sites
from evenshard.testing.faults.scenarios import SCENARIOS, Scenario, killed
from evenshard.testing.faults.story import SHARD

SEED = 1

MISSED_BY_POWER_CUTS: dict[str, str] = {
    "compaction.compact:compact:sync_directory:1": "stop_and_start",
    "compaction.rewrite:without_hidden:sync_directory:1": "delete_indexed",
    "indexing:remove_log_files:sync_directory:1": "remove_logs",
    "purging:_forget:sync_directory:1": "delete_indexed",
    "log.writer:create_log_file:sync:1": "rotate",
    "log.writer:create_log_file:sync_directory:1": "rotate",
    "log.writer:LogWriter._write_and_sync:sync:1": "rotate",
    "log.writer:LogWriter._cut_back:truncate:1": "writes_fail",
    "log.writer:LogWriter._cut_back:sync:1": "writes_fail",
    "log.writer:LogWriter._drop_unsynced:truncate:1": "sync_fails",
    "log.writer:LogWriter._rotate:sync:1": "rotate",
    "log.writer:LogWriter._rotate:sync_directory:1": "rotate",
    "recovery:Replay._writer_at_end:truncate:1": "killed",
    "recovery:Replay._writer_at_end:sync:1": "killed",
    "recovery:Replay._writer_at_end:sync_directory:1": "killed",
    "moving.strips:StripTaking._next_file:sync:1": "move_files:follow",
    "moving.strips:StripTaking.commit:sync_directory:1": "move_files:follow",
    "segment.writer:SegmentWriter.finish:sync:1": "stop_and_start",
    "splitting:split_segment:sync_directory:1": "move_rows:end",
    "rule:sync before ack": "append",
    "rule:commit before the replaced segments go": "compact",
    "rule:commit before log files go": "remove_one_log",
    "rule:a log file stays while any tenant needs it": "remove_logs",
    "rule:forget identities when the write fails": "writes_fail",
    "rule:nothing is taken after a failed sync": "sync_fails",
    "rule:an epoch is kept before its rows": "append",
    "rule:a deletion is kept before its ack": "hide",
    "rule:names are forgotten when the bytes are gone": "delete_indexed",
    "rule:damage is on record before anything goes on": "damaged_log",
    "rule:segment ids are reserved before there are files": "compact",
    "rule:a fence is kept before its ack": "move_files:fence",
    "rule:copied rows are there before it is known how far they are": "move_rows:catch_up",
}
MISSED_BY_FLIPS: dict[str, tuple[str, str]] = {
    "log.frame:parse_file_header:check:1": ("log", "log/0000000001.log"),
    "log.frame:parse_frame:check:1": ("log", "log/0000000001.log"),
    "log.frame:parse_frame:check:2": ("log", "log/0000000001.log"),
    "segment.filter:from_bytes:check:1": ("indexed", "segments/0000000001.filter"),
    "segment.format:verified_metadata:check:1": ("indexed", "segments/0000000001.parquet"),
    "segment.stream:ReadStream._verified:check:1": ("indexed", "segments/0000000001.parquet"),
    "segment.value_filter:read_page:check:1": ("indexed", "segments/0000000001.filter"),
    "segment.value_filter:read_trailer:check:1": ("indexed", "segments/0000000001.filter"),
}
MISSED_IN_CATALOGS: dict[str, tuple[str, str]] = {
    "catalog_rows:CatalogRows.read:check:1": ("", "SQLite finds it damaged"),  # its count of free pages is wrong
    "catalog_rows:CatalogRows.read:check:2": (
        "UPDATE entries SET value = x'7B7D' WHERE key LIKE 'tenant/%'",
        "checksum of row",
    ),
    "catalog_rows:CatalogRows.check_digest:check:1": (
        "DELETE FROM entries WHERE key LIKE 'tenant/%'",
        "digest over its rows",
    ),
}
FREE_PAGES_OFFSET = 39
NOT_MISSED = {
    "recovery:Replay.settled:sync_directory:1": "the folder is synced again before anything is written to it",
    "segment.writer:SegmentWriter.finish:sync:2": "a damaged filter is made again from its segment where it is needed",
    "fsck_repair:write_filter:sync:1": "a damaged filter is made again from its segment where it is needed",
    "fsck_repair:write_filter:sync_directory:1": "the filter that was there before is as damaged as it was",
}
END_ENTRIES = 5
"""Of the journal of a move: its last commit and what comes behind it."""
CHECKSUMS = {
    "append:Append.prepared": 1,
    "catalog_rows:CatalogRows.read": 1,
    "catalog_rows:Changes._store": 1,
    "catalog_rows:_row_checksum": 1,
    "log.frame:_joined_checksum": 1,
    "log.frame:encode_file_header": 1,
    "log.frame:encode_frame": 4,
    "log.frame:parse_file_header": 1,
    "log.frame:parse_frame": 4,
    "moving.taking:_prepared": 1,
    "segment.filter:from_bytes": 1,
    "segment.filter:to_bytes": 1,
    "segment.format:verified_metadata": 1,
    "segment.stream:ReadStream._verified": 1,
    "segment.stream:WriteStream.checksums": 1,
    "segment.stream:WriteStream.write": 1,
    "segment.value_filter:read_page": 1,
    "segment.value_filter:read_trailer": 1,
    "segment.value_filter:values_bytes": 1,
    "segment.writer:SegmentWriter.finish": 1,
}
"""Where checksums are computed; each place that reads is one of the checks above."""
SHARDS = {"log": make_shard(SEED, indexed=False, end="clean"), "indexed": make_shard(SEED, indexed=True, end="clean")}


def test_the_list_is_complete() -> None:
    listed = [*MISSED_BY_POWER_CUTS, *MISSED_BY_FLIPS, *MISSED_IN_CATALOGS, *NOT_MISSED]
    assert len(listed) == len(set(listed))
    assert set(listed) == {*sites(), *RULES}
    assert checksum_calls() == CHECKSUMS
    assert calls() == sum(site.kind in CALLS for site in sites().values()), "a sync or a cut that is no statement"


def plays(scenario: str) -> Iterator[Scenario]:
    if scenario != "killed":
        yield SCENARIOS[scenario]
        return
    for moment in range(60):
        yield killed(moment, "half")
        yield killed(moment, "nothing")


def explore(scenario: str) -> None:
    """All states; first some of them, since most mutants are found among those."""
    move, _, step = scenario.partition(":")
    if step:
        explore_move(move, step)
        return
    for every in (1,) if scenario == "killed" else (13, 5, 1):
        for play in plays(scenario):
            Explorer(few_cuts, recover_every=every, follow_up_every=1000, depth=0).explore(play(SEED))


def explore_move(name: str, step: str) -> None:
    """From where the driver begins with something, or its end alone: moves are long."""
    story = MOVES[name](SEED)
    since = len(story.disk.journal) - END_ENTRIES if step == "end" else story.began[step]
    Explorer(few_cuts, follow_up_every=4, depth=0).explore(story, since=since)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MISSED_BY_POWER_CUTS)
def test_what_is_taken_away_is_missed_after_a_power_cut(name: str) -> None:
    with mutated(name), pytest.raises((AssertionError, EvenshardError)):
        explore(MISSED_BY_POWER_CUTS[name])


@pytest.mark.timeout(600)
def test_each_checksum_is_missed_after_a_flip() -> None:
    missed: set[str] = set()

    def damages() -> Iterator[Damage]:
        for mutant, (kind, name) in MISSED_BY_FLIPS.items():
            content = SHARDS[kind].files[name]
            for at in range(24, len(content), 5):
                if mutant in missed:
                    break
                flipped = bytearray(content)
                flipped[at] ^= 1 << at % 8
                yield Damage(kind, name, bytes(flipped), f"byte {at}", mutant)

    for damage, outcome in run(DamageCheck(SHARDS), damages()):
        if outcome not in (RIGHT, NAMED, CUT):
            missed.add(damage.mutant)
    assert missed == set(MISSED_BY_FLIPS)


@pytest.mark.parametrize("name", MISSED_IN_CATALOGS)
def test_each_check_of_the_catalog_is_missed_after_a_change_of_its_rows(name: str, tmp_path: Path) -> None:
    statement, said = MISSED_IN_CATALOGS[name]
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(SHARDS["indexed"].files["catalog.sqlite"])
    if statement:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(statement)
            connection.commit()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    else:
        content = bytearray(path.read_bytes())
        content[FREE_PAGES_OFFSET] ^= 4
        path.write_bytes(content)
    assert said in refusal(tmp_path)
    with mutated(name):
        assert said not in refusal(tmp_path)


def refusal(folder: Path) -> str:
    """How the catalog in a folder is refused; ``""``: it is not."""
    disk = LocalDisk(folder)
    try:
        Catalog.open(disk, SHARD).close()
    except EvenshardError as error:
        return error.message
    finally:
        disk.close()
    return ""
