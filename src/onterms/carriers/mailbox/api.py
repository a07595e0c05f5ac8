"""The mailboxes' own API: what arrived, bounces, settings, and mail to the operator. JSON, for a sandbox."""

import re
from datetime import datetime
from typing import Annotated, Final, Literal
from urllib.parse import unquote

from msgspec import Meta, field

from onterms.carriers.mailbox import store
from onterms.carriers.mailbox.mailbox import Mailbox
from onterms.carriers.mailbox.store import Box, Setting, StoredMail
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api.own import Created, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Shape

MAILS_MAX: Final = 1000
BOXES_MAX: Final = 1000
_DELAY_S_MAX: Final = 366 * 86_400
_ADDRESS: Final = re.compile(r"^[^@\s<>\"\0]{1,64}@[^@\s<>\"\0]{1,253}$")
_DIAGNOSTIC: Final = "smtp; 550 5.1.1 No such mailbox"


_Seconds = Annotated[int, Meta(ge=0, le=_DELAY_S_MAX)]


class NewMailboxSetting(Shape):
    """How the server of an address treats mail: `bounce` takes it and gives it up after a while."""

    behaviour: Literal["accept", "refuse", "bounce"] = "accept"
    delay_s: _Seconds = 0
    bounce_after_s: _Seconds = 0


class MailsQuery(Shape):
    """Mails after the one of an id."""

    after: Annotated[int, Meta(ge=0, lt=10**18)] = 0


class NewMail(Shape):
    """A mail to the operator."""

    to: Annotated[str, Meta(max_length=320)]
    subject: Annotated[str, Meta(max_length=400)]
    body: str


class Bounces(Shape):
    """The mails that are given up, all where none are named."""

    message_ids: list[str] | None = None
    diagnostic: Annotated[str, Meta(max_length=400)] = _DIAGNOSTIC


class BoxShown(Shape):
    """A mailbox."""

    address: str
    behaviour: str
    delay_s: int
    bounce_after_s: int
    mails: int = field(name="messages")
    last_at: datetime | None


class MailShown(Shape):
    """A mail that a mailbox took."""

    id: int
    message_id: str
    sender: str = field(name="from")
    address: str = field(name="to")
    subject: str
    body: str
    attachments: list[dict[str, str | int]]
    raw: str
    at: datetime
    bounced_at: datetime | None


class MailWritten(Shape):
    """The notice that the operator made of a mail."""

    notice_sid: str | None


class Bounced(Shape):
    """The message ids of the mails that were given up."""

    bounced: list[str]


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

    async def list_boxes(self, tx: Tx) -> list[BoxShown]:
        """List mailboxes, the one with the newest mail first."""
        return [_shown_box(box) for box in await store.boxes(tx, None, BOXES_MAX)]

    async def get_box(self, tx: Tx, address: str) -> BoxShown:
        """Show how a mailbox behaves."""
        [box] = await store.boxes(tx, [_address(address)], 1)
        return _shown_box(box)

    async def set_box(self, tx: Tx, address: str, body: NewMailboxSetting) -> BoxShown:
        """Say how a mailbox behaves from now on."""
        if body.bounce_after_s and body.behaviour != "bounce":
            raise InvalidParameter("'bounce_after_s' needs the behaviour 'bounce'")
        setting = Setting(body.behaviour, body.delay_s, body.bounce_after_s)
        await store.set_setting(tx, _address(address), setting)
        return await self.get_box(tx, address)

    async def reset_box(self, tx: Tx, address: str) -> None:
        """Let a mailbox behave as a new one; its mails stay."""
        await store.delete_setting(tx, _address(address))

    async def list_mails(self, tx: Tx, address: str, query: MailsQuery) -> list[MailShown]:
        """List what a mailbox took, oldest first."""
        return [_shown_mail(mail) for mail in await store.list_mails(tx, _address(address), query.after, MAILS_MAX)]

    async def write(self, tx: Tx, request: OwnRequest, address: str, body: NewMail) -> Created[MailWritten]:
        """Write to the operator's legal address from a mailbox."""
        if not body.subject.isprintable():
            raise InvalidParameter("a mail is made of printable text")
        if not _ADDRESS.match(body.to):
            raise InvalidParameter("'to' must be an email address")
        sid = await self._mailbox.write(tx, _address(address), body.to, body.subject, body.body, request.at)
        return MailWritten(sid)

    async def empty(self, tx: Tx, address: str) -> None:
        """Empty a mailbox; its setting stays."""
        await store.empty(tx, _address(address))

    async def bounce(self, tx: Tx, request: OwnRequest, address: str, body: Bounces) -> Created[Bounced]:
        """Give up the mails named, or all there are."""
        address, wanted = _address(address), body.message_ids
        if wanted is None:
            mails = await store.list_mails(tx, address, 0, MAILS_MAX)
            wanted = [mail.message_id for mail in mails if mail.bounced_at is None]
        return Bounced(await self._mailbox.bounce(tx, address, wanted, body.diagnostic, request.at))


def _address(text: str) -> str:
    address = unquote(text).strip().lower()
    if not _ADDRESS.match(address):
        raise InvalidParameter("a mailbox is named by an email address")
    return address


def _shown_box(box: Box) -> BoxShown:
    setting = box.setting
    return BoxShown.of(box, behaviour=setting.behaviour, delay_s=setting.delay_s, bounce_after_s=setting.bounce_after_s)


def _shown_mail(mail: StoredMail) -> MailShown:
    return MailShown.of(mail, raw=mail.raw.decode("ascii", "replace"))
