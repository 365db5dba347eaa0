"""Moves of slots while the disk of both shards keeps a journal; every scenario is one entry of ``MOVES``."""

from collections.abc import Callable, Mapping
from typing import Final

from evenshard.testing.faults.moving_story import SOURCE, TARGET, MovingStory, all_slots, some_slots


def move_rows(seed: int) -> MovingStory:
    """Some slots go: their rows as rows, indexed ones and others. The source's segment is written anew without them."""
    moved, others = some_slots()
    story = MovingStory(seed, moved, [others])
    story.open()
    story.send(*range(6))
    story.compact(SOURCE)
    story.follow().step()
    story.send(*range(4, 10))
    story.catch_up()
    story.fence()
    story.agree()
    story.switch()
    story.send(*range(4))
    story.complete()
    return story


def move_files(seed: int) -> MovingStory:
    """All slots go: segments as files, byte by byte, the rest as frames; their own become the source's trash."""
    story = MovingStory(seed, all_slots())
    story.open()
    story.send(*range(6))
    story.compact(SOURCE)
    story.follow().step()
    story.send(4, 5, 6, 7)
    story.catch_up()
    story.fence()
    story.agree()
    story.switch()
    story.send(6, 7, 8)
    story.complete()
    story.compact(TARGET)
    story.empty_trash()
    story.send(*range(9))
    return story


def move_back(seed: int) -> MovingStory:
    """What came after the switch is shipped back, and the move is taken back."""
    moved, others = some_slots()
    story = MovingStory(seed, moved, [others])
    story.open()
    story.send(*range(8))
    story.compact(SOURCE)
    story.follow().step()
    story.fence()
    story.agree()
    story.switch()
    story.send(*range(4, 12))
    story.ship_back()
    story.catch_up()
    story.compact(TARGET)
    story.send(*range(16))
    story.fence()
    story.agree()
    story.switch()
    story.send(*range(18))
    story.complete()
    story.compact()
    story.send(*range(18))
    return story


def move_long(seed: int) -> MovingStory:
    """As ``move_rows``, with compactions, a deletion and calls that are refused meanwhile; the source's log goes as far
    as the target has it, the trash is emptied."""
    moved, others = some_slots()
    story = MovingStory(seed, moved, [others])
    story.open()
    story.send(*range(12))
    story.compact(SOURCE)
    story.send(5, 6, *range(12, 18))
    story.follow().step()
    story.send(*range(18, 24), 1, 2)
    story.compact(SOURCE)
    story.catch_up()
    story.delete(story.moved_user)
    story.send(*range(3), *range(24, 27))
    story.catch_up()
    story.fence()
    assert story.send(*range(27)) == ["SLOTS_FENCED"]
    story.agree()
    story.switch()
    story.send(*range(27), 30, 31)
    story.complete()
    story.compact()
    story.empty_trash()
    story.send(*range(32))
    return story


MOVES: Final[Mapping[str, Callable[[int], MovingStory]]] = {
    "move_rows": move_rows,
    "move_files": move_files,
    "move_back": move_back,
    "move_long": move_long,
}
