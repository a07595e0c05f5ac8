"""Posting letters, and reading what arrived. JSON, for a sandbox."""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

from onterms.carriers.letterbox import store
from onterms.core.db import Tx
from onterms.engines.api.own import OwnRoute
from onterms.engines.api.shapes import Shape

LETTERS_MAX: Final = 1000


class LettersQuery(Shape):
    """To which address."""

    address: Annotated[str, Meta(min_length=1)]


class Letter(Shape):
    """A letter on paper."""

    id: int
    text: str
    sent_at: datetime


class Letterbox:
    """Every address there is, and the letters that came to it."""

    async def post(self, tx: Tx, customer_sid: str, address: str, code: str, at: datetime) -> None:
        """Post a letter with a code to an address, with the transaction."""
        await store.insert(tx, address, f"Your code is {code}.", at)

    def routes(self) -> list[OwnRoute]:
        """List the routes; only a sandbox mounts them."""
        return [OwnRoute("GET", "/simulator/v1/letters", "machine", self.list_letters, summary="Read letters on paper")]

    async def list_letters(self, tx: Tx, query: LettersQuery) -> list[Letter]:
        """List the letters that came to an address, oldest first."""
        return [Letter(*letter) for letter in await store.letters(tx, query.address, LETTERS_MAX)]
