"""One event loop in a thread for all blocking clients of the process: gRPC's asyncio wants one loop, not many."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import grpc.aio

Value = TypeVar("Value")

CANCEL_TIMEOUT_S: Final = 2.0
"""How long an interrupted coroutine may take to clean up."""
SLICE_S: Final = 0.1
"""A signal that comes as its thread is about to wait does not wake it: so it waits in slices, and is late by one."""

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None


def run_blocking(coroutine: Coroutine[Any, Any, Value]) -> Value:
    """Runs a coroutine on the shared loop and waits for it; an interrupt cancels it and waits for that too, so that
    whoever cleans up next finds it ended."""
    ended = threading.Event()

    async def run() -> Value:
        try:
            return await coroutine
        finally:
            ended.set()

    future = asyncio.run_coroutine_threadsafe(run(), _shared_loop())
    try:
        while True:
            try:
                return future.result(SLICE_S)
            except concurrent.futures.TimeoutError:
                if future.done():  # its own, or it ended just now
                    return future.result()
    except BaseException:
        if future.cancel():  # it has not ended by itself
            ended.wait(CANCEL_TIMEOUT_S)
        raise


def _shared_loop() -> asyncio.AbstractEventLoop:
    global _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_run, args=(_loop,), name="evenshard-client", daemon=True).start()
        return _loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Runs the loop for as long as the process lives, and keeps gRPC's queue open as long: it closes with its last
    user, which an interrupted thread may hold, under the feet of this loop."""
    asyncio.set_event_loop(loop)
    grpc.aio.init_grpc_aio()  # type: ignore[attr-defined]  # public, but not in the stubs
    loop.run_forever()
