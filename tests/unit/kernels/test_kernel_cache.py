"""Kernels come from the cache whenever they can, whoever runs them, and never from one that is out of date."""

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from evenshard.kernels.cache import KEPT, KernelCache, writable_root

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1

CONSTANTS = "FACTOR = 10\n"
HELPER = """
from evenshard.kernels import kernel
@kernel(inline=True)
def scaled(x):
    return x * 2
"""
KERNEL = """
from evenshard.kernels import kernel
from our_constants import FACTOR
from our_helper import scaled
@kernel("int64(int64)")
def answer(x):
    return scaled(x) + FACTOR
"""
PROGRAM = """
import json, sys
from evenshard import kernels
from our_kernel import answer
print(json.dumps([answer(1), kernels.compiled()]))
"""
ALL_KERNELS = """
import importlib, json, sys
from evenshard import kernels
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps([len(sys.argv) - 1, kernels.compiled()]))
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """With the three modules, an empty home and a place for a cache. Writable again when it is removed."""
    path = Path(tempfile.mkdtemp(prefix="kernels-test-"))
    for name, text in (("our_constants", CONSTANTS), ("our_helper", HELPER), ("our_kernel", KERNEL)):
        (path / f"{name}.py").write_text(text)
    (path / "tmp").mkdir()
    yield path
    _chmod(path, 0o755)
    shutil.rmtree(path)


def _chmod(path: Path, mode: int) -> None:
    for each in [path, *(found for found in path.rglob("*") if found.is_dir())]:
        each.chmod(mode)


def _without_privilege() -> None:
    """Even root is refused what the mode forbids."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


def _run(directory: Path, program: str, *arguments: str, **environment: str) -> list[int]:
    """What the program printed; without HOME unless it is given."""
    plain = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    places = {"PYTHONPATH": str(directory), "TMPDIR": str(directory / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        env=plain | places | environment,
        cwd=directory,
        preexec_fn=_without_privilege,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    answer: list[int] = json.loads(done.stdout)
    return answer


def test_a_kernel_is_compiled_once(directory: Path) -> None:
    cache = str(directory / "cache")
    assert _run(directory, PROGRAM, NUMBA_CACHE_DIR=cache) == [12, 2]
    assert _run(directory, PROGRAM, NUMBA_CACHE_DIR=cache) == [12, 0]


@pytest.mark.parametrize(
    ("file", "text", "answer"),
    [
        ("our_helper.py", HELPER.replace("x * 2", "x * 3"), 13),
        ("our_helper.py", HELPER.replace("inline=True", 'inline="always"'), 12),
        ("our_constants.py", "FACTOR = 20\n", 22),
    ],
)
def test_a_change_in_another_file_is_noticed(directory: Path, file: str, text: str, answer: int) -> None:
    cache = str(directory / "cache")
    assert _run(directory, PROGRAM, NUMBA_CACHE_DIR=cache)[0] == 12
    (directory / file).write_text(text)
    changed, compiled = _run(directory, PROGRAM, NUMBA_CACHE_DIR=cache)
    assert (changed, compiled > 0) == (answer, True)


def test_a_full_read_only_cache_is_copied_not_compiled(directory: Path) -> None:
    installed = directory / "cache"
    _run(directory, PROGRAM, NUMBA_CACHE_DIR=str(installed))
    _chmod(installed, 0o555)
    assert _run(directory, PROGRAM, NUMBA_CACHE_DIR=str(installed)) == [12, 0]
    copied = directory / "tmp" / f"evenshard-kernels-{os.getuid()}"
    assert sorted(path.name for path in copied.iterdir()) == sorted(path.name for path in installed.iterdir())
    home = directory / "home"
    home.mkdir()
    assert _run(directory, PROGRAM, NUMBA_CACHE_DIR=str(installed), HOME=str(home)) == [12, 0]
    assert (home / ".cache" / "evenshard" / "kernels").is_dir()


def test_with_nowhere_to_write_kernels_still_work(directory: Path) -> None:
    others = directory / "tmp" / f"evenshard-kernels-{os.getuid()}"
    others.mkdir()
    others.chmod(0o777)  # anybody may have put code there
    (directory / "cache").mkdir(mode=0o555)
    assert _run(directory, PROGRAM, NUMBA_CACHE_DIR=str(directory / "cache")) == [12, 2]
    assert list(others.iterdir()) == []


def test_a_compilation_that_comes_late_is_told(directory: Path) -> None:
    late = "from our_helper import scaled; told = []; kernels.on_compilation(told.append); scaled(1); scaled(2)"
    program = PROGRAM.replace("print(", f"{late}\nprint(").replace("kernels.compiled()", "told")
    assert _run(directory, program, NUMBA_CACHE_DIR=str(directory / "cache")) == [12, []]  # compiled with its caller
    late = late.replace("scaled(2)", "scaled(2.5)")
    program = PROGRAM.replace("print(", f"{late}\nprint(").replace("kernels.compiled()", "told")
    assert _run(directory, program, NUMBA_CACHE_DIR=str(directory / "cache")) == [12, ["scaled"]]


def test_every_kernel_of_a_read_only_installation_is_there_without_compiling(directory: Path) -> None:
    services = Path(__file__).parents[3] / "services"
    modules = [
        ".".join(path.relative_to(services).with_suffix("").parts)
        for path in sorted(services.glob("evenshard/**/*.py"))
        if re.search(r"^@kernel\(", path.read_text(), re.MULTILINE)
    ]
    assert len(modules) > 10
    from evenshard import kernels

    installed = directory / "installed"
    _run(directory, ALL_KERNELS, *modules, NUMBA_CACHE_DIR=os.environ.get("NUMBA_CACHE_DIR", ""))
    shutil.copytree(kernels._INSTALLED, installed)
    _chmod(installed, 0o555)
    assert _run(directory, ALL_KERNELS, *modules, NUMBA_CACHE_DIR=str(installed)) == [len(modules), 0]


def test_old_versions_of_a_kernel_go(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path, tmp_path)
    for version in range(10):
        place = cache.place("our.kernel", f"{version}")
        assert place is not None
        os.utime(place, (version, version))
        cache.place("our.kernel_too", f"{version}")
    names = {path.name for path in tmp_path.glob("our.kernel-*")}
    assert names == {f"our.kernel-{version}" for version in range(10 - KEPT, 10)}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({"XDG_CACHE_HOME": "{}/xdg", "HOME": "{}/home"}, "xdg"), ({"HOME": "{}/home"}, "home"), ({}, "tmp")],
)
def test_the_users_cache_is_taken_before_the_temporary_directory(
    tmp_path: Path, environment: Mapping[str, str], expected: str
) -> None:
    (tmp_path / "file").touch()
    places = {name: value.format(tmp_path) for name, value in environment.items()}
    root = writable_root(tmp_path / "file" / "cache", places, tmp_path / "tmp")
    assert root is not None
    assert root.relative_to(tmp_path).parts[0] == expected


def test_processes_that_start_at_once_share_what_was_installed(tmp_path: Path) -> None:
    installed = KernelCache(tmp_path / "installed", tmp_path / "installed")
    (tmp_path / "installed").mkdir()
    (tmp_path / "root").mkdir()
    full = installed.place("our.kernel", "1")
    assert full is not None
    (full / "index").write_bytes(b"compiled")
    cache = KernelCache(tmp_path / "root", tmp_path / "installed")
    faster = tmp_path / "root" / "our.kernel-1"

    def overtaken(source: Path, target: Path) -> None:
        faster.mkdir()
        (faster / source.name).write_bytes(source.read_bytes())
        target.write_bytes(source.read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "copyfile", overtaken)
        assert cache.place("our.kernel", "1") == faster
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["our.kernel-1"]
    assert (faster / "index").read_bytes() == b"compiled"
