"""The settings of this environment, and those given by ``--set``, checked."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from evenshard.errors import EvenshardError, FieldFault

if TYPE_CHECKING:
    from pydantic import ValidationError

    from evenshard.runtime.settings import Settings

ENVIRONMENT_PREFIX: Final = "EVENSHARD_"


def load_settings() -> "Settings":
    """From ``EVENSHARD_*``; raises ``USAGE`` naming each one that is wrong."""
    from pydantic import ValidationError

    from evenshard.runtime.settings import Settings

    try:
        return Settings()
    except ValidationError as invalid:
        raise _usage(invalid, "a setting in the environment is wrong", ENVIRONMENT_PREFIX) from invalid


def parse_settings(assignments: Sequence[str]) -> Mapping[str, str]:
    """``KEY=VALUE…`` as environment variables; raises ``USAGE`` for an unknown key or a value that does not fit."""
    from pydantic import ValidationError

    from evenshard.runtime.settings import Settings

    given: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        name = name.strip().lower()
        if not equals or name not in Settings.model_fields:
            problem = "unknown setting" if equals else "expected KEY=VALUE"
            raise EvenshardError("USAGE", f"--set {assignment}: {problem}", hint="see: evenshard config")
        given[name] = value.strip()
    try:
        Settings(**given)
    except ValidationError as invalid:
        raise _usage(invalid, "a setting given by --set is wrong", "") from invalid
    return {f"{ENVIRONMENT_PREFIX}{name.upper()}": value for name, value in given.items()}


def _usage(invalid: "ValidationError", message: str, prefix: str) -> EvenshardError:
    faults = [
        FieldFault(prefix + str(each["loc"][0]).upper() if prefix else str(each["loc"][0]), each["msg"])
        for each in invalid.errors()
    ]
    return EvenshardError("USAGE", message, hint="see: evenshard config", fields=faults)
