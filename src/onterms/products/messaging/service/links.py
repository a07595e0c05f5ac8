"""Short links: made when a message is accepted, followed by whoever clicks, reported to the customer."""

import re
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.core.errors import NotFound
from onterms.engines import jobs
from onterms.products.messaging import errors, store
from onterms.products.messaging.model.links import ShortLink
from onterms.products.messaging.service.deliver import idempotency_token
from onterms.products.messaging.store import domains, pools

LINK_CLICKED = "messaging.link_clicked"
# Twilio docs, Link Shortening: ten letters and digits.
CODE_CHARS = 10
# Ours: what browsers and webhooks bear.
LINK_CHARS_MAX = 4096
_ALPHABET = string.ascii_letters + string.digits
_LINK = re.compile(r"https?://[^\s<>\"]+", re.IGNORECASE)
# What stands after an address in a sentence.
_AFTER = ".,;:!?)]}'"


@dataclass(frozen=True, slots=True)
class Shortener:
    """Shortens by an account's domain. Shapes: `address_of` makes the address of a code at this install's door."""

    address_of: Callable[[str], str]
    domain: Row

    def shorten(self, body: str) -> tuple[str, tuple[ShortLink, ...]]:
        """Replace every link of a text.

        Raises: LinksNotShortened for a link that is too long, unless the domain says to go on then.
        """
        made: list[ShortLink] = []

        def replace(match: re.Match[str]) -> str:
            found = match[0].rstrip(_AFTER)
            if len(found) > LINK_CHARS_MAX:
                if self.domain["continue_on_failure"]:
                    return match[0]
                raise errors.LinksNotShortened(f"A link of more than {LINK_CHARS_MAX} characters is not shortened")
            made.append(self.short_link(found))
            return made[-1].short_link + match[0][len(found) :]

        return _LINK.sub(replace, body), tuple(made)

    def short_link(self, link: str, *, reports: bool = True) -> ShortLink:
        """Make the short link of one."""
        code = "".join(secrets.choice(_ALPHABET) for _ in range(CODE_CHARS))
        name = self.domain["domain_name"]
        address = f"https://{name}/{code}" if name else self.address_of(code)
        if self.domain["disable_https"]:
            # Twilio docs, Domain Config: without the scheme in front.
            address = address.partition("://")[2]
        return ShortLink(code, address, link, reports)


async def follow(tx: Tx, code: str, user_agent: str, at: datetime, host: str = "") -> str:
    """Return where a short link leads and report the click.

    Raises: NotFound for a code that never was, or ran out where the domain has no fallback.
    """
    link = await pools.find_link(tx, code) if len(code) == CODE_CHARS else None
    if link is None:
        # Twilio docs, Domain Config: what a domain does not know goes to its fallback.
        fallback = await domains.fallback_of(tx, host) if host else None
        if fallback is not None:
            return fallback
        raise NotFound("There is no such link")
    if link["expires_at"] <= at:
        if link["fallback_url"]:
            return str(link["fallback_url"])
        raise NotFound("This link has expired")
    if link["callback_url"] and link["reports"]:
        payload = {
            "code": code,
            "at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "user_agent": user_agent,
            "token": idempotency_token(),
        }
        await jobs.enqueue(tx, [jobs.NewJob(LINK_CLICKED, payload, account_sid=link["account_sid"])], at)
    return str(link["link"])


async def click_of(tx: Tx, account_sid: str, payload: Mapping[str, Any]) -> tuple[str, dict[str, str]] | None:
    """Return where to report a click, and what to say of it; None where nobody wants to know any more."""
    link = await pools.find_link(tx, payload["code"])
    if link is None or not link["callback_url"] or link["account_sid"] != account_sid:
        return None
    message = await store.fetch(tx, account_sid, link["message_sid"])
    if message is None:
        return None
    return link["callback_url"], {
        "event_type": "click",
        "account_sid": account_sid,
        "message_sid": link["message_sid"],
        "sms_sid": link["message_sid"],
        "messaging_service_sid": message["messaging_service_sid"] or "",
        "to": message["recipient"],
        "from": message["sender"],
        "link": link["link"],
        "shortened_link": link["short_link"],
        "click_time": payload["at"],
        "user_agent": payload["user_agent"],
    }
