"""The real clock."""

import asyncio
import time


class SystemClock:
    """This machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> float:
        return time.monotonic_ns() / 1e6

    async def sleep(self, duration_ms: float) -> None:
        end_ms = self.monotonic_ms() + duration_ms
        while True:  # a loop's timers may fire a little early
            left_ms = end_ms - self.monotonic_ms()
            await asyncio.sleep(max(0.0, left_ms / 1000))
            if self.monotonic_ms() >= end_ms:
                return
