"""How far an import is, on stderr: a bar on a terminal, else a line every 5 s."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from evenshard.cli.output import print_note
from evenshard.client import Progress

LINE_EVERY_S: Final = 5.0

OnProgress = Callable[[Progress, int | None], None]


@contextmanager
def import_progress() -> Iterator[OnProgress]:
    """What is to be told of progress; shows it until the end."""
    if sys.stderr.isatty():
        with _bar() as on_progress:
            yield on_progress
    else:
        yield _Lines()


class _Lines:
    def __init__(self) -> None:
        self._started_s = self._said_s = time.monotonic()

    def __call__(self, progress: Progress, size_bytes: int | None) -> None:
        now_s = time.monotonic()
        if now_s - self._said_s < LINE_EVERY_S:
            return
        self._said_s = now_s
        elapsed_s = now_s - self._started_s
        share = f" {progress.bytes_read / size_bytes:.0%}," if size_bytes and progress.bytes_read else ""
        print_note(
            f"{elapsed_s:.0f} s:{share} {progress.events:,} events ({progress.events / elapsed_s:,.0f}/s), "
            f"{progress.duplicates:,} duplicates, {progress.rejected:,} rejected{_waiting(progress)}"
        )


@contextmanager
def _bar() -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        started_s = time.monotonic()

        def on_progress(progress: Progress, size_bytes: int | None) -> None:
            rate = progress.events / max(1e-3, time.monotonic() - started_s)
            text = f"{progress.events:,} events, {rate:,.0f}/s, {progress.duplicates:,} dup, {progress.rejected:,} rej"
            text += _waiting(progress)
            bar.update(task, total=size_bytes, completed=progress.bytes_read, description=text)

        yield on_progress


def _waiting(progress: Progress) -> str:
    return f", waiting for the limit of tenant {progress.waiting_for}" if progress.waiting_for else ""
