"""A blocking call waits for what runs on the shared loop, and lets signals through."""

import asyncio
import signal
import threading

import pytest
from evenshard.client.loop import SLICE_S, run_blocking


def test_a_signal_that_did_not_wake_the_waiting_thread_is_handled_meanwhile() -> None:
    handled = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: handled.set())

    async def meanwhile() -> bool:
        await asyncio.sleep(0.3)  # by now the main thread waits
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)  # this thread takes it, the main one handles it
        return await asyncio.to_thread(handled.wait, 5)

    try:
        assert run_blocking(meanwhile())
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("waited_s", [0.0, 1.5 * SLICE_S])
def test_a_call_that_ran_out_of_time_by_itself_says_so(waited_s: float) -> None:
    async def out_of_time() -> None:
        await asyncio.sleep(waited_s)
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        run_blocking(out_of_time())
