"""The priority of background threads: they take what the threads somebody waits for leave over."""

import os
import sys
import threading
from contextlib import suppress

BACKGROUND_NICENESS = 10
"""About a tenth of a busy core's time; all of an idle one's."""
INTERPRETER_TURN_S = 0.0005
"""How long a thread has the interpreter while another waits for it."""


def share_interpreter() -> None:
    """Of this process's threads none keeps the loop waiting for long: by default for 5 ms each time it asks for the
    interpreter while a compaction, say, runs Python."""
    sys.setswitchinterval(INTERPRETER_TURN_S)


def yield_to_others() -> None:
    """Lowers the calling thread's priority (of the thread alone, where the system has such; Linux does)."""
    with suppress(OSError, AttributeError):  # a system without it: the thread competes as any other
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BACKGROUND_NICENESS)
