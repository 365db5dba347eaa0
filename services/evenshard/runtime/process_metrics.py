"""What every process tells of itself, whichever service it runs."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from evenshard import kernels
from evenshard.runtime.metrics import is_measuring, observe
from evenshard.runtime.mirror import directory_lag_s
from evenshard.runtime.process_info import processor_s, rss_bytes

LATELY_S: Final = 0.1
_Value = TypeVar("_Value")


class Lately(Generic[_Value]):
    """What ``read`` gave last, at most ``LATELY_S`` ago: several metrics of one look are of one reading."""

    def __init__(self, read: Callable[[], _Value]) -> None:
        self._read = read
        self._at_s = -float("inf")
        self._value: _Value

    def __call__(self) -> _Value:
        now_s = time.monotonic()
        if now_s - self._at_s >= LATELY_S:
            self._value = self._read()
            self._at_s = now_s
        return self._value


def observe_process(data_dir: Path | None, ready: Callable[[], bool], untold_spans: Callable[[], int]) -> None:
    """From now on they are told. ``data_dir``: where it keeps files, if it does."""
    if not is_measuring():
        return
    pid = os.getpid()
    observe("process.cpu.time", lambda: processor_s(pid))
    observe("process.memory.usage", lambda: rss_bytes(pid))
    observe("evenshard.service.ready", lambda: int(ready()))
    observe("evenshard.kernels.compiled", kernels.compiled)
    observe("evenshard.directory.lag", directory_lag_s)
    observe("evenshard.traces.untold", untold_spans)
    if data_dir is not None:
        disk = Lately(lambda: os.statvfs(data_dir))
        observe("evenshard.disk.size", lambda: disk().f_blocks * disk().f_frsize)
        observe("evenshard.disk.free", lambda: disk().f_bavail * disk().f_frsize)
