"""Whose commands a test runs: this installation's by this user, or another installation's by a user with nothing."""

import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NOBODY = "nobody"
PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Account:
    """The command, and as whom and with which variables it runs."""

    evenshard: Sequence[str] = (sys.executable, "-m", "evenshard.cli.main")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    uid: int | None = None
    """None: this user."""
    cwd: Path | None = None
    """None: where this process is."""

    def options(self, **more: str) -> dict[str, Any]:
        """What ``subprocess`` needs to run anything in this account; ``more`` are further variables."""
        options: dict[str, Any] = {"env": {**self.environment, **more}, "cwd": self.cwd}
        if self.uid is not None:
            options |= {"user": self.uid, "group": self.uid, "extra_groups": []}
        return options

    @contextmanager
    def folder(self, name: str) -> Iterator[Path]:
        """An empty directory of the account's own, where it gets at it; removed at the end."""
        folder = Path(tempfile.mkdtemp(prefix=f"evenshard-{name}-"))
        try:
            folder.chmod(0o755)
            if self.uid is not None:
                os.chown(folder, self.uid, self.uid)
            yield folder
        finally:
            shutil.rmtree(folder)


def nobody_uid() -> int | None:
    """The uid of the user who owns nothing. None: there is none, or this process may not become it."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(NOBODY).pw_uid
    except KeyError:
        return None


def bare_environment() -> dict[str, str]:
    """As ``env -i`` leaves it: no HOME. Only how this machine reaches a package index is kept."""
    kept = ("PIP_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    found = {name: value for name, value in os.environ.items() if name.upper().startswith(kept)}
    return {"PATH": PATH, **found}
