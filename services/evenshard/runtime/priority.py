"""The priority of background threads: they take what the threads somebody waits for leave over."""

import os
import threading
from contextlib import suppress

BACKGROUND_NICENESS = 10
"""About a tenth of a busy core's time; all of an idle one's."""


def yield_to_others() -> None:
    """Lowers the calling thread's priority (of the thread alone, where the system has such; Linux does)."""
    with suppress(OSError, AttributeError):  # a system without it: the thread competes as any other
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND_NICENESS)
