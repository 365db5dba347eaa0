"""What all answers are: a document, a table, a data frame, and something to look at."""

import importlib
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from evenshard.text.account import caveats
from evenshard.text.html import html
from evenshard.text.look import Look
from evenshard.text.paint import paint
from evenshard.text.table import Block

_REPR_ROWS_MAX: Final = 40
_WIDTH_WITHOUT_TERMINAL: Final = 100


class Answer(ABC):
    """Shown by a prompt as a table as wide as the terminal, by a notebook as HTML; long ones are cut there, and say so.
    Nothing is cut from ``to_dict()`` and the tables."""

    __slots__ = ()

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The JSON document of the command."""

    @abstractmethod
    def to_arrow(self) -> pa.Table:
        """As a table."""

    @abstractmethod
    def blocks(self) -> Sequence[Block]:
        """What people are shown."""

    def to_pandas(self) -> Any:
        """``to_arrow`` as a data frame; needs pandas."""
        return pandas_frame(self.to_arrow())

    def to_polars(self) -> Any:
        """``to_arrow`` as a data frame; needs polars."""
        return polars_frame(self.to_arrow())

    def __repr__(self) -> str:
        width = shutil.get_terminal_size((_WIDTH_WITHOUT_TERMINAL, 0)).columns
        return paint(self._seen(), Look(width=width, rows_max=_REPR_ROWS_MAX))

    def _repr_html_(self) -> str:
        return html(self._seen())

    def _seen(self) -> list[Block]:
        meta: Mapping[str, Any] = getattr(self, "meta", {})
        return [*self.blocks(), *caveats(meta)]


def pandas_frame(table: pa.Table) -> Any:
    """Raises ``ModuleNotFoundError`` that says what to install."""
    need("pandas", "to_pandas()", "frames")
    return table.to_pandas()


def polars_frame(table: pa.Table) -> Any:
    """Raises ``ModuleNotFoundError`` that says what to install."""
    return need("polars", "to_polars()", "frames").from_arrow(table)


def need(module: str, what: str, extra: str) -> Any:
    """A module of an extra. Raises ``ModuleNotFoundError`` that says what to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or module.partition(".")[0] != error.name.partition(".")[0]:
            raise
        said = f"{what} needs {error.name}: pip install 'evenshard[{extra}]'"
        raise ModuleNotFoundError(said, name=error.name) from error
