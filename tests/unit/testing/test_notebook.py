"""Cells are run in order in one namespace; what they print, show and draw is what a notebook would hold."""

import os
from typing import Any

import pytest
from evenshard.testing import answers
from evenshard.testing.notebook import WIDTH, CellError, outputs_as_text, run_notebook, with_outputs

pytest.importorskip("matplotlib", reason="SKIPPED: NO MATPLOTLIB (pip install evenshard[plot])")


def notebook(*sources: str) -> dict[str, Any]:
    cells: list[dict[str, Any]] = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Words\n"]}]
    for number, source in enumerate(sources):
        cells.append(
            {
                "cell_type": "code", "id": f"c{number}", "metadata": {}, "execution_count": None, "outputs": [],
                "source": source.splitlines(keepends=True),
            }
        )  # fmt: skip
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}


def test_what_cells_show_is_what_a_notebook_would_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    document = notebook(
        "import os\nfrom evenshard.testing import answers\nmade = answers.funnel()",
        "print('said')\nmade",
        "made.plot();",
        "os.environ['COLUMNS']",
        "x = 1\nx;",
        "",
    )
    shown = run_notebook(document)
    assert os.environ["COLUMNS"] == "40"
    filled = with_outputs(document, shown)
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    assert outputs_as_text(filled) == [
        ("", "", 0), ("said\n", repr(answers.funnel()), 0), ("", "", 1), ("", f"'{WIDTH}'", 0), *[("", "", 0)] * 2,
    ]  # fmt: skip
    assert [cell.get("execution_count") for cell in filled["cells"]] == [None, 1, 2, 3, 4, 5, 6]
    assert "".join(filled["cells"][2]["outputs"][1]["data"]["text/html"]) == answers.funnel()._repr_html_()
    assert shown[2].charts[0].startswith(b"\x89PNG")
    assert run_notebook(document)[2].charts == shown[2].charts
    assert outputs_as_text(document) == [("", "", 0)] * 6


def test_a_cell_that_fails_is_told_with_its_number_and_nothing_after_it_runs() -> None:
    with pytest.raises(CellError, match="cell 2 failed: ZeroDivisionError") as caught:
        run_notebook(notebook("import os", "1 / 0", "os.abort()"))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
