"""The registrar's own API in a sandbox: the texts that owners of brands get, and what they answer."""

from datetime import datetime
from typing import Annotated
from urllib.parse import unquote

from msgspec import Meta, field

from onterms.carriers.registrar import store
from onterms.core.db import Tx
from onterms.core.errors import NotFound
from onterms.engines.api.own import OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, Shape, whole

_BASE = "/simulator/v1/registrar/texts"


class TextShown(Shape):
    """A text from the registry."""

    number: str = field(name="to")
    brand_sid: str
    body: str
    sent_at: datetime
    answer: str
    answered_at: datetime | None


class TextAnswer(Shape):
    """What the owner answers."""

    body: Annotated[str, Meta(max_length=160)]


class SimulatedRegistrarApi:
    """The routes."""

    def routes(self) -> list[OwnRoute]:
        """Return the routes."""
        return [
            OwnRoute(
                "GET", f"{_BASE}/{{number}}", "sandbox", self.list, summary="What the registry texted to a number"
            ),
            OwnRoute("POST", f"{_BASE}/{{number}}", "sandbox", self.answer, summary="Answer the registry's last text"),
        ]

    async def list(self, tx: Tx, request: OwnRequest, number: str) -> Items[TextShown]:
        """List the texts to a number."""
        return whole([TextShown.of(row) for row in await store.of_number(tx, unquote(number))])

    async def answer(self, tx: Tx, request: OwnRequest, number: str, body: TextAnswer) -> Items[TextShown]:
        """Answer the last text."""
        if not await store.answer(tx, unquote(number), body.body, request.at):
            raise NotFound(f"The registry texted nobody at {unquote(number)[:20]}")
        return whole([TextShown.of(row) for row in await store.of_number(tx, unquote(number))])
