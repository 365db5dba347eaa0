"""How long calls take by the key they are about, from one call in many, in bounded memory; which keys are slow. Pure.

The rule: a key is slow whose p99 is more than ten times the median of all keys' p99, among keys of at least 20 samples,
where there are at least three of those. What is slow for one key and not for the others is the shard that the key is
on, or the key itself.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

from evenshard.hotkeys.slow_queries import nearest_rank

SAMPLE_EVERY: Final = 1_000
"""Calls, of which one is sampled."""
KEYS_MAX: Final = 1_000
"""Beyond, the key that was sampled longest ago is forgotten."""
SAMPLES_MAX: Final = 128
"""Of one key: the newest."""
SAMPLES_MIN: Final = 20
KEYS_MIN: Final = 3
TIMES_MEDIAN: Final = 10.0

Key = tuple[str, str]
"""Tenant, and the distinct_id a call was about; empty: about no single one."""


@dataclass(frozen=True, slots=True)
class SlowKey:
    """A key whose calls take longer than the others'."""

    tenant: str
    distinct_id: str
    p99_ms: float
    median_ms: float
    """Of the p99 of all keys with samples enough."""
    samples: int


class KeyLatencies:
    """Samples of one client."""

    def __init__(
        self,
        sample_every: int = SAMPLE_EVERY,
        *,
        keys_max: int = KEYS_MAX,
        samples_min: int = SAMPLES_MIN,
        times_median: float = TIMES_MEDIAN,
    ) -> None:
        self._sample_every = sample_every
        self._keys_max = keys_max
        self._samples_min = samples_min
        self._times_median = times_median
        self._calls = 0
        self._samples: OrderedDict[Key, deque[float]] = OrderedDict()
        """The key sampled longest ago first."""

    def wants(self) -> bool:
        """Whether the call that begins now is one to be sampled: every n-th is."""
        self._calls += 1
        if self._calls < self._sample_every:
            return False
        self._calls = 0
        return True

    def record(self, key: Key, latency_ms: float) -> None:
        """Of a call that ``wants`` chose; one that failed has a latency too."""
        samples = self._samples.pop(key, None)
        if samples is None:
            samples = deque(maxlen=SAMPLES_MAX)
            if len(self._samples) >= self._keys_max:
                self._samples.popitem(last=False)
        samples.append(latency_ms)
        self._samples[key] = samples

    @property
    def keys(self) -> int:
        return len(self._samples)

    def p99s(self) -> dict[Key, tuple[float, int]]:
        """The p99 in ms of each key with samples enough, and of how many samples it is."""
        return {
            key: (nearest_rank(list(samples), 0.99), len(samples))
            for key, samples in self._samples.items()
            if len(samples) >= self._samples_min
        }

    def detect(self) -> list[SlowKey]:
        """Slow keys, the slowest first; none where fewer than three keys have samples enough."""
        found = self.p99s()
        if len(found) < KEYS_MIN:
            return []
        median_ms = sorted(p99_ms for p99_ms, _ in found.values())[len(found) // 2]
        slow = [
            SlowKey(*key, p99_ms, median_ms, samples)
            for key, (p99_ms, samples) in found.items()
            if p99_ms > self._times_median * median_ms
        ]
        return sorted(slow, key=lambda each: (-each.p99_ms, each.tenant, each.distinct_id))
