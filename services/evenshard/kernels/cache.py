"""Where compiled kernels are kept: a directory for each kernel and fingerprint, which numba fills and reads.

numba silently passes over a cache it cannot write to, even a full one, and compiles anew at every start. So a cache
that was filled at installation and is read-only now (another user, an image) is copied, kernel by kernel, to a place
that can be written; where there is none, nothing is cached.
"""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

KEPT: Final = 4
"""Versions of a kernel that are kept: several checkouts may share a cache."""


def installed_root(environment: Mapping[str, str], prefix: Path) -> Path:
    """The cache that belongs to the installation: ``NUMBA_CACHE_DIR``, or a directory below Python's ``prefix``."""
    given = environment.get("NUMBA_CACHE_DIR")
    return Path(given) if given else prefix / "share" / "evenshard" / "kernels"


def temporary_root() -> Path | None:
    """The user's own directory below the temporary one. None: nothing can be written to at all."""
    try:
        return Path(tempfile.gettempdir()) / f"evenshard-kernels-{os.getuid()}"
    except FileNotFoundError:
        return None


def writable_root(installed: Path, environment: Mapping[str, str], temporary: Path | None) -> Path | None:
    """The first that can be written to: ``installed``, one in the user's cache directory, ``temporary``."""
    if _can_write(installed):
        return installed
    home = environment.get("XDG_CACHE_HOME") or (environment.get("HOME") and f"{environment['HOME']}/.cache")
    if home and os.path.isabs(home) and _can_write(Path(home) / "evenshard" / "kernels"):
        return Path(home) / "evenshard" / "kernels"
    return temporary if temporary and _can_write(temporary, 0o700) and _is_private(temporary) else None


def _can_write(directory: Path, mode: int = 0o755) -> bool:
    try:
        directory.mkdir(mode, parents=True, exist_ok=True)
    except OSError:
        return False  # nobody's home, or a read-only one
    return os.access(directory, os.W_OK | os.X_OK)


def _is_private(directory: Path) -> bool:
    """Kernels are code: where everybody may write, what is not ours was perhaps put there for us to run."""
    found = directory.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


class KernelCache:
    """``root``: where it is written, None: nowhere. ``installed``: where kernels compiled before may be."""

    def __init__(self, root: Path | None, installed: Path) -> None:
        self._root = root
        self._installed = installed

    def place(self, name: str, made_of: str) -> Path | None:
        """The directory numba may use for one version of a kernel, with what the installation has of it. None: none,
        for the disk is full, or nothing can be written."""
        if self._root is None:
            return None
        directory = self._root / f"{name}-{made_of}"
        if not directory.is_dir():
            try:
                if not self._copied(directory):
                    directory.mkdir(exist_ok=True)
            except OSError:
                return None
            self._prune(name)
        return directory

    def _copied(self, directory: Path) -> bool:
        """Whole or not at all: others may make and use it at this moment."""
        copy = directory.with_name(f".{directory.name}.{os.getpid()}")
        try:
            _copy(self._installed / directory.name, copy)
            copy.rename(directory)
        except OSError:  # not there, not to be read, or another process was faster
            shutil.rmtree(copy, ignore_errors=True)
        return directory.is_dir()

    def _prune(self, name: str) -> None:
        assert self._root is not None
        versions: list[tuple[int, Path]] = []
        for path in self._root.glob(f"{name}-*"):
            with contextlib.suppress(FileNotFoundError):  # another process prunes too
                versions.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(versions)[:-KEPT]:
            shutil.rmtree(path, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    """Contents only: what was read-only may be written in the copy."""
    found = list(source.iterdir())
    target.mkdir()
    for each in found:
        if each.is_dir():
            _copy(each, target / each.name)
        else:
            shutil.copyfile(each, target / each.name)
