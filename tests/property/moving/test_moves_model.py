"""Moves of slots of homes and of the overflow, forth and back, dropped or not, between appends, retries, compactions,
deletions, crossings and power cuts: every answer and every duplicate bit is that of a list.
"""

import pytest
from evenshard.testing.moved_cluster import MovedCluster


def play(seed: int, acts: int) -> None:
    cluster = MovedCluster(seed)
    for number in range(acts):
        cluster.act()
        if number % 5 == 0:
            cluster.check()
    cluster.check()
    cluster.check_disks()
    cluster.check()


@pytest.mark.parametrize("seed", range(4))
def test_any_history_gives_the_answers_of_a_list(seed: int) -> None:
    play(seed, 100)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
def test_long_histories_give_the_answers_of_a_list(seed: int) -> None:
    play(seed, 400)
