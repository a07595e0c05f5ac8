"""The ports of files: fetching what somebody names by URL, reading what is stored, making pictures smaller."""

from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a message as it is stored: `content_type` is what its bytes say."""

    sid: str
    content_type: str
    data: bytes


class MediaShelf(Protocol):
    """Read the files of messages, for carriers that carry bytes."""

    async def files_of(self, account_sid: str, message_sid: str) -> list[StoredFile]:
        """Return a message's files in the order in which they were attached."""
        ...


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was made anew."""

    content_type: str
    data: bytes


class PictureRefused(Exception):
    """A picture cannot be made what was asked for; the text says why."""


class Pictures(Protocol):
    """Make pictures smaller, away from the event loop and within bounds of time and memory."""

    async def shrink(self, data: bytes, *, bytes_max: int, side_max: int, types: Sequence[str]) -> Picture:
        """Return a picture of at most so many bytes, whose longer side has at most so many pixels, of one of the types.

        Raises: PictureRefused.
        """
        ...
