"""A start's first meeting with etcd: waits for it, says for what and until when, and refuses one that may lose data."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from evenshard.errors import EvenshardError
from evenshard.runtime.etcd import EtcdDirectory
from evenshard.runtime.etcd_binary import INCONSISTENT_VERSIONS
from evenshard.runtime.etcd_members import EtcdTls
from evenshard.runtime.logs import logger
from evenshard.runtime.settings import Settings

SAY_AFTER_S: Final = 0.5
SAY_EVERY_S: Final = 5.0
VERSION_MIN: Final = (3, 4)


def etcd_tls(settings: Settings) -> EtcdTls | None:
    """As the settings name it; ``None``: no file is named, and the endpoints decide. Raises ``USAGE``."""
    files = {name: str(getattr(settings, name)) for name in ("etcd_ca_file", "etcd_cert_file", "etcd_key_file")}
    if not any(files.values()):
        return None
    if bool(files["etcd_cert_file"]) != bool(files["etcd_key_file"]):
        raise EvenshardError(
            "USAGE", "only one of etcd_cert_file and etcd_key_file is set", hint="set both, or neither"
        )
    ca, cert, key = (Path(file) if file else None for file in files.values())
    return EtcdTls(ca, cert, key)


async def await_directory(
    directory: EtcdDirectory, endpoints: Sequence[str], key: str, settings: Settings, say: Callable[[str], None]
) -> None:
    """Returns when ``key`` could be read. ``say`` is told what is waited for. Raises ``DIRECTORY_UNAVAILABLE`` after
    ``etcd_wait_seconds``, and ``DIRECTORY_UNSUITABLE``."""
    saying = asyncio.create_task(_say_what_is_waited_for(endpoints, settings.etcd_wait_seconds, say))
    try:
        await directory.get(key, timeout_s=settings.etcd_wait_seconds)
    except EvenshardError as error:
        if error.code != "DIRECTORY_UNAVAILABLE":
            raise
        raise EvenshardError(
            "DIRECTORY_UNAVAILABLE",
            error.message,
            hint="start etcd, or name where it is: ETCD_ENDPOINTS; how long a start waits: EVENSHARD_ETCD_WAIT_SECONDS",
        ) from error
    finally:
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)
    say("")
    refuse_unsuitable(await directory.versions(), crash_safe=settings.etcd_crash_safe)


async def _say_what_is_waited_for(endpoints: Sequence[str], wait_s: float, say: Callable[[str], None]) -> None:
    """For as long as it is waited for; an etcd that answers at once is not worth a word."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + wait_s
    await asyncio.sleep(SAY_AFTER_S)
    where = ", ".join(endpoints)
    say(f"waiting for etcd at {where}")
    while True:
        logger().warning("waiting for etcd", endpoints=where, gives_up_in_s=round(until_s - loop.time(), 1))
        await asyncio.sleep(SAY_EVERY_S)


def refuse_unsuitable(versions: Mapping[str, str], *, crash_safe: bool) -> None:
    """``versions`` by member. Raises ``DIRECTORY_UNSUITABLE`` naming the first member whose version is too old or, with
    ``crash_safe``, can lose consistency in a crash."""
    for address, version in sorted(versions.items()):
        numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
        if numbers < VERSION_MIN:
            raise EvenshardError("DIRECTORY_UNSUITABLE", f"etcd at {address} is {version}: older than 3.4")
        if crash_safe and version in INCONSISTENT_VERSIONS:
            raise EvenshardError(
                "DIRECTORY_UNSUITABLE",
                f"etcd at {address} is {version}, which can lose consistency when it is killed (etcd_crash_safe is on)",
            )
