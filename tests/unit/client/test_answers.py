"""What every answer can be: a document, a table, a frame of pandas and polars, a prompt's text, a notebook's HTML."""

import builtins
import html.parser
import re
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest
from evenshard.client import FlowsResult, SegmentationResult
from evenshard.client.answer import Answer
from evenshard.testing import answers
from evenshard.text.paint import paint

KINDS = sorted(answers.every_kind())


@pytest.fixture(params=KINDS)
def answer(request: pytest.FixtureRequest) -> Answer:
    return answers.every_kind()[request.param]


def test_frames_have_the_rows_of_the_table(answer: Answer) -> None:
    pytest.importorskip("pandas", reason="SKIPPED: NO PANDAS (pip install evenshard[frames])")
    polars = pytest.importorskip("polars", reason="SKIPPED: NO POLARS (pip install evenshard[frames])")
    table = answer.to_arrow()
    assert table.num_rows > 0
    frame = answer.to_polars()
    assert isinstance(frame, polars.DataFrame)
    assert frame.to_arrow().cast(table.schema).to_pylist() == table.to_pylist()
    assert list(answer.to_pandas().columns) == table.column_names
    assert len(answer.to_pandas()) == table.num_rows


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_a_prompt_shows_no_more_than_fits_and_nothing_that_moves_the_cursor(
    answer: Answer, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = repr(answer)
    assert "\x1b" not in text
    assert all(line.isprintable() for line in text.splitlines())
    if width >= 80:  # narrower ones cannot show all numbers
        assert max(map(len, text.splitlines())) <= max(width, _note_width(text))


def _note_width(text: str) -> int:
    """Sentences are not cut."""
    return max((len(line) for line in text.splitlines() if line.startswith(("warning", "there are more"))), default=0)


class Reader(html.parser.HTMLParser):
    """Notes elements, and whether they close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_notebook_gets_html_in_which_names_are_only_text(answer: Answer) -> None:
    found = answer._repr_html_()  # type: ignore[attr-defined]
    read = Reader(found)
    assert read.open == []
    assert read.elements <= {"div", "table", "caption", "thead", "tbody", "tr", "th", "td", "p"}
    assert "\x1b" not in found
    if answers.EVIL in str(answer.to_dict()):
        assert "&lt;script&gt;" in found


def huge_segmentation() -> SegmentationResult:
    labels = [f"2026-01-01T00:{at:05}" for at in range(20_000)]
    values = list(range(20_000))
    series = [{"by": [f"group {at}"], "values": values, "overall": 1} for at in range(62)]
    return answers.segmentation(buckets=labels, series=series, by=("p",))


def huge_flows() -> FlowsResult:
    nodes = [{"step": step, "name": f"e{at}", "count": 1, "dropoff": 1} for step in range(10) for at in range(500)]
    return FlowsResult(5000, nodes, [], answers.META)


@pytest.mark.parametrize("huge", [huge_segmentation(), answers.segmentation(
    buckets=["b"] * 50_000, series=[{"by": [], "values": [1] * 50_000, "overall": 1}]), huge_flows()])  # fmt: skip
def test_what_is_shown_of_a_huge_answer_is_bounded_and_says_so(huge: Answer) -> None:
    text, page = repr(huge), huge._repr_html_()  # type: ignore[attr-defined]
    assert len(text.splitlines()) < 120
    assert len(page) < 60_000
    assert re.search(r"… [\d,]+ more", text)
    assert re.search(r"… [\d,]+ more", page)


def test_a_partial_answer_says_so_wherever_it_is_shown() -> None:
    meta = {**answers.META, "complete": False, "missing_shards": ["shard-1"]}
    partial = answers.segmentation(meta=meta)
    assert repr(partial).splitlines()[-1] == "PARTIAL: missing shard-1"
    assert "PARTIAL: missing shard-1" in partial._repr_html_()


def test_what_is_not_installed_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str, *_: Any) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])

    monkeypatch.setattr("importlib.import_module", nothing)
    asked = answers.segmentation()
    for act, said in (
        (asked.to_pandas, "to_pandas() needs pandas: pip install 'evenshard[frames]'"),
        (asked.to_polars, "to_polars() needs polars: pip install 'evenshard[frames]'"),
        (asked.plot, "plot() needs matplotlib: pip install 'evenshard[plot]'"),
    ):
        with pytest.raises(ModuleNotFoundError) as caught:
            act()
        assert str(caught.value) == said
    assert isinstance(asked.to_arrow(), pa.Table)


def test_cohorts_are_their_document() -> None:
    found = answers.cohorts()
    assert found == found.to_dict() == {"cohorts": found.cohorts}
    assert builtins.type(found.to_dict()) is dict
    table = found.to_arrow()
    assert table.column_names == ["name", "version", "users", "definition"]
    assert repr(found).splitlines()[0].split() == ["name", "version", "users", "who"]


def test_a_funnel_shows_who_dropped_out() -> None:
    lines = paint(answers.funnel().blocks()).splitlines()
    assert lines[0].split()[-5:] == ["previous", "dropped", "median", "time", "average"]
    assert lines[2].split()[-9:] == ["50.0", "%", "50.0", "%", "4", "1.0", "min", "1.5", "min"]


def test_charts_and_frames_are_imported_only_when_they_are_asked_for() -> None:
    program = (
        "import sys, evenshard.client, evenshard.testing.answers as answers; repr(answers.funnel());"
        "print([name for name in ('matplotlib', 'pandas', 'polars', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
