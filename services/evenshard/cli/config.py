"""``evenshard config``: every setting with its value here, its default, unit and effect."""

from collections.abc import Mapping
from typing import Any

from evenshard.cli.output import JsonOption, print_result
from evenshard.cli.settings import load_settings


def settings_document() -> dict[str, Any]:
    """All settings as this environment (``EVENSHARD_*``) sets them."""
    values = load_settings()
    listed = []
    for name, info in type(values).model_fields.items():
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        value = getattr(values, name)
        listed.append(
            {
                "name": name,
                "value": value,
                "default": info.default,
                "unit": extra.get("unit", ""),
                "effect": info.description or "",
            }
        )
    return {"settings": listed}


def _table(document: Mapping[str, Any]) -> str:
    lines = []
    for each in document["settings"]:
        changed = "" if each["value"] == each["default"] else f" (default {each['default']})"
        lines.append(f"{each['name']} = {each['value']} {each['unit']}{changed}\n    {each['effect']}")
    return "\n".join(lines)


def command(json_output: JsonOption = False) -> None:
    """Shows every setting: value, default, unit, effect."""
    print_result(settings_document(), as_json=json_output, human=_table)
