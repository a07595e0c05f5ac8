"""The mailboxes' own API: what arrived, bounces, settings, and mail to the operator. JSON, for a sandbox."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import unquote

from onterms.carriers.mailbox import store
from onterms.carriers.mailbox.mailbox import Mailbox
from onterms.carriers.mailbox.store import Box, Setting, StoredMail
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute

MAILS_MAX: Final = 1000
BOXES_MAX: Final = 1000
_DELAY_S_MAX: Final = 366 * 86_400
_BEHAVIOURS: Final = ("accept", "refuse", "bounce")
_ADDRESS: Final = re.compile(r"^[^@\s<>\"\0]{1,64}@[^@\s<>\"\0]{1,253}$")
_DIAGNOSTIC: Final = "smtp; 550 5.1.1 No such mailbox"


class MailboxApi:
    """The handlers behind `routes`."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def routes(self) -> list[OwnRoute]:
        """List the routes; only a sandbox mounts them."""
        base = "/simulator/v1/mailboxes"
        box = f"{base}/{{address}}"
        return [
            OwnRoute("GET", base, "machine", self.list_boxes, summary="List mailboxes with mail or a setting"),
            OwnRoute("GET", box, "machine", self.get_box, summary="Show how a mailbox behaves"),
            OwnRoute("POST", box, "machine", self.set_box, summary="Say how a mailbox behaves"),
            OwnRoute("DELETE", box, "machine", self.reset_box, summary="Let a mailbox behave as a new one"),
            OwnRoute("GET", f"{box}/messages", "machine", self.list_mails, summary="Read a mailbox"),
            OwnRoute("POST", f"{box}/messages", "machine", self.write, summary="Write to the operator from a mailbox"),
            OwnRoute("DELETE", f"{box}/messages", "machine", self.empty, summary="Empty a mailbox"),
            OwnRoute("POST", f"{box}/bounces", "machine", self.bounce, summary="Give up mails that were taken"),
        ]

    async def list_boxes(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """List mailboxes, the one with the newest mail first."""
        return OwnReply([_shown_box(box) for box in await store.boxes(tx, None, BOXES_MAX)])

    async def get_box(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Show how a mailbox behaves."""
        [box] = await store.boxes(tx, [_address(request)], 1)
        return OwnReply(_shown_box(box))

    async def set_box(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Say how a mailbox behaves from now on."""
        address = _address(request)
        _require_known(request.body, {"behaviour", "delay_s", "bounce_after_s"})
        behaviour = request.text("behaviour", default="accept")
        if behaviour not in _BEHAVIOURS:
            raise InvalidParameter(f"'behaviour' is one of {', '.join(_BEHAVIOURS)}")
        bounce_after_s = _seconds(request.body, "bounce_after_s")
        if bounce_after_s and behaviour != "bounce":
            raise InvalidParameter("'bounce_after_s' needs the behaviour 'bounce'")
        await store.set_setting(tx, address, Setting(behaviour, _seconds(request.body, "delay_s"), bounce_after_s))
        return await self.get_box(tx, request)

    async def reset_box(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Let a mailbox behave as a new one; its mails stay."""
        await store.delete_setting(tx, _address(request))
        return OwnReply(None, 204)

    async def list_mails(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """List what a mailbox took, oldest first."""
        after = request.query.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) <= 18):
            raise InvalidParameter("'after' must be the id of a mail")
        mails = await store.list_mails(tx, _address(request), int(after), MAILS_MAX)
        return OwnReply([_shown_mail(mail) for mail in mails])

    async def write(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Write to the operator's legal address from a mailbox."""
        _require_known(request.body, {"to", "subject", "body"})
        subject = request.text("subject", max_length=400)
        body = request.text("body")
        if not subject.isprintable() or "\0" in body:
            raise InvalidParameter("a mail is made of printable text")
        recipient = request.text("to", max_length=320)
        if not _ADDRESS.match(recipient):
            raise InvalidParameter("'to' must be an email address")
        sid = await self._mailbox.write(tx, _address(request), recipient, subject, body, request.at)
        return OwnReply({"notice_sid": sid}, 201)

    async def empty(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Empty a mailbox; its setting stays."""
        await store.empty(tx, _address(request))
        return OwnReply(None, 204)

    async def bounce(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Give up the mails named, or all there are."""
        _require_known(request.body, {"message_ids", "diagnostic"})
        address = _address(request)
        wanted = request.body.get("message_ids")
        if wanted is None:
            mails = await store.list_mails(tx, address, 0, MAILS_MAX)
            wanted = [mail.message_id for mail in mails if mail.bounced_at is None]
        if not isinstance(wanted, list) or not all(isinstance(one, str) and "\0" not in one for one in wanted):
            raise InvalidParameter("'message_ids' must be a list of strings")
        diagnostic = request.text("diagnostic", default=_DIAGNOSTIC, max_length=400).replace("\0", "")
        return OwnReply({"bounced": await self._mailbox.bounce(tx, address, wanted, diagnostic, request.at)}, 201)


def _address(request: OwnRequest) -> str:
    address = unquote(request.path["address"]).strip().lower()
    if not _ADDRESS.match(address):
        raise InvalidParameter("a mailbox is named by an email address")
    return address


def _require_known(body: Mapping[str, Any], known: set[str]) -> None:
    unknown = body.keys() - known
    if unknown:
        raise InvalidParameter(f"'{sorted(unknown)[0]}' is unknown; there are {', '.join(sorted(known))}")


def _seconds(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _DELAY_S_MAX:
        raise InvalidParameter(f"'{name}' must be a whole number of seconds from 0 to {_DELAY_S_MAX}")
    return value


def _shown_box(box: Box) -> dict[str, Any]:
    return {
        "address": box.address,
        "behaviour": box.setting.behaviour,
        "delay_s": box.setting.delay_s,
        "bounce_after_s": box.setting.bounce_after_s,
        "messages": box.mails,
        "last_at": _time(box.last_at),
    }


def _shown_mail(mail: StoredMail) -> dict[str, Any]:
    return {
        "id": mail.id,
        "message_id": mail.message_id,
        "from": mail.sender,
        "to": mail.address,
        "subject": mail.subject,
        "body": mail.body,
        "attachments": list(mail.attachments),
        "raw": mail.raw.decode("ascii", "replace"),
        "at": _time(mail.at),
        "bounced_at": _time(mail.bounced_at),
    }


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
