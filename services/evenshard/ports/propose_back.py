"""What a source asks of the directory when it was fenced, and nothing followed."""

from typing import Protocol

from evenshard.ids import TenantId


class ProposeBack(Protocol):
    """Of one cluster."""

    async def propose_back(self, tenant: TenantId, operation: str, revision: int, timeout_s: float) -> int | None:
        """Lets the operation go back from fenced to catching up, by compare-and-swap on its record as of ``revision``.

        Returns the revision of the record's last change where it is not fenced any more and was not switched: by this
        call or another one. None: it was switched, or is fenced anew; who was fenced stays so. Raises
        ``DIRECTORY_UNAVAILABLE``: it is not known, ask again.
        """
        ...
