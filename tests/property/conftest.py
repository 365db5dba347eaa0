"""Users are followed a few at a time, so that every test here crosses the edges of chunks."""

from collections.abc import Iterator

import pytest
from evenshard.queries import user_chunks


@pytest.fixture(scope="module", autouse=True)
def few_rows_a_chunk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(user_chunks, "CHUNK_ROWS", 16)
        yield
