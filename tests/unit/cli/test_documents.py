"""What the documents say is what the code does."""

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import evenshard
import pytest
from evenshard.cli.main import COMMANDS, run
from evenshard.errors import CODES, EVENT_CODES
from evenshard.events.faults import FAULTS
from evenshard.testing.bench.__main__ import BENCHMARKS
from evenshard.testing.fake_cluster import FakeCluster

REPOSITORY = Path(__file__).resolve().parents[3]
ACTS = {
    "refresh": "refresh and retry",
    "retry_later": "retry later",
    "fix_request": "fix the request",
    "refused": "refused: change something first",
    "damaged": "a fault: look before you act",
}


def text_of(name: str) -> str:
    return (REPOSITORY / name).read_text()


def tables_of(text: str) -> list[list[list[str]]]:
    """The bodies of all tables, as cells."""
    tables, at = [], -2
    for number, line in enumerate(text.splitlines()):
        if not line.startswith("|"):
            continue
        if number != at + 1:
            tables.append([])
        at = number
        tables[-1].append([cell.strip() for cell in line.strip("|").split(" | ")])
    return [table[2:] for table in tables]


def blocks_of(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_every_error_is_documented_as_it_is() -> None:
    calls, events = tables_of(text_of("docs/errors.md"))
    assert calls == [
        [f"`{code}`", ACTS[rule.act], rule.grpc_status, str(int(rule.exit_status)), rule.hint or "–"]
        for code, rule in CODES.items()
    ]
    assert {row[0].strip("`") for row in events} == EVENT_CODES
    assert events[: len(FAULTS)] == [[f"`{each.code}`", each.field or "–", each.message] for each in FAULTS]


def test_the_layers_of_the_architecture_are_those_that_are_held() -> None:
    contracts = tomllib.loads(text_of("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    held = next(each["layers"] for each in contracts if each["type"] == "layers")
    drawn = next(block for block in blocks_of(text_of("docs/architecture.md"), "") if block.startswith("cli"))
    assert drawn.splitlines() == [line.replace("evenshard.", "") for line in held]


def test_every_benchmark_is_described() -> None:
    rows = tables_of(text_of("docs/performance.md"))[0]
    assert {row[0].strip("`") for row in rows} == set(BENCHMARKS)


def test_links_lead_somewhere() -> None:
    for name in ("README.md", *(f"docs/{path.name}" for path in (REPOSITORY / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#]+)\)", text_of(name)):
            assert target.startswith("https://") or ((REPOSITORY / name).parent / target).exists(), (name, target)
    for script in re.findall(r"scripts/\w+\.sh", text_of("README.md")):
        assert (REPOSITORY / script).exists(), script


def test_what_the_readme_shows_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    readme = text_of("README.md")
    shell = "".join(blocks_of(readme, "sh"))
    heredoc = re.search(r"cat > (\S+) <<'END'\n(.*?)END\n", shell, re.DOTALL)
    assert heredoc is not None
    (tmp_path / heredoc[1]).write_text(heredoc[2])
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line, comments=True)[1:] for line in shell.splitlines() if line.startswith("evenshard ")]
    assert all(command[0] in COMMANDS for command in commands)
    with FakeCluster() as cluster:
        monkeypatch.setenv("EVENSHARD_ROUTER", cluster.address)
        monkeypatch.setenv("EVENSHARD_GATEWAY", cluster.address)
        for command in commands:
            if command[0] != "up":
                assert run(command) == 0, command
        exported = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
        assert [row["event"] for row in exported] == ["view", "buy"]
        scope: dict[str, Any] = {"evenshard": evenshard}
        exec(blocks_of(readme, "python")[0], scope)
    assert (scope["result"].accepted, scope["answer"].series[0]["overall"]) == (1, 3)
