"""``scripts/setup.sh`` where it cannot do anything says why, before it does anything."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
TOOLS = ("bash", "dirname", "sed", "cat", "sha256sum", "rm")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PATH with the tools the script needs, and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (folder / tool).symlink_to(found)
    machine(folder, "Linux x86_64")
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPTS / "setup.sh", tmp_path / "scripts")
    return folder


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def machine(folder: Path, name: str) -> None:
    program(folder / "uname", f'[ "$1" = -sm ] && echo "{name}"')


def python(path: Path, version: tuple[int, int], without: str = "") -> None:
    """One that says to be of this version, and has no module of that name."""
    says = f"sys.version_info = {(*version, 0, 'final', 0)}; sys.modules['{without}'] = None"
    program(path, f'exec {sys.executable} -c "import sys; {says}; exec(sys.argv[1])" "$2"')


def refused(path: Path, **environment: str) -> str:
    root = path.parent
    done = subprocess.run(
        [str(root / "scripts/setup.sh")], capture_output=True, text=True, timeout=30,
        env={"PATH": str(path), **environment},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (4, "")
    assert not (root / ".venv").exists()
    return done.stderr


def test_a_python_that_is_too_new_or_old_is_named_with_what_is_needed(path: Path) -> None:
    python(path / "python3", (3, 14))
    python(path / "python", (3, 9))
    said = refused(path)
    assert said.startswith("setup: evenshard needs Python 3.11, 3.12 or 3.13 with venv and pip")
    assert "Found: python3 is 3.14; python is 3.9. Name another: PYTHON=/path/to/python3.12" in said
    assert said.count("\n") == 1


def test_a_python_without_venv_is_told_from_none(path: Path) -> None:
    assert "Found: none in python3.11 python3.12" in refused(path)
    python(path / "python3", (3, 12), without="ensurepip")
    assert "Found: python3 is 3.12 without venv or ensurepip (Debian: python3.12-venv)" in refused(path)


def test_the_python_that_is_named_is_taken_or_refused_and_no_other(path: Path) -> None:
    python(path / "python3.11", (3, 11))
    python(path / "mine", (3, 15))
    said = refused(path, PYTHON=str(path / "mine"))
    assert f"Found: {path / 'mine'} is 3.15." in said


def test_another_machine_is_told_that_no_files_are_pinned_for_it(path: Path) -> None:
    python(path / "python3.11", (3, 11))
    for name in ("Linux aarch64", "Darwin arm64"):
        machine(path, name)
        said = refused(path)
        assert f"this is {name}, and constraints.txt pins the packages' files for Linux x86_64 alone" in said
