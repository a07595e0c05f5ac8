"""Signed, expiring links to stored media: what carriers, handsets and redirects of the media resource use."""

import hmac
from datetime import timedelta

from onterms.core.clock import Clock
from onterms.core.db import Tx
from onterms.core.errors import Forbidden, NotFound
from onterms.core.vault import Vault
from onterms.engines.api import OwnReply, OwnRequest, OwnRoute
from onterms.products import messaging

# Ours: long enough for a handset that is fetched from again the next day.
LINK_LIFE = timedelta(hours=48)


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

    def short(self, code: str) -> str:
        """Return the address under which a short link is followed."""
        return f"{self.base_url}/l/{code}"

    def _sign(self, path: str, expires: int) -> str:
        return self._vault.mac("media link", f"{path} {expires}".encode()).hex()

    def routes(self) -> list[OwnRoute]:
        """Return the route that serves the files."""
        pattern = "/media/{account_sid}/{message_sid}/{sid}"
        return [OwnRoute("GET", pattern, "open", self.serve, summary="Fetch a message's file by its signed link")]

    async def serve(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Serve one file, as a download of exactly the type its bytes have.

        Raises: Forbidden for a link that is not ours or has expired, NotFound.
        """
        expires = request.query.get("expires", "")
        path = "/media/{account_sid}/{message_sid}/{sid}".format(**request.path)
        if not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
            raise Forbidden("This link is not valid")
        signature = request.query.get("signature", "").encode()
        if not hmac.compare_digest(self._sign(path, int(expires)).encode(), signature):
            raise Forbidden("This link is not valid")
        if int(expires) < self._clock.now().timestamp():
            raise Forbidden("This link has expired")
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
