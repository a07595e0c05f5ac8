"""The port for fetching a file that a customer or a handset names by URL."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file with the type its bytes say it has (the server's word is not trusted)."""

    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class FetchFailed:
    """Why a file could not be fetched; `code` is the debugger's code."""

    code: int
    reason: str


class MediaFetcher(Protocol):
    """Fetch files from customers' addresses, guarded as callbacks are."""

    async def fetch(self, url: str, *, bytes_max: int) -> Fetched | FetchFailed:
        """Fetch one file; never raises for what the other side does."""
        ...
