"""``evenshard version``: the version, and the formats it writes."""

from evenshard import __version__
from evenshard.cli.output import JsonOption, print_result


def command(json_output: JsonOption = False) -> None:
    """Shows the version and the formats it writes."""
    from evenshard.events.hashing import HASH_VERSION
    from evenshard.storage.catalog import FORMAT_VERSION

    print_result(
        {"version": __version__, "format_version": FORMAT_VERSION, "hash_version": HASH_VERSION},
        as_json=json_output,
        human=lambda it: (
            f"evenshard {it['version']} (storage format {it['format_version']}, hash {it['hash_version']})"
        ),
    )
