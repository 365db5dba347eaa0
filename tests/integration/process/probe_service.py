"""A service of every kind that serves only the probe: ``probe_service.py serve KIND …``.

``EVENSHARD_PROBE_START`` makes it fail: ``refuse`` with an error of ours, ``crash`` with a defect, ``hang`` for ever,
each only where the name is the one after ``@`` (``refuse@shard-1``).
"""

import asyncio
import importlib
import os
import sys
import types

from evenshard.cli import main as command_line
from evenshard.errors import EvenshardError
from evenshard.runtime.service import Ports, Running, ServiceOptions
from evenshard.testing.probe import Probe

FAULT_VARIABLE = "EVENSHARD_PROBE_START"
CLOSED_FILE = "closed"
"""Written into the data directory by a clean stop."""


async def build(ports: Ports, options: ServiceOptions) -> Running:
    """The probe, ready at once."""
    fault, _, name = os.environ.get(FAULT_VARIABLE, "").partition("@")
    if name == options.name:
        match fault:
            case "refuse":
                raise EvenshardError("DATA_DAMAGED", "frame 3 is damaged", details={"file": "log/0001"})
            case "crash":
                raise ZeroDivisionError("crashed as told")
            case "hang":
                await asyncio.Event().wait()

    async def close() -> None:
        if options.data_dir is not None:
            (options.data_dir / CLOSED_FILE).write_text(str(os.getpid()))

    return Running([Probe().servicer()], close)


def main() -> None:
    """Puts the probe where ``serve`` looks for the service."""
    kind = sys.argv[sys.argv.index("serve") + 1]
    name = f"evenshard.{kind}.build"
    module = types.ModuleType(name)
    module.build = build  # type: ignore[attr-defined]
    importlib.import_module(f"evenshard.{kind}")
    sys.modules[name] = module
    command_line.main()


if __name__ == "__main__":
    main()
