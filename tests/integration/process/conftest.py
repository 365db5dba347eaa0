"""``evenshard up`` with real processes that serve only the probe; and a machine on which nobody has done anything."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from evenshard.testing import fresh_machine as fresh
from evenshard.testing.processes import free_base_port

REPOSITORY = Path(__file__).resolve().parents[3]
PATIENT = ("--timeout", "180s")
"""Machines that run tests are busy."""

# `up`, except that its services are the probe's.
PROGRAM = """
import dataclasses, sys
from evenshard.cli import main
from evenshard.runtime import cluster_plan
plan_cluster = cluster_plan.plan_cluster
def planned(*arguments, **options):
    plan = plan_cluster(*arguments, **options)
    return dataclasses.replace(plan, service_program=(sys.executable, sys.argv[1]))
cluster_plan.plan_cluster = planned
sys.exit(int(main.run(sys.argv[2:])))
"""


@dataclass
class Up:
    """One run of ``up``."""

    process: "subprocess.Popen[bytes]"
    data_dir: Path
    base_port: int
    errors: Path
    ready: dict[str, Any] = field(default_factory=dict)

    def wait_ready(self) -> "Up":
        assert self.process.stdout is not None
        self.ready = json.loads(self.process.stdout.readline())
        assert self.ready.get("status") == "ready", self.ready
        return self

    def log(self, name: str) -> list[dict[str, Any]]:
        """What a service has logged."""
        lines = (self.data_dir / "logs" / f"{name}.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def pid(self, name: str) -> int:
        """Of its newest start."""
        return int(next(line["pid"] for line in reversed(self.log(name)) if line["event"] == "ready"))

    def finish(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 45.0) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout_s)


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Starts ``up``; kills whatever is left of it at the end."""
    started: list[Up] = []

    def start(*flags: str, base_port: int = 0, data_dir: Path | None = None, **environment: str) -> Up:
        port, directory = base_port or free_base_port(), data_dir or tmp_path / "data"
        errors = tmp_path / f"errors-{len(started)}"
        program = [sys.executable, "-c", PROGRAM, str(Path(__file__).with_name("probe_service.py"))]
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [*program, "up", "--json", "--base-port", str(port), "--data-dir", str(directory), *PATIENT, *flags],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=os.environ | environment,
                start_new_session=True,
            )
        started.append(Up(process, directory, port, errors))
        return started[-1]

    yield start
    for each in started:
        with contextlib.suppress(ProcessLookupError):  # all have ended
            os.killpg(each.process.pid, signal.SIGKILL)
        each.process.wait(60)
        if each.process.stdout is not None:
            each.process.stdout.close()


@pytest.fixture(scope="session")
def bare_clone() -> Iterator[fresh.FreshMachine]:
    missing = fresh.missing(REPOSITORY)
    if missing:
        pytest.skip(f"NO FRESH MACHINE TRIED: {missing}")
    with fresh.fresh_machine(REPOSITORY) as machine:
        yield machine


@pytest.fixture(scope="session")
def first_demo(bare_clone: fresh.FreshMachine) -> fresh.Done:
    """What came of the demo in a bare clone: it installs everything."""
    return bare_clone.run("scripts/demo.sh", timeout_s=1500)


@pytest.fixture(scope="session")
def fresh_machine(bare_clone: fresh.FreshMachine, first_demo: fresh.Done) -> fresh.FreshMachine:
    """After the demo."""
    assert first_demo.exit_status == 0, first_demo
    return bare_clone
