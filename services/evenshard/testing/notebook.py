"""Runs a notebook's cells in order, in this process, and tells what each showed, as a notebook would.

``python -m evenshard.testing.notebook docs/tour.ipynb`` runs one against the cluster at ``EVENSHARD_GATEWAY`` and
writes what its cells showed into it. No kernel, no IPython: cells are plain Python, and an answer's HTML, its text and
charts of matplotlib are all there is to show.
"""

import argparse
import ast
import base64
import contextlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

WIDTH: Final = 100
"""Characters a line of what is shown as text."""
_CHARTS_DPI: Final = 72
_JSON: Final = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


class CellError(Exception):
    """A cell failed; the message says which, the cause how."""


@dataclass
class Shown:
    """What one code cell showed."""

    source: str
    printed: str = ""
    text: str = ""
    """Of the value of its last line; empty: it had none, or ended in a semicolon."""
    html: str = ""
    charts: list[bytes] = field(default_factory=list)
    """PNG."""


def run_notebook(document: dict[str, Any]) -> list[Shown]:
    """Runs all code cells in one namespace. Raises ``CellError``. Nobody else of this process may draw meanwhile."""
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)
    try:
        sources = ["".join(cell["source"]) for cell in document["cells"] if cell["cell_type"] == "code"]
        return [_run(source, number, names, pyplot) for number, source in enumerate(sources, 1)]
    finally:
        pyplot.close("all")
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def _run(source: str, number: int, names: dict[str, Any], pyplot: Any) -> Shown:
    shown = Shown(source)
    printed = io.StringIO()
    body = ast.parse(source).body
    last = body[-1] if body and isinstance(body[-1], ast.Expr) else None
    place = f"cell {number}"
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(ast.Module(body[:-1] if last else body, []), place, "exec"), names)
            value = None if last is None else eval(compile(ast.Expression(last.value), place, "eval"), names)
    except Exception as error:
        raise CellError(f"{place} failed: {type(error).__name__}: {error}\n{source}") from error
    shown.printed = printed.getvalue()
    if value is not None and not source.rstrip().endswith(";"):
        shown.text = repr(value)
        shown.html = value._repr_html_() if hasattr(value, "_repr_html_") else ""
    for figure in pyplot.get_fignums():
        png = io.BytesIO()
        pyplot.figure(figure).savefig(png, format="png", dpi=_CHARTS_DPI, metadata={"Software": None})
        shown.charts.append(png.getvalue())
    pyplot.close("all")
    return shown


def with_outputs(document: dict[str, Any], shown: Sequence[Shown]) -> dict[str, Any]:
    """The notebook as if it had been run in one."""
    outputs = iter(enumerate(shown, 1))
    cells = []
    for cell in document["cells"]:
        if cell["cell_type"] == "code":
            number, each = next(outputs)
            cells.append({**cell, "execution_count": number, "outputs": _outputs(number, each)})
        else:
            cells.append(cell)
    return {**document, "cells": cells}


def outputs_as_text(document: dict[str, Any]) -> list[tuple[str, str, int]]:
    """What a notebook holds of each code cell: what was printed, the value's text, and how many charts."""
    found = []
    for cell in document["cells"]:
        if cell["cell_type"] == "code":
            outputs = cell["outputs"]
            printed = "".join("".join(each["text"]) for each in outputs if each["output_type"] == "stream")
            data = [each["data"] for each in outputs if each["output_type"] != "stream"]
            text = "".join("".join(each.get("text/plain", "")) for each in data)
            found.append((printed, text, sum("image/png" in each for each in data)))
    return found


def _outputs(number: int, shown: Shown) -> list[dict[str, Any]]:
    outputs: list[dict[str, Any]] = []
    if shown.printed:
        outputs.append({"output_type": "stream", "name": "stdout", "text": _lines(shown.printed)})
    if shown.text:
        data = {"text/plain": _lines(shown.text)} | ({"text/html": _lines(shown.html)} if shown.html else {})
        outputs.append({"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data})
    for chart in shown.charts:
        data = {"image/png": base64.b64encode(chart).decode()}  # type: ignore[dict-item]
        outputs.append({"output_type": "display_data", "metadata": {}, "data": data})
    return outputs


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main() -> None:
    """Writes what the cells show into the notebook."""
    parser = argparse.ArgumentParser(description="Runs a notebook's cells and writes what they show into it.")
    parser.add_argument("notebook", type=Path)
    path: Path = parser.parse_args().notebook
    document = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps(with_outputs(document, run_notebook(document)), option=_JSON))


if __name__ == "__main__":
    main()
