"""The README's code blocks, as they stand, one after the other: in a directory of its own, and (soak) in a fresh clone.

Only the port is chosen, for somebody may be using the usual ones.
"""

import hashlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from evenshard.testing.account import Account
from evenshard.testing.processes import free_base_port

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

REPOSITORY = Path(__file__).resolve().parents[3]
README = (REPOSITORY / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def installed_by_setup() -> bool:
    """Whether ``scripts/setup.sh`` would find everything installed: a test is not to change what tests run in."""
    wanted = hashlib.sha256(
        b"".join((REPOSITORY / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))
    )
    mark = REPOSITORY / ".venv/installed"
    return mark.is_file() and mark.read_text().split()[:1] == [wanted.hexdigest()]


@pytest.fixture(
    params=["here", pytest.param("fresh_machine", marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
)
def account(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Account]:
    """Who types the blocks; in ``cwd`` is what a checkout has."""
    if request.param == "here":
        if not installed_by_setup():
            pytest.skip("README NOT TRIED: scripts/setup.sh has not made .venv from these files")
        for each in REPOSITORY.iterdir():
            (tmp_path / each.name).symlink_to(each)
        without = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        yield Account((), without, cwd=tmp_path)
    else:
        yield request.getfixturevalue(request.param).account


class Terminal:
    """Runs blocks in one account, with the addresses of a cluster on ``base_port``."""

    def __init__(self, account: Account, base_port: int) -> None:
        self._options = account.options(
            EVENSHARD_ROUTER=f"127.0.0.1:{base_port}", EVENSHARD_GATEWAY=f"127.0.0.1:{base_port + 1}"
        )

    def start(self, block: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", block],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True, **self._options,
        )  # fmt: skip

    def run(self, block: str) -> str:
        """What it printed; it has to end well."""
        running = self.start(block)
        said, _ = running.communicate(timeout=60)
        assert running.returncode == 0, said
        return said


def test_the_blocks_of_the_readme_run_one_after_the_other(account: Account) -> None:
    install_and_up, commands = blocks("sh")
    (python,) = blocks("python")
    base_port = free_base_port()
    block, chosen = re.subn(r"^evenshard up\b", f"evenshard up --base-port {base_port}", install_and_up, flags=re.M)
    assert chosen == 1
    terminal = Terminal(account, base_port)
    up = terminal.start(block)
    try:
        assert up.stdout is not None
        said = []
        while not (line := up.stdout.readline()).startswith("ready"):
            assert line, said
            said.append(line)
        assert account.cwd is not None
        assert (account.cwd / "evenshard-data").is_dir()
        told = terminal.run(commands)
        assert "2 events read: 2 accepted" in told
        assert [line for line in told.splitlines() if line.startswith('{"event":"view"')]
        answered = terminal.run(f"source .venv/bin/activate\npython - <<'END'\n{python}END\n").splitlines()
        assert answered[0] == "1 0 []"
        assert answered[1].startswith("2 ")
        os.killpg(up.pid, signal.SIGINT)  # Ctrl-C
        rest, _ = up.communicate(timeout=40)
        assert up.returncode == 0, rest
    finally:
        if up.poll() is None:
            os.killpg(up.pid, signal.SIGKILL)
            up.wait(10)
