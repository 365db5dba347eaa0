"""The Dockerfile as data, and its build stage run without Docker, below a directory of ours."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evenshard.testing.account import bare_environment
from evenshard.testing.chart import REPOSITORY

DOCKERFILE: Final = REPOSITORY / "Dockerfile"
PLACES: Final = ("/opt/evenshard", "/src")
"""Absolute paths of the build stage: they are moved below another root."""
STEP_TIMEOUT_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, continued lines joined."""

    name: str
    """As ``RUN``."""
    value: str

    @property
    def words(self) -> list[str]:
        """Of the JSON form, or as a shell sees them."""
        return [*map(str, json.loads(self.value))] if self.value.startswith("[") else shlex.split(self.value)


def stages(text: str) -> list[list[Instruction]]:
    """The instructions of each stage, its ``FROM`` first; those before the first stand in a list of their own."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    found: list[list[Instruction]] = [[]]
    for line in joined:
        name, _, value = line.partition(" ")
        if name == "FROM":
            found.append([])
        found[-1].append(Instruction(name, value.strip()))
    return found


def build(instructions: Sequence[Instruction], root: Path, python: Path) -> None:
    """Does what a build stage says with ``PLACES`` below ``root`` and ``python`` as its python. Raises
    ``CalledProcessError``, and ``ValueError`` for an instruction it does not know."""
    bare = bare_environment()
    environment = bare | {"PATH": f"{root / 'bin'}:{bare['PATH']}", "HOME": str(root), "TMPDIR": str(root / "tmp")}
    for folder in ("bin", "tmp"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "bin/python").write_text(f'#!/bin/sh\nexec {shlex.quote(str(python))} "$@"\n')
    (root / "bin/python").chmod(0o755)
    place = root
    for each in instructions:
        value = re.sub("|".join(f"(?<![\\w/]){re.escape(path)}" for path in PLACES), rf"{root}\g<0>", each.value)
        match each.name:
            case "FROM":
                pass
            case "ENV":
                environment |= dict(word.split("=", 1) for word in shlex.split(value))
            case "WORKDIR":
                place = Path(value)
                place.mkdir(parents=True, exist_ok=True)
            case "COPY":
                *sources, target = value.split()
                _copy([REPOSITORY / source for source in sources], place / target, into=target.endswith("/"))
            case "RUN":
                subprocess.run(["sh", "-c", value], cwd=place, env=environment, check=True, timeout=STEP_TIMEOUT_S)
            case _:
                raise ValueError(f"{each.name} {each.value}")


def _copy(sources: Sequence[Path], target: Path, *, into: bool) -> None:
    """As ``COPY`` does with what ``.dockerignore`` leaves."""
    for source in sources:
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc"))
        else:
            shutil.copy(source, target / source.name if into else target)
