"""A machine on which nobody has done anything: a clone of what is committed, in the hands of a user without a home.

What the user has is Python with pip on PATH, and the way to a package index; no HOME, and nothing else that is theirs.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from evenshard.testing.account import Account, bare_environment, nobody_uid

PYTHONS = ("python3.11", "python3.12", "python3.13", "python3", "python")
PYTHON_FOLDERS = ("/usr/local/bin", "/usr/bin")
FITS = "import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))"


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    exit_status: int
    said: str
    errors: str
    seconds: float


@dataclass(frozen=True, slots=True)
class FreshMachine:
    """``root``: the clone. ``account``: its user, with the ``evenshard`` that ``scripts/setup.sh`` makes there."""

    root: Path
    temporary: Path
    """The user's directory for temporary files; nothing is to be left there."""
    account: Account

    def run(self, *command: str, timeout_s: float) -> Done:
        """Runs a command of the clone, as its user would type it there."""
        began_s = time.monotonic()
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s,
            **self.account.options(PYTHONIOENCODING="utf-8"),
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr, time.monotonic() - began_s)


@contextmanager
def fresh_machine(repository: Path) -> Iterator[FreshMachine]:
    """Removed at the end. ``missing`` says beforehand whether there can be one."""
    uid = nobody_uid()
    assert uid is not None
    owner = Account([], bare_environment(), uid, Path("/"))
    with owner.folder("fresh") as place:
        root, temporary = place / "evenshard", place / "tmp"
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(repository), str(root)], check=True)
        temporary.mkdir()
        subprocess.run(["chown", "-R", f"{uid}:{uid}", str(place)], check=True)
        environment = {**owner.environment, "TMPDIR": str(temporary)}
        yield FreshMachine(root, temporary, Account([str(root / ".venv/bin/evenshard")], environment, uid, root))


def missing(repository: Path) -> str | None:
    """Why there cannot be a fresh machine here; None: there can."""
    uid = nobody_uid()
    if uid is None:
        return "this process may not become another user"
    if not (repository / ".git").exists():
        return f"{repository} is no repository that could be cloned"
    account = Account([], bare_environment(), uid, Path("/"))
    if not any(_runs([name, "-c", FITS], account) for name in PYTHONS):
        return f"no Python from 3.11 to 3.13 with venv and pip on {account.environment['PATH']}"
    return None


def python_for(account: Account) -> Path | None:
    """An interpreter of this one's version that the account may run. None: it may run none."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    same = f"import sys; sys.exit('%d.%d' % sys.version_info[:2] != '{version}')"
    for folder in [str(Path(getattr(sys, "_base_executable", sys.executable)).parent), *PYTHON_FOLDERS]:
        found = Path(folder) / f"python{version}"
        if _runs([str(found), "-c", same], account):
            return found
    return None


def _runs(command: Sequence[str], account: Account) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=30, **account.options())
    except OSError:  # not there, or not for this user
        return False
    return done.returncode == 0
