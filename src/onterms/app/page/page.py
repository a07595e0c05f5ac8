"""The page's routes."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import jinja2

from onterms.app.page import reading, snippets
from onterms.app.page.contract import contract_of
from onterms.app.page.facts import PageFacts
from onterms.app.page.session import Sessions
from onterms.app.page.stream import stream
from onterms.core.clock import Clock
from onterms.core.db import Database, Tx
from onterms.core.errors import Forbidden, InvalidParameter, NotFound, Unavailable
from onterms.core.ids import SID
from onterms.engines.api import OwnReply, OwnRequest, OwnRoute
from onterms.engines.log import Live, Subscription

_ASSETS: Final = Path(__file__).parent / "assets"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_SECURITY: Final = (
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_FRESH: Final = (*_SECURITY, ("Cache-Control", "no-store"))
# The address of an asset changes with its content.
_LASTING: Final = (*_SECURITY, ("Cache-Control", "public, max-age=31536000, immutable"))
# A customer's file can be HTML or SVG with scripts; opened by itself it must do nothing here.
_FILE: Final = (
    ("Content-Security-Policy", "sandbox; default-src 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "private, max-age=3600"),
)
_SHOWN_IMAGES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp"})

STATUSES: Final = (
    "accepted",
    "scheduled",
    "queued",
    "sending",
    "sent",
    "delivered",
    "undelivered",
    "failed",
    "read",
    "canceled",
    "received",
)
PAGE_DEFAULT: Final = 25
PAGE_MAX: Final = 100
ALERTS_MAX: Final = 20
# Each open page holds one; a handful of people look at an installation at once.
STREAMS_MAX: Final = 64
_NUMBER_CHARS_MAX: Final = 64


class Page:
    """The page at `/` and what it reads, for visitors on this machine and for the operator.

    `facts` tells which account is shown; a caller with an account's own credentials is shown that account instead.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        live: Live,
        *,
        version: str,
        facts: Callable[[Tx], Awaitable[PageFacts]],
        session_key: bytes,
        check_operator: Callable[[str], Awaitable[bool]],
        session_clock: Clock | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._live = live
        self._version = version
        self._facts = facts
        # Whoever showed the key here need not show it on the operator's pages again, and the other way round.
        self.sessions = self._sessions = Sessions(session_key, session_clock or clock, check_operator)
        self._streams = 0
        self._following: set[Subscription] = set()
        self._is_ending = False
        self._files = {
            path.name: (path.read_bytes(), _TYPES[path.suffix])
            for path in sorted(_ASSETS.iterdir())
            if path.suffix in _TYPES
        }
        digest = hashlib.sha256()
        for name, (content, _) in self._files.items():
            digest.update(name.encode() + b"\0" + content)
        self.build = self._build = digest.hexdigest()[:12]
        templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_ASSETS),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._index = templates.get_template("index.html")
        self._sign_in = templates.get_template("signin.html")

    def routes(self) -> list[OwnRoute]:
        """List the routes."""
        api = "/console/v1"
        return [
            OwnRoute("GET", "/", "open", self.show, summary="The first page"),
            OwnRoute("GET", "/favicon.ico", "open", free_handler=self.favicon, summary="The first page's sign"),
            OwnRoute(
                "GET",
                "/console/assets/{build}/{name}",
                "open",
                free_handler=self.asset,
                summary="What the first page is made of",
            ),
            OwnRoute(
                "POST",
                f"{api}/session",
                "open",
                free_handler=self._sessions.sign_in,
                body_bytes_max=4096,
                summary="Sign in with the operator key",
            ),
            OwnRoute("DELETE", f"{api}/session", "open", free_handler=self._sessions.sign_out, summary="Sign out"),
            OwnRoute("POST", f"{api}/credentials", "sandbox", self.credentials, summary="Show the auth tokens"),
            OwnRoute("GET", f"{api}/messages", "sandbox", self.messages, summary="List messages for the page"),
            OwnRoute("GET", f"{api}/messages/{{sid}}", "sandbox", self.message, summary="A message's timeline"),
            OwnRoute(
                "GET", f"{api}/messages/{{sid}}/media/{{media_sid}}", "sandbox", self.file, summary="A message's file"
            ),
            OwnRoute("GET", f"{api}/alerts", "sandbox", self.alerts, summary="List alerts for the page"),
            OwnRoute("GET", f"{api}/events", "sandbox", free_handler=self.events, summary="What happens, live"),
        ]

    def session_valid(self, headers: Mapping[bytes, bytes]) -> bool:
        """Tell whether a request carries the cookie of somebody who showed the operator key."""
        return self._sessions.valid(headers)

    def end_streams(self) -> None:
        """End what open pages listen to and take no more of it, so that the listeners can stop without waiting."""
        self._is_ending = True
        for subscription in list(self._following):
            subscription.close()

    # ---- the page

    async def show(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Show the page, or to a stranger the sign-in."""
        if not (request.local or request.operator):
            return _html(self._sign_in.render(build=self._build))
        facts = await self._facts(tx)
        example = snippets.send(
            facts.base_url,
            facts.account_sid,
            sender=facts.number,
            recipient=facts.handset or "+15005550006",
            body="Hello from onterms",
        )
        return _html(
            self._index.render(
                build=self._build,
                version=self._version,
                facts=facts,
                example=example["python"],
                statuses=STATUSES,
                signed_in=not request.local,
                contract=await contract_of(tx, facts.account_sid, request.at),
            )
        )

    async def favicon(self, request: OwnRequest) -> OwnReply:
        """Serve the sign to whoever asks by the old name."""
        content, content_type = self._files["logo.svg"]
        return OwnReply(None, headers=_SECURITY, raw=content, content_type=content_type)

    async def asset(self, request: OwnRequest) -> OwnReply:
        """Serve a file of the page."""
        found = self._files.get(request.path["name"])
        if found is None:
            raise NotFound("There is no such file")
        # A page that was open over an upgrade gets today's file, but must not keep it under yesterday's address.
        headers = _LASTING if request.path["build"] == self._build else _FRESH
        return OwnReply(None, headers=headers, raw=found[0], content_type=found[1])

    # ---- what it reads

    async def credentials(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Show the auth tokens of the account that the page shows."""
        if request.caller is not None:
            raise Forbidden("Only the operator may read auth tokens here")
        facts = await self._facts(tx)
        return OwnReply({"auth_token": facts.auth_token, "test_auth_token": facts.test_auth_token}, headers=_FRESH)

    async def messages(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """List messages, newest first: `number`, `status`, `before`, `limit`."""
        account_sid, facts = await self._account(tx, request)
        query = request.query
        number = query.get("number") or None
        if number is not None and (len(number) > _NUMBER_CHARS_MAX or not number.isprintable()):
            raise InvalidParameter("'number' is a phone number or a sender's name")
        status = query.get("status") or None
        if status is not None and status not in STATUSES:
            raise InvalidParameter(f"'status' is one of {', '.join(STATUSES)}")
        before = query.get("before") or None
        if before is not None and SID.match(before) is None:
            raise InvalidParameter("'before' is the SID of a message")
        limit = _limit(query)
        found = await reading.messages(
            tx,
            account_sid,
            number=number,
            # The numbers of another caller's account are not among the facts.
            number_is_ours=request.caller is not None or number in facts.numbers,
            status=status,
            before=before,
            limit=limit + 1,
        )
        return OwnReply({"messages": found[:limit], "has_more": len(found) > limit}, headers=_FRESH)

    async def message(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Show a message, its timeline and code that sends it again; of a deleted one the timeline."""
        sid = _sid(request, "sid")
        account_sid, facts = await self._account(tx, request)
        found = await reading.message(tx, account_sid, sid)
        timeline = await reading.timeline(tx, account_sid, sid, found[1] if found is not None else None)
        if found is None and not timeline:
            raise NotFound(f"Message {sid} was not found")
        if found is None:
            return OwnReply({"message": None, "timeline": timeline, "snippets": None}, headers=_FRESH)
        shown, row = found
        code: dict[str, str] | None
        if row["direction"] != "inbound":
            code = snippets.send(
                facts.base_url,
                account_sid,
                sender=row["sender"],
                recipient=row["recipient"],
                body=row["body"],
                media_urls=row["media_urls"] or (),
                status_callback=row["status_callback"],
            )
        elif facts.handset and row["body"]:
            code = snippets.receive(facts.base_url, handset=row["sender"], recipient=row["recipient"], body=row["body"])
        else:
            code = None
        return OwnReply({"message": shown, "timeline": timeline, "snippets": code}, headers=_FRESH)

    async def file(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Serve a message's file: an image as one, anything else to be saved."""
        account_sid, _ = await self._account(tx, request)
        found = await reading.file(tx, account_sid, _sid(request, "sid"), _sid(request, "media_sid"))
        if found is None:
            raise NotFound("The message has no such file")
        if found["content_type"] in _SHOWN_IMAGES:
            return OwnReply(None, headers=_FILE, raw=found["data"], content_type=found["content_type"])
        headers = (*_FILE, ("Content-Disposition", "attachment"))
        return OwnReply(None, headers=headers, raw=found["data"], content_type="application/octet-stream")

    async def alerts(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """List the newest alerts."""
        account_sid, _ = await self._account(tx, request)
        return OwnReply({"alerts": await reading.alerts(tx, account_sid, ALERTS_MAX)}, headers=_FRESH)

    async def events(self, request: OwnRequest) -> OwnReply:
        """Tell the page what happens as it happens."""
        if self._is_ending:
            raise Unavailable("The server is stopping", headers=(("Retry-After", "5"),))
        if self._streams >= STREAMS_MAX:
            raise Unavailable("Too many pages are open", headers=(("Retry-After", "5"),))
        async with self._database.transaction() as tx:
            account_sid, _ = await self._account(tx, request)
        headers = (*_FRESH, ("X-Accel-Buffering", "no"))
        return OwnReply(None, headers=headers, content_type="text/event-stream", stream=self._counted(account_sid))

    async def _counted(self, account_sid: str) -> AsyncIterator[bytes]:
        self._streams += 1
        chunks = stream(self._live, account_sid, self._clock, following=self._following)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            self._streams -= 1
            # The inner generator holds the subscription, and nobody else would end it before the garbage collector.
            closing: Any = chunks
            await asyncio.shield(closing.aclose())

    async def _account(self, tx: Tx, request: OwnRequest) -> tuple[str, PageFacts]:
        facts = await self._facts(tx)
        return (facts.account_sid if request.caller is None else request.caller.account.sid), facts


def _html(text: str) -> OwnReply:
    return OwnReply(None, headers=_FRESH, raw=text.encode(), content_type="text/html; charset=utf-8")


def _sid(request: OwnRequest, name: str) -> str:
    sid = request.path[name]
    if SID.match(sid) is None:
        raise NotFound("There is no such message")
    return sid


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit")
    if not text:
        return PAGE_DEFAULT
    if not (text.isascii() and text.isdigit() and len(text) <= 4) or int(text) < 1:
        raise InvalidParameter("'limit' must be a whole number from 1")
    return min(int(text), PAGE_MAX)
