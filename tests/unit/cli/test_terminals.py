"""What each kind of question prints on terminals of any width, with colours and without, and into a pipe."""

import io
import json
import re
from collections.abc import Iterator

import evenshard
import pytest
from evenshard.cli.main import run
from evenshard.cli.output import print_blocks
from evenshard.testing.fake_cluster import FakeCluster
from evenshard.text.table import Bar, Column, Table, table_of

DAYS = ["--tenant", "acme", "--from", "2026-01-01", "--to", "2026-01-02"]
QUESTIONS = {
    "segmentation": ["query", "segmentation", *DAYS],
    "breakdown": ["query", "segmentation", *DAYS, "--by", "$event"],
    "funnel": ["query", "funnel", *DAYS, "--step", "a", "--step", "b", "--step", "c", "--by", "plan"],
    "explained": ["query", "funnel", *DAYS, "--step", "a", "--step", "b", "--explain-user", "u"],
    "retention": ["query", "retention", *DAYS, "--birth", "a", "--buckets", "14"],
    "flows": ["query", "flows", *DAYS, "--anchor", "a"],
    "schema": ["query", "schema", *DAYS],
    "timeline": ["query", "timeline", "--tenant", "acme", "--user", "u"],
    "cohorts": ["cohorts", "--tenant", "acme"],
}
ESCAPE = re.compile(r"\x1b\[[\d;]+m")


class Screen(io.StringIO):
    """A terminal, or a pipe."""

    encoding = "utf-8"

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


@pytest.fixture(scope="module")
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as running:
        running.add_tenant("acme")
        with evenshard.connect(running.address, running.address, tenant="acme") as client:
            client.import_events([{"event": "a", "distinct_id": "u", "time": 1_767_225_600_000}])
            long = {"did": ["a very long name of an event that people do", "another"]}
            client.save_cohort("c", from_date="2026-01-01", to_date="2026-01-31", **long)
        yield running


def printed(
    kind: str, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, width: int | None, **environment: str
) -> str:
    monkeypatch.setenv("EVENSHARD_GATEWAY", cluster.address)
    for name in ("COLUMNS", "NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    if width is not None:
        monkeypatch.setenv("COLUMNS", str(width))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    screen = Screen(width is not None)
    monkeypatch.setattr("sys.stdout", screen)
    assert run(QUESTIONS[kind]) == 0
    return screen.getvalue()


@pytest.mark.parametrize("kind", QUESTIONS)
def test_tables_fit_the_terminal_and_colours_take_no_room(
    kind: str, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for width in (48, 60, 80, 132):
        coloured = printed(kind, cluster, monkeypatch, width)
        assert ESCAPE.search(coloured)
        plain = ESCAPE.sub("", coloured)
        tables = [line for line in plain.splitlines() if not re.match(r"\d+ rows of|warning|there are more", line)]
        assert max(map(len, tables)) <= width
        if kind != "retention":  # shades stand for colours there
            assert printed(kind, cluster, monkeypatch, width, NO_COLOR="1") == plain


@pytest.mark.parametrize("kind", QUESTIONS)
def test_a_pipe_gets_no_colours_and_nothing_is_cut(
    kind: str, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = printed(kind, cluster, monkeypatch, None)
    assert "\x1b" not in text
    assert "…" not in text
    assert text == ESCAPE.sub("", text)
    assert printed(kind, cluster, monkeypatch, 500, TERM="dumb") == text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_json_and_tables_are_whole_on_a_terminal_of_any_encoding(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding))
    document = {"name": "é … 東京 \ud800"}
    print_blocks(document, [table_of(["é"], [["東"]]), table_of(["█"], [["└─"]])], as_json=True)
    assert json.loads(raw.getvalue().decode(encoding)) == document
    raw.truncate(0)
    raw.seek(0)
    print_blocks(document, [Table([Column()], [[Bar(0.5)]])], as_json=False)
    assert raw.getvalue().decode(encoding) == ("█" if encoding == "utf-8" else "#") * 15 + "\n"
