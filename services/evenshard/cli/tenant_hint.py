"""Helps with a tenant that does not exist: says how to make it, and which ones are named nearly so."""

import difflib
import os
import re
from collections.abc import Sequence
from typing import Final

from evenshard.cli.output import ROUTER_DEFAULT
from evenshard.errors import EvenshardError

_NAME: Final = re.compile(r"no tenant '([a-z0-9][a-z0-9_-]{0,62})'")
_WAIT_S: Final = 2.0
_NEAR_MAX: Final = 3


def router_of(arguments: Sequence[str]) -> str:
    """The router that a command line names, else where one is by default."""
    for at, word in enumerate(arguments):
        if word == "--router" and at + 1 < len(arguments):
            return arguments[at + 1]
        if word.startswith("--router="):
            return word.removeprefix("--router=")
    return os.environ.get("EVENSHARD_ROUTER") or ROUTER_DEFAULT


def with_tenant_hint(error: EvenshardError, router: str) -> EvenshardError:
    """The error, with a hint of its own where its tenant is unknown. Asks ``router`` for the names there are."""
    found = _NAME.search(error.message)
    if error.code != "TENANT_NOT_FOUND" or found is None:
        return error
    name = found[1]
    near = difflib.get_close_matches(name, _tenants(router), n=_NEAR_MAX)
    meant = f"did you mean {' or '.join(near)}? else " if near else ""
    error.hint = f"{meant}create it: evenshard admin create-tenant {name}"
    return error


def _tenants(router: str) -> list[str]:
    """None where they cannot be told: this is only a help."""
    from evenshard.client import connect

    try:
        with connect(router, timeout=_WAIT_S) as client:
            return [each["tenant"] for each in client.tenants()["tenants"]]
    except EvenshardError:
        return []
