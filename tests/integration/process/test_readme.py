"""The README's code blocks, as they stand, on a real cluster."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from evenshard.testing.processes import ClusterProcess

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

README = (Path(__file__).resolve().parents[3] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_blocks_of_the_readme_run_one_after_the_other(tmp_path: Path) -> None:
    install, commands = blocks("sh")
    assert install.split("\n")[0].startswith("scripts/setup.sh")  # what this test runs in was made by it
    (python,) = blocks("python")
    with ClusterProcess(tmp_path / "data") as cluster:  # "evenshard up", on other ports
        surroundings = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "EVENSHARD_ROUTER": cluster.router,
            "EVENSHARD_GATEWAY": cluster.gateway,
        }

        def run(*command: str) -> str:
            done = subprocess.run(
                command, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done
            return done.stdout

        said = run("bash", "-euo", "pipefail", "-c", commands)
        assert "2 events read: 2 accepted" in said
        assert [line for line in said.splitlines() if line.startswith('{"event":"view"')]
        answered = run(sys.executable, "-c", python).splitlines()
        assert answered[0] == "1 0 []"
        assert answered[1].startswith("2 ")
