"""How shards are to be used, in memory, as the directory's watch tells."""

from collections.abc import Iterable

from evenshard.directory.keys import SHARD_STATES
from evenshard.directory.shard_state import ShardState, Use
from evenshard.ids import ShardId
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory
from evenshard.runtime.mirror import START_TIMEOUT_S, Mirror


class ShardStateView:
    """A mirror of all ``ShardState`` records."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._mirror = Mirror(directory, clock, SHARD_STATES, ShardState.from_json)

    async def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Loads all records and follows them; raises ``DIRECTORY_UNAVAILABLE`` where no answer came in time."""
        await self._mirror.start(timeout_s)

    async def close(self) -> None:
        await self._mirror.close()

    def use_of(self, shard: str) -> Use:
        """As last seen."""
        state = self._mirror.get(shard)
        return "active" if state is None else state.use

    def writable(self, shards: Iterable[ShardId]) -> list[ShardId]:
        """Those on which something new may be placed; all, where that is none. By name."""
        named = sorted(shards)
        return [shard for shard in named if self.use_of(shard) == "active"] or named
