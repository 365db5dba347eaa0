"""One child process: started so that it ends with us, its output in a bounded log, its last error found there."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from evenshard.errors import EvenshardError
from evenshard.runtime import launch
from evenshard.wire.error_document import error_from_document

LOG_BYTES_MAX: Final = 16 << 20
"""Of a child's log; what is older goes to one file more of that size."""

_ERROR_TAIL_BYTES = 256 << 10


class Child:
    """A process that may be started again and again. ``restarts`` counts the starts after the first."""

    def __init__(self, name: str, log_file: Path, death_signal: signal.Signals) -> None:
        self.name = name
        self.restarts = 0
        self.started_s = 0.0
        self._log_file = log_file
        self._log_offset = 0
        self._death_signal = death_signal
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Raises ``OSError`` where there is no such program."""
        self.rotate_log()
        launcher = [sys.executable, "-I", "-S", str(launch.__file__), str(int(self._death_signal)), str(os.getpid())]
        with self._log_file.open("ab") as log:
            self._log_offset = log.tell()
            self._process = subprocess.Popen(
                [*launcher, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=dict(environment)
            )
        self.started_s = time.monotonic()

    @property
    def pid(self) -> int:
        """0 before the first start."""
        return self._process.pid if self._process is not None else 0

    def exit_code(self) -> int | None:
        """``None`` while it runs; negative: the signal that ended it."""
        return None if self._process is None else self._process.poll()

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Nothing happens where it has ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def terminate(self) -> None:
        """Asks it to end; a stopped one is woken for that."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)

    def rotate_log(self) -> None:
        """Moves a log that has grown too large out of the way; the process goes on writing to the same file."""
        if self._log_file.exists() and self._log_file.stat().st_size > LOG_BYTES_MAX:
            shutil.copyfile(self._log_file, self._log_file.with_suffix(".log.1"))
            os.truncate(self._log_file, 0)
            self._log_offset = 0

    def error(self) -> EvenshardError:
        """Why it ended: the error it logged since its last start, or its last words."""
        with self._log_file.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(self._log_offset, log.tell() - _ERROR_TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        for line in reversed(lines):
            try:
                document = json.loads(line)
            except ValueError:
                continue  # not one of our log's lines
            found = error_from_document(document) if isinstance(document, dict) else None
            if found is not None:
                found.details = {**found.details, "service": self.name}
                return found
        code = self.exit_code()
        how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
        last = lines[-1][:500] if lines else "it said nothing"
        return EvenshardError(
            "INTERNAL", f"{self.name} {how}: {last}", hint=f"see {self._log_file}", details={"service": self.name}
        )
