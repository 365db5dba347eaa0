"""``evenshard fsck``: verifies the files of shards that do not run, and repairs what is safe to repair."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from evenshard.cli.confirm import YesOption, check_can_ask, confirm
from evenshard.cli.output import JsonOption, finish, print_note, print_result
from evenshard.errors import EvenshardError, ExitStatus

_SAY_EVERY_S = 5.0


def command(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A shard's directory, or a whole data directory.")],
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Cut torn ends, remove leftovers, make filters again, put what cannot be read into quarantine, take "
            "out what can be read again; then look again.",
        ),
    ] = False,
    accept_loss: Annotated[
        bool,
        typer.Option(
            "--accept-loss",
            help="After --repair, give up what is in quarantine: its files are removed, its days are answered again "
            "without it, and every answer says so.",
        ),
    ] = False,
    yes: YesOption = False,
    json_output: JsonOption = False,
) -> None:
    """Verifies every checksum of every file; exit status 1 where something is not as it should be."""
    from evenshard.storage.fsck import QUARANTINED, Checked

    total = Checked()
    places = shard_directories(directory)
    if accept_loss:
        check_can_ask(yes=yes)
    for place in places:
        prefix = "" if place == directory else f"{place.name}/"
        checked = _check(place, repair=repair or accept_loss, prefix=prefix)
        if accept_loss and any(finding.code == QUARANTINED for finding in checked.findings):
            checked = _given_up(place, checked, prefix=prefix, yes=yes)
        total.files, total.frames, total.rows = (
            total.files + checked.files,
            total.frames + checked.frames,
            total.rows + checked.rows,
        )
        total.findings += [_named(finding, prefix) for finding in checked.findings]
    document = {
        "ok": total.ok,
        "files_checked": total.files,
        "frames": total.frames,
        "rows": total.rows,
        "findings": [asdict(each) for each in total.findings],
    }
    print_result(json.loads(json.dumps(document)), as_json=json_output, human=_text)
    if not total.ok:
        finish(ExitStatus.PARTIAL)


def shard_directories(directory: Path) -> list[Path]:
    """The directory itself, or those below it that are a shard's. Raises ``USAGE`` where there is none."""

    def is_shards(place: Path) -> bool:
        return any((place / name).exists() for name in ("catalog.sqlite", "log", "segments"))

    if not directory.is_dir():
        raise EvenshardError("USAGE", f"{directory} is no directory", hint="name a shard's directory, or --data-dir's")
    if (directory / "catalog.sqlite").exists() or ((directory / "log").is_dir() and is_shards(directory)):
        return [directory]
    found = sorted(place for place in directory.iterdir() if place.is_dir() and is_shards(place))
    if not found:
        raise EvenshardError(
            "USAGE", f"there is no shard's directory at {directory}", hint="name a shard's directory, or --data-dir's"
        )
    return found


def _check(place: Path, *, repair: bool, prefix: str) -> Any:
    from evenshard.ids import ShardId
    from evenshard.runtime.clock import SystemClock
    from evenshard.runtime.disk import LocalDisk
    from evenshard.storage.catalog import Catalog
    from evenshard.storage.fsck import check
    from evenshard.storage.fsck_repair import repair as repaired

    clock, say = SystemClock(), _Saying(prefix).now_and_then
    disk = LocalDisk(place, read_only=True)
    try:
        shard = Catalog.owner(disk) or ShardId(place.resolve().name)
        checked = check(disk, clock, shard, say)
    finally:
        disk.close()
    if not repair or checked.ok:
        return checked
    disk = LocalDisk(place)
    try:
        repaired(disk, clock, shard, checked, lambda line: print_note(f"{prefix}{line}"))
    except EvenshardError as error:
        print_note(f"{prefix or place.name}: cannot be repaired: {error.message}")
        return checked
    finally:
        disk.close()
    disk = LocalDisk(place, read_only=True)
    try:
        return check(disk, clock, shard, say)
    finally:
        disk.close()


def _given_up(place: Path, checked: Any, *, prefix: str, yes: bool) -> Any:
    """Accepts the loss of what is in quarantine, if that is confirmed; how the directory is then."""
    from evenshard.ids import ShardId
    from evenshard.runtime.clock import SystemClock
    from evenshard.runtime.disk import LocalDisk
    from evenshard.storage.catalog import Catalog
    from evenshard.storage.fsck import QUARANTINED
    from evenshard.storage.fsck_repair import give_up

    lost = [finding for finding in checked.findings if finding.code == QUARANTINED]
    lines = [f"  {prefix}{each.file} at byte {each.offset}: {each.lost_rows} rows at most" for each in lost]
    confirm("\n".join(["these are given up for good, and files of segments among them removed:", *lines]), yes=yes)
    disk = LocalDisk(place)
    try:
        shard = Catalog.owner(disk) or ShardId(place.resolve().name)
        give_up(disk, SystemClock(), shard, lambda line: print_note(f"{prefix}{line}"))
    finally:
        disk.close()
    return _check(place, repair=False, prefix=prefix)


class _Saying:
    """Where the check is, on stderr, every now and then."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._next_s = time.monotonic() + _SAY_EVERY_S

    def now_and_then(self, text: str) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + _SAY_EVERY_S
            print_note(f"{self._prefix}{text}")


def _named(finding: Any, prefix: str) -> Any:
    from dataclasses import replace

    return replace(finding, file=f"{prefix}{finding.file}")


def _text(document: Mapping[str, Any]) -> str:
    looked = f"{document['files_checked']:,} files, {document['frames']:,} frames, {document['rows']:,} rows"
    lines = [f"{'all is well' if document['ok'] else 'NOT WELL'}: {looked} checked"]
    for each in document["findings"]:
        lost = (
            "" if each["lost_rows"] == 0 else f", {'?' if each['lost_rows'] is None else each['lost_rows']} rows lost"
        )
        lines.append(f"{each['file']} at byte {each['offset']}: {each['code']}{lost}\n    {each['next']}")
    return "\n".join(lines)
