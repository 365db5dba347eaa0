"""Real shards over bad links: whatever is moved while whatever goes wrong, acknowledged events are there once."""

import pytest
from evenshard.testing.moves_model.chances import ChancyLife


async def test_a_life_of_moves_over_bad_links() -> None:
    life = ChancyLife(1)
    await life.live(12)
    assert (life.moves > 0, life.looks > 0) == (True, True)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 140))
async def test_many_lives(seed: int) -> None:
    await ChancyLife(seed).live(40)
