"""Signed, expiring links to stored media, for carriers, handsets and redirects, and to reports of dead numbers."""

import hmac
import re
from datetime import date, timedelta

from onterms.core.clock import Clock
from onterms.core.db import Database, Tx
from onterms.core.errors import Forbidden, NotFound
from onterms.core.vault import Vault
from onterms.engines.api import OwnReply, OwnRequest, OwnRoute
from onterms.ports.media import StoredFile
from onterms.products import messaging

# Ours: long enough for a handset that is fetched from again the next day.
LINK_LIFE = timedelta(hours=48)
# Twilio docs, Deactivations resource: valid for up to two minutes.
REPORT_LIFE = timedelta(minutes=2)


class MediaShelf:
    """The files of messages as carriers of bytes read them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def files_of(self, account_sid: str, message_sid: str) -> list[StoredFile]:
        """Return a message's files in the order in which they were attached."""
        async with self._database.snapshot() as tx:
            rows = await messaging.files_of(tx, account_sid, message_sid)
        return [StoredFile(row["sid"], row["content_type"], row["data"]) for row in rows]


_ADDRESS = re.compile(
    r"/2010-04-01/Accounts/(AC[0-9a-f]{32})/Messages/([SM]M[0-9a-f]{32})/Media/(ME[0-9a-f]{32})"
).fullmatch


class OpenMedia:
    """Files whose accounts let anybody fetch them who knows the address, as Twilio's setting has it."""

    def __init__(self, database: Database, links: "SignedMediaLinks") -> None:
        self._database = database
        self._links = links

    async def link(self, path: str) -> str | None:
        """Return the link of a file that takes no credentials; None for everything else."""
        address = _ADDRESS(path)
        if address is None:
            return None
        account_sid, message_sid, sid = address.groups()
        async with self._database.snapshot() as tx:
            kept = await messaging.keeping_of(tx, account_sid)
            if kept.requires_auth or await messaging.fetch_media(tx, account_sid, message_sid, sid) is None:
                return None
        return self._links.link(account_sid, message_sid, sid)


class SignedMediaLinks:
    """Make the links and serve what they point to."""

    def __init__(self, vault: Vault, clock: Clock, base_url: str) -> None:
        self._vault = vault
        self._clock = clock
        self.base_url = base_url

    def link(self, account_sid: str, message_sid: str, sid: str) -> str:
        """Return a signed, expiring URL."""
        expires = int((self._clock.now() + LINK_LIFE).timestamp())
        path = f"/media/{account_sid}/{message_sid}/{sid}"
        return f"{self.base_url}{path}?expires={expires}&signature={self._sign(path, expires)}"

    def report(self, day: date) -> str:
        """Return a signed, expiring URL of the numbers that were taken out of service on a day."""
        expires = int((self._clock.now() + REPORT_LIFE).timestamp())
        path = f"/deactivations/{day.isoformat()}"
        return f"{self.base_url}{path}?expires={expires}&signature={self._sign(path, expires)}"

    def short(self, code: str) -> str:
        """Return the address under which a short link is followed."""
        return f"{self.base_url}/l/{code}"

    def _sign(self, path: str, expires: int) -> str:
        return self._vault.mac("media link", f"{path} {expires}".encode()).hex()

    def routes(self) -> list[OwnRoute]:
        """Return the routes that serve the files."""
        pattern = "/media/{account_sid}/{message_sid}/{sid}"
        return [
            OwnRoute("GET", pattern, "open", self.serve, summary="Fetch a message's file by its signed link"),
            OwnRoute("GET", "/deactivations/{day}", "open", self.serve_report, summary="Fetch a report by its link"),
        ]

    async def serve_report(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Serve the report of a day. Raises: Forbidden for a link that is not ours or has expired."""
        self._require(f"/deactivations/{request.path['day']}", request)
        raw = await messaging.deactivation_report(tx, date.fromisoformat(request.path["day"]))
        headers = (("X-Content-Type-Options", "nosniff"), ("Cache-Control", "private, no-store"))
        return OwnReply(None, raw=raw, content_type="text/plain; charset=utf-8", headers=headers)

    def _require(self, path: str, request: OwnRequest) -> None:
        expires = request.query.get("expires", "")
        if not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
            raise Forbidden("This link is not valid")
        signature = request.query.get("signature", "").encode()
        if not hmac.compare_digest(self._sign(path, int(expires)).encode(), signature):
            raise Forbidden("This link is not valid")
        if int(expires) < self._clock.now().timestamp():
            raise Forbidden("This link has expired")

    async def serve(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Serve one file, as a download of exactly the type its bytes have.

        Raises: Forbidden for a link that is not ours or has expired, NotFound.
        """
        self._require("/media/{account_sid}/{message_sid}/{sid}".format(**request.path), request)
        media = await messaging.fetch_media(
            tx, request.path["account_sid"], request.path["message_sid"], request.path["sid"]
        )
        if media is None:
            raise NotFound("This file was deleted")
        return OwnReply(
            None,
            raw=media["data"],
            content_type=media["content_type"],
            headers=(
                ("X-Content-Type-Options", "nosniff"),
                ("Content-Security-Policy", "default-src 'none'; sandbox"),
                ("Cache-Control", "private, max-age=3600"),
            ),
        )
