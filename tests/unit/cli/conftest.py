"""Commands print into a pipe of no width, whatever the terminal of whoever runs the tests."""

import pytest


@pytest.fixture(autouse=True)
def no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that run in several processes are told of one."""
    monkeypatch.delenv("COLUMNS", raising=False)
