"""The chart rendered with each file of ``ci``, once."""

from pathlib import Path
from typing import Any

import pytest
from evenshard.testing.chart import ci_files, documents, render, values_of


@pytest.fixture(scope="session", params=ci_files(), ids=lambda path: path.name.removesuffix("-values.yaml"))
def path(request: pytest.FixtureRequest) -> Path:
    pytest.importorskip("helm_python", reason="NO CHART TESTED: pip install evenshard[charts]")
    found: Path = request.param
    return found


@pytest.fixture(scope="session")
def rendered(path: Path) -> dict[str, str]:
    return render(values_of(path))


@pytest.fixture(scope="session")
def objects(rendered: dict[str, str]) -> list[dict[str, Any]]:
    return documents(rendered)
