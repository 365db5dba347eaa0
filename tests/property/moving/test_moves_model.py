"""Moves of slots of homes and of the overflow, forth and back, dropped or not, between appends, retries, compactions,
deletions, crossings and power cuts: every answer and every duplicate bit is that of a list.
"""

import pytest
from evenshard.storage.moving import telling
from evenshard.testing.moved_cluster import MovedCluster


@pytest.fixture(autouse=True)
def _strips_of_a_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that there are several, each at its own position."""
    monkeypatch.setattr(telling, "STRIP_BYTES", 1)


def play(seed: int, acts: int) -> None:
    cluster = MovedCluster(seed)
    for number in range(acts):
        cluster.act()
        if number % 5 == 0:
            cluster.check()
    cluster.check()
    cluster.check_disks()
    cluster.check()


@pytest.mark.parametrize("seed", range(3))
def test_any_history_gives_the_answers_of_a_list(seed: int) -> None:
    play(seed, 70)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 160))
def test_long_histories_give_the_answers_of_a_list(seed: int) -> None:
    play(seed, 400)
