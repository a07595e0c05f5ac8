"""The door for Meta's webhooks, and the operator's API of business accounts: `/operator/v1/WhatsAppAccounts`."""

import asyncio
import hmac
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, UnsetType

from onterms.carriers.whatsapp import codes, compose, reading, store
from onterms.carriers.whatsapp.carrier import NAME, WhatsAppCarrier
from onterms.carriers.whatsapp.graph import Answered, Away, Failed, Silent
from onterms.carriers.whatsapp.reading import Inbound, News, Status
from onterms.carriers.whatsapp.templates import verdict_of
from onterms.core.clock import Clock
from onterms.core.db import Database, Row, Tx
from onterms.core.errors import ConfigError, Forbidden, InvalidParameter, NotFound, Unavailable
from onterms.core.vault import Vault
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, Shape, Sid, whole
from onterms.ports.channels import ReviewSink, Standing
from onterms.ports.message_carrier import InboundMedia, InboundMessage, Receipt, ReceiptState

_log = logging.getLogger("onterms.whatsapp")

DOOR: Final = "/carriers/whatsapp/webhook"
_ACCOUNTS: Final = "/operator/v1/WhatsAppAccounts"
# Meta docs, "Webhooks": a payload has 3 MB at most.
_WEBHOOK_BYTES_MAX: Final = 3 * 1024 * 1024 + 4096
# Meta docs, "Media": documents have 100 MB; what is longer than a message here may have is left out.
_MEDIA_BYTES_MAX: Final = 16 * 1024 * 1024
_DOWNLOADS_AT_ONCE: Final = 8
_STATES: Final[Mapping[str, ReceiptState]] = {
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    # Twilio's callbacks say undelivered of what a network took and gave up later.
    "failed": "undelivered",
}

_Name = Annotated[str, Meta(min_length=1, max_length=64)]
_Url = Annotated[str, Meta(min_length=8, max_length=512, pattern=r"^https?://[^\s?#]+$")]
_Secret = Annotated[str, Meta(min_length=1, max_length=2048, pattern=r"^[!-~]+$")]
_Token = Annotated[str, Meta(min_length=8, max_length=256, pattern=r"^[!-~]+$")]
_Owner = Annotated[str, Meta(pattern=r"^(AC[0-9a-f]{32})?$")]


class AccountChange(Shape):
    """What is set of a business account; what is left out stays."""

    name: _Name | UnsetType = UNSET
    base_url: _Url | UnsetType = UNSET
    token: _Secret | UnsetType = UNSET
    app_secret: _Secret | UnsetType = UNSET
    verify_token: _Token | UnsetType = UNSET
    # Whose numbers go in without proof; "" is everybody, who prove them.
    account_sid: _Owner | UnsetType = UNSET
    uploads: bool | UnsetType = UNSET


class AccountShown(Shape):
    """A business account; its secrets are never shown."""

    waba_id: str
    name: str
    base_url: str
    account_sid: Sid | None
    uploads: bool
    date_created: datetime
    date_updated: datetime


class SenderToken(Shape):
    """A token of a sender's own; "" goes back to that of the business account."""

    token: Annotated[str, Meta(max_length=2048, pattern=r"^[!-~]*$")]


class WhatsAppApi:
    """The handlers behind `routes`."""

    def __init__(
        self, database: Database, clock: Clock, vault: Vault, carrier: WhatsAppCarrier, reviewed: ReviewSink
    ) -> None:
        self._database = database
        self._clock = clock
        self._vault = vault
        self._carrier = carrier
        self._reviewed = reviewed

    def routes(self) -> list[OwnRoute]:
        """Return the routes."""
        one = _ACCOUNTS + "/{waba_id}"
        sender = "/operator/v1/Accounts/{account_sid}/WhatsAppSenders/{sid}/Token"
        return [
            OwnRoute("GET", DOOR, "open", self.agree, summary="Agree to Meta's webhooks"),
            OwnRoute(
                "POST",
                DOOR,
                "open",
                free_handler=self.hear,
                body_bytes_max=_WEBHOOK_BYTES_MAX,
                summary="Take Meta's webhooks",
            ),
            OwnRoute("GET", _ACCOUNTS, "operator", self.list_accounts, summary="List WhatsApp Business Accounts"),
            OwnRoute("GET", one, "operator", self.get_account, summary="Show a WhatsApp Business Account"),
            OwnRoute("POST", one, "operator", self.set_account, summary="Add or change a WhatsApp Business Account"),
            OwnRoute("DELETE", one, "operator", self.delete_account, summary="Remove a WhatsApp Business Account"),
            OwnRoute("POST", sender, "operator", self.set_token, summary="Give a WhatsApp sender a token of its own"),
        ]

    # ---- business accounts

    async def list_accounts(self, tx: Tx) -> Items[AccountShown]:
        """List all business accounts."""
        return whole([_shown(row) for row in await store.accounts(tx)])

    async def get_account(self, tx: Tx, waba_id: str) -> AccountShown:
        """Show a business account."""
        return _shown(await _account(tx, waba_id))

    async def set_account(self, tx: Tx, request: OwnRequest, waba_id: str, body: AccountChange) -> AccountShown:
        """Add a business account, or change one."""
        if not (waba_id.isascii() and waba_id.isdigit() and len(waba_id) <= 32):
            raise InvalidParameter("A WhatsApp Business Account's id has digits only")
        given = {name: value for name in body.__struct_fields__ if (value := getattr(body, name)) is not UNSET}
        if "account_sid" in given:
            given["account_sid"] = given["account_sid"] or None
        found = await store.accounts(tx, [waba_id])
        if found:
            account = replace(store.account_of(self._vault, found[0]), **given)
        else:
            missing = [name for name in ("base_url", "token", "app_secret", "verify_token") if name not in given]
            if missing:
                raise InvalidParameter(f"'{missing[0]}' is required")
            account = store.Account(**{"waba_id": waba_id, "name": waba_id, **given})
        await store.save_account(tx, self._vault, account, request.at)
        return _shown(await _account(tx, waba_id))

    async def delete_account(self, tx: Tx, waba_id: str) -> None:
        """Remove a business account; its numbers send no more."""
        if not await store.delete_account(tx, waba_id):
            raise NotFound("There is no such WhatsApp Business Account")

    async def set_token(self, tx: Tx, account_sid: str, sid: str, body: SenderToken) -> None:
        """Give a sender a token of its own."""
        sealed = self._vault.seal(body.token, f"{sid}:token") if body.token else None
        if not await store.set_token(tx, account_sid, sid, sealed):
            raise NotFound("There is no such WhatsApp sender")

    # ---- webhooks

    async def agree(self, tx: Tx, request: OwnRequest) -> OwnReply:
        """Answer Meta's question whether these are its webhooks.

        Source: Meta docs, "Verification requests".
        """
        given = request.query.get("hub.verify_token", "")
        challenge = request.query.get("hub.challenge", "")
        if request.query.get("hub.mode") != "subscribe" or not given or not challenge.isalnum() or len(challenge) > 64:
            raise Forbidden("This is no verification request")
        agrees = False
        for account in self._open(await store.accounts(tx)):
            agrees |= hmac.compare_digest(account.verify_token.encode(), given.encode("utf-8", "replace"))
        if not agrees:
            raise Forbidden("The verify token is not ours")
        return OwnReply(None, raw=challenge.encode(), content_type="text/plain")

    async def hear(self, request: OwnRequest) -> OwnReply:
        """Take one call of Meta's webhook, whole or not at all: what fails comes again."""
        asked = reading.accounts_in(request.body)
        async with self._database.snapshot() as tx:
            accounts = {account.waba_id: account for account in self._open(await store.accounts(tx, asked))}
        # One signature stands for all of them, which are one app's.
        if not asked or any(waba_id not in accounts for waba_id in asked):
            raise Forbidden("The signature is missing or wrong")
        signature = request.headers.get(b"x-hub-signature-256", b"").decode("latin-1")
        secrets = {accounts[waba_id].app_secret for waba_id in asked}
        if not all(is_genuine(secret, request.raw_body, signature) for secret in secrets):
            raise Forbidden("The signature is missing or wrong")
        news = reading.read(request.body, self._clock.now())
        inbound = await self._inbound(news.inbound, accounts)
        looked_through = await self._carrier.sink.look_through([message for _, message in inbound])
        async with self._database.transaction() as tx:
            await self._record(tx, news)
            for (owner_sid, _), message in zip(inbound, looked_through, strict=True):
                await store.open_window(tx, owner_sid, message.recipient, message.sender, message.at)
            if looked_through:
                await self._carrier.sink.messages_arrived(tx, looked_through)
        return OwnReply(None, 200, raw=b"", content_type="text/plain")

    def _open(self, rows: Sequence[Row]) -> list[store.Account]:
        opened: list[store.Account] = []
        for row in rows:
            try:
                opened.append(store.account_of(self._vault, row))
            except ConfigError as error:
                _log.error("WhatsApp account %s cannot be used: %s", row["waba_id"], error)
        return opened

    async def _record(self, tx: Tx, news: News) -> None:
        if news.statuses:
            await self._carrier.sink.receipts_arrived(tx, await _receipts(tx, news.statuses))
        for quality in news.quality:
            row = await store.number_by_digits(tx, quality.waba_id, quality.number)
            if row is not None:
                properties = {"messaging_limit": quality.limit} if quality.limit else {}
                standing = Standing("ONLINE", properties)
                await self._carrier.sink.standing_changed(tx, row["account_sid"], row["sender_sid"], standing)
        for verdict in news.verdicts:
            content_sid = compose.content_of(verdict.name)
            row = await store.template_upstream(tx, verdict.waba_id, verdict.template_id, content_sid)
            review = verdict_of(verdict.event, verdict.reason)
            if row is not None and review is not None:
                await self._reviewed(tx, row["account_sid"], row["content_sid"], review)

    async def _inbound(
        self, found: Sequence[Inbound], accounts: Mapping[str, store.Account]
    ) -> list[tuple[str, InboundMessage]]:
        """Make messages of what came, with their files; what is for nobody here is left out."""
        if not found:
            return []
        owners: dict[tuple[str, str], Row] = {}
        async with self._database.snapshot() as tx:
            for key in {(each.waba_id, each.phone_number_id) for each in found}:
                row = await store.number_upstream(tx, *key)
                if row is not None:
                    owners[key] = row
        ours = [each for each in found if (each.waba_id, each.phone_number_id) in owners]
        room = asyncio.Semaphore(_DOWNLOADS_AT_ONCE)

        async def media_of(each: Inbound) -> tuple[InboundMedia, ...]:
            if each.media is None:
                contacts = each.details.data.get("contacts")
                return (InboundMedia("text/vcard", _cards(contacts)),) if contacts else ()
            async with room:
                return await self._download(accounts[each.waba_id], *each.media)

        files = await asyncio.gather(*(media_of(each) for each in ours))
        made: list[tuple[str, InboundMessage]] = []
        for each, media in zip(ours, files, strict=True):
            row = owners[each.waba_id, each.phone_number_id]
            message = InboundMessage(
                NAME, each.wamid, each.sender, row["address"], each.body, media, 1, each.at, each.details
            )
            made.append((row["account_sid"], message))
        return made

    async def _download(self, account: store.Account, media_id: str, said: str) -> tuple[InboundMedia, ...]:
        """Get a file. Raises: Unavailable where it may be had later; the whole call then comes again."""
        named = await self._carrier.graph.get(account.base_url, account.token, (media_id,))
        if isinstance(named, Away | Silent) or (
            isinstance(named, Failed) and (named.status >= 500 or named.error in codes.TRY_LATER)
        ):
            raise Unavailable("A file cannot be fetched now")
        url = named.body.get("url") if isinstance(named, Answered) else None
        if not isinstance(url, str):
            _log.warning("a file of a WhatsApp message is not there: %s", media_id)
            return ()
        found = await self._carrier.graph.download(account.base_url, account.token, url, _MEDIA_BYTES_MAX)
        if isinstance(found, Away):
            raise Unavailable("A file cannot be fetched now")
        if isinstance(found, Failed):
            _log.warning("a file of a WhatsApp message was not fetched: %s", found.reason)
            return ()
        content_type = (said or found[0]).partition(";")[0].strip().lower()
        return (InboundMedia(content_type or "application/octet-stream", found[1]),) if found[1] else ()


async def _receipts(tx: Tx, statuses: Sequence[Status]) -> list[Receipt]:
    rows = await store.find(tx, [each.wamid for each in statuses], [each.opaque for each in statuses if each.opaque])
    by_name = {row["wamid"]: row for row in rows if row["wamid"]}
    by_sid = {row["message_sid"]: row for row in rows}
    receipts: list[Receipt] = []
    names: dict[str, str] = {}
    for each in statuses:
        row = by_name.get(each.wamid) or by_sid.get(each.opaque)
        state = _STATES.get(each.status)
        # Whoever signs for another number says nothing of this one's messages.
        if row is None or state is None or row["phone_number_id"] != each.phone_number_id:
            continue
        if row["wamid"] is None:
            names[row["message_sid"]] = each.wamid
        elif row["wamid"] != each.wamid:
            continue
        code = codes.code_of(each.error) if state == "undelivered" else None
        receipts.append(
            Receipt(NAME, each.wamid, row["account_sid"], row["message_sid"], state, code, each.at, each.reason)
        )
    if names:
        await store.name(tx, names)
    return receipts


def is_genuine(app_secret: str, body: bytes, signature: str) -> bool:
    """Tell whether a call was signed with the app's secret.

    Source: Meta docs, "Validating payloads": sha256= and the hexadecimal HMAC of the body as it came.
    """
    expected = "sha256=" + hmac.digest(app_secret.encode(), body, "sha256").hex()
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


def _cards(contacts: Any) -> bytes:
    """Write shared contacts as vCards. Source: RFC 2426."""
    cards: list[str] = []
    for contact in contacts if isinstance(contacts, list) else ():
        if not isinstance(contact, dict):
            continue
        name = contact.get("name")
        shown = name.get("formatted_name") if isinstance(name, dict) else None
        lines = ["BEGIN:VCARD", "VERSION:3.0", f"FN:{_line(shown)}", f"N:{_line(shown)};;;;"]
        phones = contact.get("phones")
        for phone in phones if isinstance(phones, list) else ():
            if isinstance(phone, dict) and isinstance(phone.get("phone"), str):
                lines.append(f"TEL:{_line(phone['phone'])}")
        emails = contact.get("emails")
        for email in emails if isinstance(emails, list) else ():
            if isinstance(email, dict) and isinstance(email.get("email"), str):
                lines.append(f"EMAIL:{_line(email['email'])}")
        cards.append("\r\n".join([*lines, "END:VCARD", ""]))
    return "".join(cards).encode("utf-8", "replace")


def _line(text: Any) -> str:
    plain = text if isinstance(text, str) else ""
    return plain.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\r", "").replace("\n", "\\n")


async def _account(tx: Tx, waba_id: str) -> Row:
    found = await store.accounts(tx, [waba_id])
    if not found:
        raise NotFound("There is no such WhatsApp Business Account")
    return found[0]


def _shown(row: Row) -> AccountShown:
    return AccountShown.of(
        row, account_sid=row["owner_sid"], date_created=row["created_at"], date_updated=row["updated_at"]
    )


__all__ = ["DOOR", "WhatsAppApi", "is_genuine"]
