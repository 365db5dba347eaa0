"""Makes calls of a real process to the disk fail on command: found by Python at its start where this folder is in
``PYTHONPATH``. Nothing of the product knows of it.

``FAILING_DISK`` names a file that, while it is there, says what fails: ``OPERATION ERRNO PART``, as ``sync 5 /log/``:
every sync of a file whose path has that part in it. Operations are ``sync`` and ``write``.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _check(operation: str, descriptor: int, orders: Path) -> None:
    try:
        wanted, number, part = orders.read_text().split()
    except FileNotFoundError:
        return
    if wanted == operation and part in os.readlink(f"/proc/self/fd/{descriptor}"):
        raise OSError(int(number), "made to fail")


def _failing(operation: str, call: Callable[..., Any], orders: Path) -> Callable[..., Any]:
    def checked(descriptor: int, *arguments: Any) -> Any:
        _check(operation, descriptor, orders)
        return call(descriptor, *arguments)

    return checked


if "FAILING_DISK" in os.environ:
    _orders = Path(os.environ["FAILING_DISK"])
    os.fdatasync = _failing("sync", os.fdatasync, _orders)
    os.writev = _failing("write", os.writev, _orders)
