"""Between threads and the loop: awaits a future without cancelling its work, reads a generator step by step."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Executor, Future
from typing import TypeVar

_Result = TypeVar("_Result")


async def settled(future: "Future[_Result]") -> _Result:
    """What ``future`` gives. A caller that stops waiting leaves it alone: its work goes on."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    future.add_done_callback(lambda _: loop.call_soon_threadsafe(done.set))
    await done.wait()
    return future.result()


async def steps(pool: Executor, start: Callable[[], Generator[_Result, None, None]]) -> AsyncGenerator[_Result, None]:
    """What the generator that ``start`` makes yields; it runs in ``pool``, one step ahead of the reader.

    However the reader ends, the generator is closed, in ``pool`` too, after the step it is in.
    """
    loop = asyncio.get_running_loop()
    source = start()
    step = pool.submit(next, source, None)
    try:
        while (item := await asyncio.shield(asyncio.wrap_future(step, loop=loop))) is not None:
            step = pool.submit(next, source, None)
            yield item
    finally:
        pool.submit(_finish, step, source)


def _finish(step: "Future[_Result | None]", source: Generator[_Result, None, None]) -> None:
    step.exception()  # waits: it was submitted before this, so it runs or has run
    source.close()
