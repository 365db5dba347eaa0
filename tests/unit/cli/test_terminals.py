"""What each kind of question prints on terminals of any width, with colours and without, and into a pipe."""

import io
import re
from collections.abc import Iterator

import evenshard
import pytest
from evenshard.cli.main import run
from evenshard.testing.fake_cluster import FakeCluster

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
