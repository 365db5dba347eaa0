"""How gRPC waits for sockets in a process that is all ours: in the thread that hands events to the loop, not in further
ones. Each message then changes threads once less in either direction, some 0.1 ms of a call's time on either side.

A program that imports the client chooses for itself, by the same variable.
"""

import os
from typing import Final

VARIABLE: Final = "GRPC_EXPERIMENTS"
IN_ONE_THREAD: Final = "-event_engine_client,-event_engine_listener"
"""Sockets are gRPC's own affair, as before it had event engines; names that gRPC does not know any more it logs."""


def poll_in_one_thread() -> None:
    """To be called before anything imports ``grpc``, which looks once; what the environment says already stands."""
    os.environ.setdefault(VARIABLE, IN_ONE_THREAD)
