"""The port to the domain name system: where a name leads."""

from typing import Protocol


class DomainNames(Protocol):
    """Look names up."""

    async def leads_here(self, name: str) -> str:
        """Return why requests for a name do not come to this install, or "" where they do."""
        ...
