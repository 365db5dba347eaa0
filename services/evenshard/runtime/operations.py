"""Every operation's record in memory, as the directory's watch tells."""

from collections.abc import Callable
from dataclasses import dataclass

from evenshard.directory.keys import OPERATIONS, operation_key
from evenshard.directory.operations import Operation
from evenshard.ids import Revision
from evenshard.ports.clock import Clock
from evenshard.ports.directory import Directory, Entry
from evenshard.runtime.mirror import RANGE_TIMEOUT_S, START_TIMEOUT_S, Mirror


@dataclass(frozen=True, slots=True)
class StoredOperation:
    """An operation and the directory revision of its last change (0: only planned)."""

    operation: Operation
    revision: Revision

    @staticmethod
    def of(entry: Entry) -> "StoredOperation":
        """Raises ``FORMAT_TOO_NEW``."""
        return StoredOperation(Operation.from_json(entry.value), entry.revision)


class OperationView:
    """A mirror of all ``Operation`` records. Those that a newer evenshard wrote are not shown."""

    def __init__(self, directory: Directory, clock: Clock) -> None:
        self._mirror = Mirror(directory, clock, OPERATIONS, Operation.from_json)

    async def start(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Loads all records and follows them; raises ``DIRECTORY_UNAVAILABLE`` where no answer came in time."""
        await self._mirror.start(timeout_s)

    async def close(self) -> None:
        await self._mirror.close()

    def all(self) -> list[StoredOperation]:
        """The oldest first."""
        return [StoredOperation(each, self._mirror.revision_of(each.id)) for each in self._mirror.all()]

    def operations(self) -> list[Operation]:
        """In no order; from any thread."""
        return self._mirror.values()

    def get(self, operation: str) -> Operation | None:
        """As last seen."""
        return self._mirror.get(operation)

    def stored(self, operation: str) -> StoredOperation | None:
        """As last seen, with its revision."""
        found = self._mirror.get(operation)
        return None if found is None else StoredOperation(found, self._mirror.revision_of(operation))

    def revision_of(self, operation: str) -> Revision:
        """Of its last change, as last seen; 0: not known here."""
        return self._mirror.revision_of(operation)

    def learn(self, stored: StoredOperation) -> None:
        """Shows what this process has just written, unless something newer is known."""
        operation = stored.operation
        self._mirror.learn(Entry(operation_key(operation.id), operation.to_json(), stored.revision))

    async def fetch(self, operation: str, *, timeout_s: float = RANGE_TIMEOUT_S) -> StoredOperation | None:
        """Asks the directory now; the mirror shows the answer from then on. Raises ``DIRECTORY_UNAVAILABLE``,
        ``FORMAT_TOO_NEW``."""
        found = await self._mirror.fetch(operation, timeout_s=timeout_s)
        return None if found is None else StoredOperation(found, self._mirror.revision_of(operation))

    async def wait_for(self, operation: str, met: Callable[[Operation], bool], timeout_s: float) -> bool:
        """Until the operation meets ``met``. False: it did not within ``timeout_s``."""
        return await self._mirror.wait_for(operation, met, timeout_s) is not None

    @property
    def version(self) -> int:
        """Rises with all that is learnt."""
        return self._mirror.version

    async def wait_beyond(self, version: int) -> None:
        """Until something is learnt that is not in ``version``."""
        await self._mirror.wait_beyond(version)
