"""What ``scripts/demo.sh`` shows: a cluster, an import, a trend, a funnel, the hot keys; says what it does, cleans up.

Whatever ends it (the end, an error, Ctrl-C, SIGTERM), its cluster is stopped and its directory removed.
"""

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from evenshard.client.files import EventFile
from evenshard.errors import EvenshardError
from evenshard.testing.processes import ClusterProcess, free_base_port
from evenshard.testing.stream import TENANTS, make_stream, write_stream

BASE_PORT: Final = 7400
TENANT_OF_FILES: Final = "demo"
FUNNEL_STEPS: Final = ("App opened", "Product viewed", "Added to cart", "Purchased")
HOT_EVENT: Final = "$hotshard_events"
NOT_AN_EVENT: Final = frozenset([HOT_EVENT, "$hotshard_record", "$other"])
"""Names that stand for others."""
HOT_KEY_THRESHOLD: Final = 2_000
HOT_KEYS_SHOWN: Final = 10
BAR_WIDTH: Final = 48
BUCKETS_SHOWN: Final = 40
_DAYS_BY_DAY, _DAYS_BY_WEEK = 62, 300
_INTERRUPTED: Final = 130


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the answers are about: whose events, of which days, and the names of the most frequent ones."""

    tenant: str
    first: date
    last: date
    events: Sequence[str]

    @property
    def common(self) -> list[str]:
        return ["--tenant", self.tenant, "--from", str(self.first), "--to", str(self.last)]

    @property
    def unit(self) -> str:
        days = (self.last - self.first).days
        return "day" if days <= _DAYS_BY_DAY else "week" if days <= _DAYS_BY_WEEK else "month"


class Demo:
    """One run. ``file``: the user's events; absent: made-up ones."""

    def __init__(self, cluster: ClusterProcess, file: Path | None) -> None:
        self._cluster = cluster
        self._file = file

    def run(self) -> None:
        """Everything but the end of the cluster."""
        file, created = self._source()
        say("Starting a cluster: etcd, a router, a counter, two shards and a gateway, each a process of its own.")
        self._cluster.start()
        print(f"ready in {self._cluster.ready['seconds']:.1f} s; the router is at {self._cluster.router}")
        if created is not None:
            say(f"Making a tenant, {created}, in which an id may send {HOT_KEY_THRESHOLD:,} events a day, not 100,000.")
            self._evenshard("admin", "create-tenant", created, "--hot-key-threshold", str(HOT_KEY_THRESHOLD))
        whose = ["--tenant", TENANT_OF_FILES] if created == TENANT_OF_FILES else ["--create-tenant"]
        question = self._question(self._import(file, whose))
        self._trend(question)
        self._funnel(question)
        self._hot_keys(question)
        self._tell(question)

    def _source(self) -> tuple[Path, str | None]:
        """The events, and the tenant to be made before they come; None: all are made as they come."""
        if self._file is not None:
            return self._file, None if names_tenants(self._file) else TENANT_OF_FILES
        say("Making up a month of eight shops: sessions, retries, and one integration that went wild yesterday.")
        file = self._cluster.data_dir.parent / "events.ndjson.zst"
        stream = make_stream(datetime.now(UTC))
        write_stream(stream, file)
        print(f"{stream.events:,} events, {stream.retries:,} of them sent twice")
        return file, TENANTS[0]

    def _import(self, file: Path, whose: Sequence[str]) -> str:
        """Returns the tenant that got the most events."""
        say("Importing: what is accepted is on disk, synced; what was sent twice counts once.")
        result = self._evenshard("import", str(file), *whose, done=(0, 1))
        counts = result["by_tenant"]
        if not result["accepted"]:
            codes = ", ".join(result["errors_by_code"]) or "the file is empty"
            raise DemoError(f"no event of {file} was accepted ({codes}): see evenshard import --help")
        print(
            f"{result['accepted']:,} accepted in {result['seconds']:.1f} s ({result['events_per_second']:,.0f}/s), "
            f"{result['duplicates']:,} of them duplicates; {result['rejected']:,} rejected"
        )
        by_size = sorted(counts, key=lambda name: (-counts[name]["accepted"], name))
        show_bars([(name, counts[name]["accepted"]) for name in by_size[:BUCKETS_SHOWN]])
        answer: str = by_size[0]
        return answer

    def _question(self, tenant: str) -> Question:
        """When the tenant's events are, and which are frequent."""
        tomorrow = datetime.now(UTC).date() + timedelta(days=1)
        span = ["--tenant", tenant, "--from", "1971-01-01", "--to", str(tomorrow)]
        months = self._ask("segmentation", *span, "--unit", "month")
        filled = [label for label, value in zip(months["buckets"], months["series"][0]["values"], strict=True) if value]
        first, last = date.fromisoformat(filled[0]), _month_end(date.fromisoformat(filled[-1]))
        names = self._ask("segmentation", *span, "--unit", "month", "--by", "$event", "--limit", "8")
        ranked = sorted(names["series"], key=lambda line: -line["overall"])
        events = [line["by"][0] for line in ranked if line["by"][0] not in NOT_AN_EVENT]
        return Question(tenant, first, min(last, tomorrow), events)

    def _trend(self, question: Question) -> None:
        named = ["--event", question.events[0]] if question.events else []
        event = repr(question.events[0]) if question.events else "any event"
        arguments = [*question.common, *named, "--unit", question.unit, "--measure"]
        users = self._ask("segmentation", *arguments, "unique")["series"][0]["overall"]
        measure, counted = ("unique", "users of") if users else ("total", "times anonymous users of")
        say(f"A trend: how many {counted} {question.tenant} had {event}, by {question.unit}.")
        answer = self._evenshard("query", "segmentation", *arguments, measure)
        values = answer["series"][0]["values"]
        filled = [at for at, value in enumerate(values) if value]
        shown = range(filled[0], filled[-1] + 1)[-BUCKETS_SHOWN:]
        show_bars([(answer["buckets"][at], values[at]) for at in shown])
        _account(answer["meta"])

    def _funnel(self, question: Question) -> None:
        say(f"A funnel: how many users of {question.tenant} did these one after the other, within a week.")
        if len(question.events) < 2:
            print("Its events have one name only: no funnel.")
            return
        print("$ evenshard " + shlex.join(self._funnel_query(question)), flush=True)
        self._run(*self._funnel_query(question), stdout=None)

    def _funnel_query(self, question: Question) -> list[str]:
        made_up = self._file is None
        steps = FUNNEL_STEPS if made_up else [as_step(name) for name in question.events[:3]]
        flags = [text for step in steps for text in ("--step", step)] + ["--window", "7d"]
        return ["query", "funnel", *question.common, *flags, *(["--by", "app_version"] if made_up else [])]

    def _hot_keys(self, question: Question) -> None:
        say("The hot keys: ids that sent more than their share; what was too much is kept, under another name.")
        arguments = [*question.common, "--event", HOT_EVENT, "--unit", "month", "--by", "mp_original_distinct_id"]
        answer = self._evenshard("query", "segmentation", *arguments)
        rows = [(str(line["by"][0]), line["overall"]) for line in answer["series"] if line["overall"]]
        if rows:
            show_bars(rows[:HOT_KEYS_SHOWN])
            _account(answer["meta"])
        else:
            print("None: nobody sent more events in a day than the tenant's threshold.")

    def _tell(self, question: Question) -> None:
        evenshard = os.path.relpath(Path(sys.executable).with_name("evenshard"))
        python = os.path.relpath(sys.executable)
        events = (
            f"{python} -m evenshard.testing.stream | {evenshard} import - --create-tenant"
            if self._file is None
            else shlex.join([evenshard, "import", str(self._file), "--create-tenant"])
            + ("" if question.tenant != TENANT_OF_FILES else f" --tenant {TENANT_OF_FILES}")
        )
        query = ["query", "segmentation", *question.common, "--unit", question.unit, "--by", "$event"]
        if len(question.events) > 1:
            query = self._funnel_query(question)
        say("Now you: a cluster that stays (in a terminal of its own), your events, your questions.")
        print(f"  {evenshard} up\n  {events}\n  {shlex.join([evenshard, *query])}")

    def _ask(self, kind: str, *arguments: str) -> Any:
        return self._evenshard("query", kind, *arguments, echo=False)

    def _evenshard(self, *arguments: str, done: Sequence[int] = (0,), echo: bool = True) -> Any:
        """The document a command answers; progress stays on stderr. Raises ``DemoError``."""
        if echo:
            print("$ evenshard " + shlex.join(arguments), flush=True)
        return json.loads(self._run(*arguments, "--json", stdout=subprocess.PIPE, done=done))

    def _run(self, *arguments: str, stdout: int | None, done: Sequence[int] = (0,)) -> bytes:
        addresses = {"EVENSHARD_ROUTER": self._cluster.router, "EVENSHARD_GATEWAY": self._cluster.gateway}
        command = [sys.executable, "-m", "evenshard.cli.main", *arguments]
        finished = subprocess.run(command, stdout=stdout, env={**os.environ, **addresses}, check=False)
        if finished.returncode not in done:
            reason = f"exit status {finished.returncode}"
            if finished.stdout:
                error = json.loads(finished.stdout)["error"]
                reason = f"{error['code']}: {error['message']}"
            raise DemoError(f"evenshard {' '.join(arguments[:2])}: {reason}")
        return finished.stdout or b""


def say(text: str) -> None:
    """One sentence of what happens now."""
    print(f"\n== {text}", flush=True)


def show_bars(rows: Sequence[tuple[str, int]]) -> None:
    """Labels, numbers, and a bar each, the longest for the greatest."""
    block = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
    label_width = max(len(label) for label, _ in rows)
    number_width = max(len(f"{value:,}") for _, value in rows)
    most = max(1, max(value for _, value in rows))
    for label, value in rows:
        print(f"  {label:<{label_width}}  {value:>{number_width},}  {block * round(BAR_WIDTH * value / most)}".rstrip())


def names_tenants(file: Path) -> bool:
    """Whether the lines of an NDJSON file say whose they are (the first one does)."""
    with EventFile(file) as source:
        first = next(iter(source.batches(batch_rows=1, ids=None)), None)
    if first is None or first.encoding != "ndjson":
        return False
    try:
        line = json.loads(first.payload)
    except ValueError:
        return False  # the import says what is wrong with it
    return isinstance(line, dict) and "tenant" in line


def as_step(name: str) -> str:
    """An event's name as a funnel's step: in backticks where it could be read as more than a name."""
    return (
        name
        if re.fullmatch(r"[\w$.:/-]+( [\w$.:/-]+)*", name) and " where " not in name
        else f"`{name.replace('`', '``')}`"
    )


def _account(meta: Mapping[str, Any]) -> None:
    skipped = sum(meta["duplicates_skipped"].values())
    print(
        f"{meta['rows_scanned']:,} rows of {meta['shards']} shards in {meta['elapsed_ms']:.0f} ms, "
        f"{skipped:,} duplicates skipped"
    )


def _month_end(month: date) -> date:
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)


def main() -> int:
    """Runs the demo; returns the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/demo.sh")
    parser.add_argument("file", type=Path, nargs="?", help="your events: NDJSON, also .gz or .zst")
    file: Path | None = parser.parse_args().file
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    with tempfile.TemporaryDirectory(prefix="evenshard-demo-") as directory:
        cluster = ClusterProcess(Path(directory) / "data", base_port=free_base_port(BASE_PORT))
        status = 1
        try:
            Demo(cluster, None if file is None else file.resolve()).run()
            status = 0
        except (DemoError, EvenshardError) as error:
            print(f"demo: {error}", file=sys.stderr)
        except OSError as error:
            print(f"demo: {file or 'the events'}: {error}", file=sys.stderr)
        except RuntimeError as error:  # the cluster did not start, and said why
            print(f"demo: {error}", file=sys.stderr)
            status = 3
        except KeyboardInterrupt:
            print("\ndemo: interrupted", file=sys.stderr)
            status = _INTERRUPTED
        finally:
            say("Stopping what was started.")
            cluster.stop()
        print("Stopped; nothing is left running, and the demo's data is removed.")
    return status


def _end(number: int, _: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
