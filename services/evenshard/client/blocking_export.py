"""The blocking client's exports."""

from collections.abc import AsyncGenerator, Iterator
from os import PathLike
from typing import Any, TypeVar

import orjson

from evenshard.client.exports import AsyncExport
from evenshard.client.loop import run_blocking

Item = TypeVar("Item")


class Export:
    """An export in progress: iterating gives rows as dicts, in order. See ``AsyncExport``."""

    def __init__(self, export: AsyncExport) -> None:
        self._export = export

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._export.format == "arrow":
            for batch in self.batches():
                yield from batch.to_pylist()
        else:
            for payload in self.payloads():
                yield from map(orjson.loads, payload.splitlines())

    def payloads(self) -> Iterator[bytes]:
        """As they come: whole NDJSON lines, or a whole Arrow IPC stream each."""
        return _blocking(self._export.payloads())

    def batches(self) -> Iterator[Any]:
        """Record batches; needs ``format="arrow"``."""
        return _blocking(self._export.batches())

    def save(self, path: str | PathLike[str]) -> None:
        """Writes all rows to a file as they come; needs ``format="ndjson"``."""
        run_blocking(self._export.save(path))

    def to_arrow(self) -> Any:
        """Everything, as one table; needs ``format="arrow"``."""
        return run_blocking(self._export.to_arrow())

    def to_pandas(self) -> Any:
        """Everything, as a data frame; needs pandas and ``format="arrow"``."""
        return run_blocking(self._export.to_pandas())

    def to_polars(self) -> Any:
        """Everything, as a data frame; needs polars and ``format="arrow"``."""
        return run_blocking(self._export.to_polars())

    def plot(self, ax: Any = None) -> Any:
        """Draws everything over time, stacked by name. Returns the matplotlib ``Axes``: ``ax``, or those of a new
        figure; needs matplotlib (``evenshard[plot]``) and ``format="arrow"``."""
        from evenshard.client.plots.events import draw_events

        return draw_events(self.to_arrow(), ax)

    def __repr__(self) -> str:
        return repr(self._export)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of ``evenshard export --out``."""
        return self._export.to_dict()

    @property
    def format(self) -> str:
        return self._export.format

    @property
    def rows(self) -> int:
        return self._export.rows

    @property
    def bytes(self) -> int:
        return self._export.bytes

    @property
    def cursor(self) -> str:
        return self._export.cursor

    @property
    def complete(self) -> bool:
        return self._export.complete

    @property
    def warnings(self) -> list[dict[str, Any]]:
        return self._export.warnings

    @property
    def trace_id(self) -> str:
        return self._export.trace_id


def _blocking(items: AsyncGenerator[Item, None]) -> Iterator[Item]:
    """An async iterator, read by waiting for each item; closing this closes that."""

    async def following() -> tuple[bool, Any]:
        try:
            return True, await anext(items)
        except StopAsyncIteration:
            return False, None

    try:
        while (found := run_blocking(following()))[0]:
            yield found[1]
    finally:
        run_blocking(_close(items))


async def _close(items: AsyncGenerator[Any, None]) -> None:
    await items.aclose()
