"""Options that several commands of ``evenshard query`` take."""

from typing import Annotated, Final

import typer

TenantOption = Annotated[str | None, typer.Option(help="Whose events.")]
WhereOption = Annotated[str | None, typer.Option(metavar="EXPR", help='As: ext in [".py", ".pyi"]')]
ByOption = Annotated[list[str] | None, typer.Option(metavar="PROP", help="Break down by this property; up to 3.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help='Groups to show, the rest is "$other"; default 60.')]
DuplicatesOption = Annotated[bool, typer.Option("--include-duplicates", help="Count copies too.")]
RestoreOption = Annotated[bool, typer.Option("--restore-hot", help="Hot events as they came, not as $hotshard_events.")]
PartialOption = Annotated[
    bool, typer.Option("--allow-partial", help="Answer without the shards that cannot; exit status 1.")
]
NoCacheOption = Annotated[
    bool, typer.Option("--no-cache", help="Compute anew what gateways may know from a question before.")
]
TimeoutOption = Annotated[str, typer.Option(metavar="DURATION", help="How long to wait.")]
TIMEOUT_DEFAULT: Final = "30s"
QueryOption = Annotated[
    str | None, typer.Option(metavar="F.json", help="The whole request as proto3 JSON, instead of flags.")
]
