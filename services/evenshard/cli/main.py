"""The ``evenshard`` command: its subcommands, and the one place where errors become documents and exit statuses.

Only the module of the subcommand called is imported: importing all of them would slow the start of each.
"""

import importlib
import sys
import traceback
from collections.abc import Sequence
from typing import Final

import typer

from evenshard.cli.output import print_error
from evenshard.cli.tenant_hint import router_of, with_tenant_hint
from evenshard.cli.tracing import command_traced
from evenshard.errors import EvenshardError, ExitStatus
from evenshard.runtime.polling import poll_in_one_thread

COMMANDS: Final[dict[str, str]] = {
    "up": "evenshard.cli.up",
    "status": "evenshard.cli.status",
    "import": "evenshard.cli.import_command",
    "query": "evenshard.cli.query_command",
    "cohort": "evenshard.cli.cohort_command",
    "cohorts": "evenshard.cli.cohorts_command",
    "export": "evenshard.cli.export_command",
    "admin": "evenshard.cli.admin_command",
    "top": "evenshard.cli.top_command",
    "slow-queries": "evenshard.cli.slow_queries_command",
    "traces": "evenshard.cli.traces_command",
    "report": "evenshard.cli.report_command",
    "config": "evenshard.cli.config",
    "fsck": "evenshard.cli.fsck_command",
    "version": "evenshard.cli.version",
    "scale-check": "evenshard.cli.scale_check",
    "serve": "evenshard.cli.serve",
}
"""Each module holds ``app``, a ``typer.Typer`` with subcommands, or ``command``, a function that is the command."""
HIDDEN: Final = frozenset(["scale-check", "serve"])
_TYPER_INTERRUPTED: Final = 130
"""What typer returns after Ctrl-C."""


def build_app(names: Sequence[str]) -> typer.Typer:
    """The command line with the subcommands named."""
    app = typer.Typer(
        name="evenshard",
        help="A sharded event store with exact deduplication and fast behavioural queries.",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        callback=_root,
    )
    for name in names:
        module = importlib.import_module(COMMANDS[name])
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name, hidden=name in HIDDEN)(module.command)
    return app


def _root() -> None:
    """Makes even a single subcommand one that is called by its name."""


def run(arguments: Sequence[str]) -> int:
    """Runs one command; returns its exit status. Errors are printed as the contract says."""
    as_json = "--json" in (arguments[: arguments.index("--")] if "--" in arguments else arguments)
    try:
        names = [arguments[0]] if arguments and arguments[0] in COMMANDS else list(COMMANDS)
        with command_traced(names[0] if len(names) == 1 else ""):
            status = build_app(names)(list(arguments), prog_name="evenshard", standalone_mode=False)
        if status != _TYPER_INTERRUPTED:
            return status if isinstance(status, int) else ExitStatus.WHOLE
        error = EvenshardError("INTERRUPTED", "broken off by Ctrl-C")
    except typer.TyperException as usage:
        error = EvenshardError("USAGE", usage.format_message())
    except (typer.Abort, KeyboardInterrupt):
        error = EvenshardError("INTERRUPTED", "broken off by Ctrl-C")
    except EvenshardError as failed:
        error = with_tenant_hint(failed, router_of(arguments))
    except Exception as defect:  # noqa: BLE001 - the last resort of the process: said in full, and exit status 5
        traceback.print_exc()
        error = EvenshardError("INTERNAL", f"{type(defect).__name__}: {defect}")
    print_error(error, as_json=as_json)
    return error.exit_status


def main() -> None:
    """Entry point."""
    poll_in_one_thread()
    sys.exit(int(run(sys.argv[1:])))


if __name__ == "__main__":
    main()
