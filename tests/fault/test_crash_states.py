"""Whatever a power cut leaves at any operation, recovery serves exactly the acked events, each once, and goes on.

Enumerated (``testing/faults/crash_states.py`` states the bounds), not drawn: the seed only makes the events.
"""

import pytest
from evenshard.testing.faults.crash_states import CrashModel, every_byte, few_cuts
from evenshard.testing.faults.exploring import Explorer
from evenshard.testing.faults.journal import NOTHING, FolderSynced, Named, Synced, SyncFailed, Truncated, Wrote
from evenshard.testing.faults.moving_scenarios import MOVES
from evenshard.testing.faults.recording_disk import Done
from evenshard.testing.faults.scenarios import SCENARIOS, killed, killed_moments

SEED = 20_260_101
DONES: tuple[Done, ...] = ("nothing", "half", "all")
KILLED_MOMENTS = killed_moments(SEED)
RECOVER_EVERY = {
    "compact": 53,
    "remove_logs": 23,
    "remove_one_log": 11,
    "age": 29,
    "stop_and_start": 13,
    "delete": 41,
    "delete_indexed": 29,
    "retain": 29,
    "damaged_log": 61,
    "damaged_segment": 61,
    "compaction_fails": 41,
    "move_rows": 401,
    "move_files": 151,
}
"""In CI, of scenarios with many hundred different states; soak recovers from all, and cuts every recovery off."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_after_any_power_cut_exactly_the_acked_events_are_there(name: str) -> None:
    every = RECOVER_EVERY.get(name, 1)
    explorer = Explorer(few_cuts, recover_every=every, follow_up_every=16, depth=1, cut_again_every=16)
    counts = explorer.explore(SCENARIOS[name](SEED))
    print(f"{name}: seed {SEED}, {counts}")
    assert counts.recovered > 30
    assert counts.followed_up
    assert counts.recoveries_cut


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["move_rows", "move_files"])
def test_after_a_power_cut_in_a_move_every_acked_event_is_on_one_of_two_shards(name: str) -> None:
    explorer = Explorer(few_cuts, recover_every=RECOVER_EVERY[name], follow_up_every=8, depth=0)
    counts = explorer.explore(MOVES[name](SEED))
    print(f"{name}: seed {SEED}, {counts}")
    assert counts.recovered > 30
    assert counts.followed_up


@pytest.mark.parametrize("moment", range(0, KILLED_MOMENTS, 7))
def test_a_killed_process_and_a_power_cut_after_it_lose_nothing(moment: int) -> None:
    done = DONES[moment // 7 % len(DONES)]
    every = 11 if moment > KILLED_MOMENTS // 3 else 1
    counts = Explorer(few_cuts, recover_every=every, follow_up_every=16, depth=0).explore(killed(moment, done)(SEED))
    assert counts.recovered > 10


SOAK: dict[str, int] = {"follow_up_every": 64, "depth": 2, "cut_again_every": 32}
"""Every state is recovered from; so many of the recoveries are gone on from, or cut off in turn."""
MOVE_PARTS = 8
"""Moments of a move that are looked at by themselves: all take hours."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SCENARIOS)
def test_after_a_power_cut_at_any_byte_and_another_while_recovering(name: str) -> None:
    counts = Explorer(every_byte, **SOAK).explore(SCENARIOS[name](SEED))
    print(f"{name}: seed {SEED}, {counts}")
    assert counts.recovered > 30  # each of them rightly: the explorer raises at the first that is not


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(MOVE_PARTS))
@pytest.mark.parametrize("name", MOVES)
def test_after_a_power_cut_at_any_byte_of_a_move_and_another_while_recovering(name: str, part: int) -> None:
    counts = Explorer(every_byte, **SOAK).explore(MOVES[name](SEED), since=part, step=MOVE_PARTS)
    print(f"{name}: seed {SEED}, {counts}")
    assert counts.recovered > 30


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_killed_process_and_a_power_cut_at_any_byte_after_it_lose_nothing() -> None:
    explorer = Explorer(every_byte, **SOAK)  # one for all: most of their states are the same
    for done in DONES:
        for moment in range(KILLED_MOMENTS):
            story = killed(moment, done)(SEED)
            # Until they are killed all lives are alike: that part is looked at in the longest.
            explorer.explore(story, since=0 if moment == KILLED_MOMENTS - 1 else max(0, story.restarted_at - 1))
    print(f"killed at {KILLED_MOMENTS} moments, {DONES} of the operation done: seed {SEED}, {explorer.counts}")
    assert explorer.counts.recovered > 30


def states(*entries: object) -> set[tuple[tuple[str, bytes], ...]]:
    model = CrashModel(NOTHING)
    for entry in entries:
        model.apply(entry)  # type: ignore[arg-type]
    return {tuple(sorted(state.disk.files.items())) for state in model.states(every_byte)}


def test_what_the_states_are() -> None:
    made, named = Named((("f/a", 0),)), FolderSynced("f")
    assert states(made) == {(), (("f/a", b""),)}
    assert states(made, named) == {(("f/a", b""),)}
    wrote = Wrote(0, b"ab", (0, 2))
    found = {content for ((_, content),) in states(made, named, wrote)}
    assert {b"", b"a", b"ab", b"\0\0", b"a\0"} < found
    assert len(found) == 7
    assert states(made, named, wrote, Synced(0)) == {(("f/a", b"ab"),)}
    cut = {content for ((_, content),) in states(made, named, wrote, Synced(0), Truncated(0, 1))}
    assert cut == {b"ab", b"a"}
    failed = {
        content for ((_, content),) in states(made, named, wrote, SyncFailed(0), Wrote(0, b"c", (0, 1)), Synced(0))
    }
    assert failed == {b"abc", b"\0\0c"}
    renamed = Named((("f/a", None), ("f/b", 0)))
    assert states(made, named, renamed) == {(("f/a", b""),), (("f/b", b""),)}
    second = Named((("f/b", 1),))
    assert states(made, second) == {(), (("f/a", b""),), (("f/b", b""),), (("f/a", b""), ("f/b", b""))}
