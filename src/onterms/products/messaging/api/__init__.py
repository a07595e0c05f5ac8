"""Which operations of the contract this room serves."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter, Refusal
from onterms.engines.api import Binding, Call, Page, Reply, serve, serve_batched
from onterms.products import numbers
from onterms.products.messaging import errors, wire
from onterms.products.messaging.api import channels, services
from onterms.products.messaging.model import NewMessage
from onterms.products.messaging.service import geo, history, money, prepare, send
from onterms.products.messaging.service.history import MediaLinks

# Twilio docs, "Test credentials": what the magic numbers answer; see also the contract's own table.
_MAGIC_SENDERS: Mapping[str, type[Refusal]] = {
    "+15005550001": errors.InvalidSender,
    "+15005550007": errors.SenderNotOurs,
    "+15005550008": errors.QueueFull,
}
_MAGIC_RECIPIENTS: Mapping[str, type[Refusal]] = {
    "+15005550001": errors.InvalidRecipient,
    "+15005550002": errors.NotRoutable,
    "+15005550003": errors.CountryBlocked,
    "+15005550004": errors.OptedOut,
    "+15005550009": errors.NotMobile,
}
_MAGIC_SENDER = "+15005550006"


class Api:
    """The room's operations."""

    def __init__(
        self,
        senders: send.Senders,
        links: MediaLinks,
        till: money.Till,
        carries_files: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._carries_files = carries_files
        self._senders = senders
        self._till = till
        self._links = links

    def bindings(self) -> list[Binding]:
        """Return each operation bound to its use case."""
        return [
            serve_batched(
                "api_v2010:CreateMessage",
                self.create,
                at_once=_is_plain,
                test_credentials=True,
                refusals={
                    "To": (errors.RecipientRequired.code, "A 'To' phone number is required"),
                    "ValidityPeriod": (
                        errors.InvalidValidityPeriod.code,
                        f"ValidityPeriod must be 1 to {send.VALIDITY_S_MAX} seconds",
                    ),
                    "MessagingServiceSid": (21701, "The Messaging Service does not exist"),
                    "ContentSid": (21655, "The ContentSid is invalid"),
                    "ContentVariables": (21656, "ContentVariables must be a JSON object"),
                    "SendAt": (errors.SendAtOutOfBounds.code, "SendAt is no time in ISO 8601"),
                    "ScheduleType": (35126, "ScheduleType must be fixed"),
                    "MaxPrice": (21627, "MaxPrice must be a number"),
                },
            ),
            serve("api_v2010:CreateMessageFeedback", self.feed_back),
            serve("api_v2010:ListMessage", self.list),
            serve("api_v2010:FetchMessage", self.fetch),
            serve("api_v2010:UpdateMessage", self.update),
            serve("api_v2010:DeleteMessage", self.delete),
            serve("api_v2010:ListMedia", self.list_media),
            serve("api_v2010:FetchMedia", self.fetch_media),
            serve("api_v2010:DeleteMedia", self.delete_media),
            serve("accounts_v1:FetchMessagingGeopermissions", self.fetch_permissions),
            serve("accounts_v1:UpdateMessagingGeopermissions", self.update_permissions),
            *services.bindings(),
            *channels.bindings(),
        ]

    async def create(self, tx: Tx, calls: list[Call]) -> Sequence[Any]:
        """Accept messages of many requests in one transaction."""
        results: list[Any] = [None] * len(calls)
        drafts: list[send.Draft] = []
        places: list[int] = []
        special = [call for call in calls if prepare.is_special(call.params) and not call.caller.account.test]
        asked = [(call.account.sid, call.params) for call in special]
        found = await prepare.look_up(tx, self._senders, asked) if asked else prepare.Found()
        found.carries_files = self._carries_files
        for place, call in enumerate(calls):
            try:
                draft = await self._draft(tx, call, found)
            except Refusal as refusal:
                results[place] = refusal
                continue
            if call.caller.account.test:
                results[place] = _test_reply(draft)
            else:
                drafts.append(draft)
                places.append(place)
        for place, result in zip(places, await send.accept(tx, self._senders, self._till, drafts), strict=True):
            results[place] = wire.new_message_of(result) if isinstance(result, NewMessage) else result
        return results

    async def _draft(self, tx: Tx, call: Call, found: prepare.Found) -> send.Draft:
        params = call.params
        account_sid = call.account.sid
        callback = params.get("StatusCallback")
        application_sid = params.get("ApplicationSid")
        if application_sid and not call.caller.account.test:
            application = await numbers.application(tx, account_sid, application_sid)
            if application is None:
                raise errors.UnknownApplication(f"The application {application_sid} does not exist")
            # Twilio docs, Messages resource: StatusCallback beats the application's.
            callback = callback or application.message_status_callback
        draft = send.draft_of(account_sid, params, call.at, callback, call.caller.credential_sid)
        if not prepare.is_special(params):
            return draft
        # Test credentials own neither services nor templates.
        return prepare.prepare(draft, params, found, self._links.short)

    async def list(self, tx: Tx, call: Call) -> Page:
        """List an account's messages, newest first."""
        filters: dict[str, Any] = {}
        since, before = wire.date_bounds(call.params, "DateSent")
        if since is not None:
            filters["sent_from"] = since
        if before is not None:
            filters["sent_before"] = before
        for name, column in (("To", "recipient"), ("From", "sender")):
            if call.params.get(name):
                filters[column] = call.params[name]
        await self._narrow(tx, call.account.sid, filters)
        rows = await history.page(tx, call.account.sid, call.paging, filters)
        return Page.of(call.paging, rows, key="sid", render=wire.message_of)

    async def _narrow(self, tx: Tx, account_sid: str, filters: dict[str, Any]) -> None:
        """A number that is not the account's is the handset's side, which has an index."""
        sides = [filters[name] for name in ("recipient", "sender") if name in filters]
        if sides:
            owned = await self._senders(tx, [(account_sid, side) for side in sides])
            foreign = [side for side in sides if (account_sid, side) not in owned]
            if foreign and all(number.startswith("+") or ":" in number for number in foreign):
                filters["peer"] = foreign[0]

    async def fetch(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Fetch a message."""
        return wire.message_of(await history.fetch(tx, call.account.sid, call.path["Sid"]))

    async def update(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Redact or cancel a message."""
        account_sid, sid = call.account.sid, call.path["Sid"]
        if call.params.get("Status"):
            return wire.message_of(await history.cancel(tx, account_sid, sid, call.at))
        if "Body" in call.params:
            return wire.message_of(await history.redact(tx, account_sid, sid, call.params["Body"], call.at))
        raise InvalidParameter("Either Body or Status is required")

    async def feed_back(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Record whether a message reached its purpose."""
        # Twilio docs, Message Feedback: confirmed unless it says otherwise.
        outcome = call.params.get("Outcome", "confirmed")
        row = await history.feed_back(tx, call.account.sid, call.path["MessageSid"], outcome, call.at)
        return wire.feedback_of(row)

    async def delete(self, tx: Tx, call: Call) -> None:
        """Delete a message."""
        await history.delete(tx, call.account.sid, call.path["Sid"], call.at)

    async def list_media(self, tx: Tx, call: Call) -> Page:
        """List a message's media."""
        filters: dict[str, Any] = {}
        since, before = wire.date_bounds(call.params, "DateCreated")
        if since is not None:
            filters["created_from"] = since
        if before is not None:
            filters["created_before"] = before
        rows = await history.media_page(tx, call.account.sid, call.path["MessageSid"], call.paging, filters)
        return Page.of(call.paging, rows, key="sid", render=wire.media_of)

    async def fetch_media(self, tx: Tx, call: Call) -> Mapping[str, Any] | Reply:
        """Fetch a file's facts, or with a path without extension be sent to the file itself."""
        account_sid, message_sid, sid = call.account.sid, call.path["MessageSid"], call.path["Sid"]
        media = await history.fetch_media(tx, account_sid, message_sid, sid)
        if call.extension is None:
            link = self._links.link(account_sid, message_sid, sid)
            return Reply(None, status=307, headers=(("Location", link),))
        return wire.media_of(media)

    async def fetch_permissions(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Show to which countries the account may send."""
        country = call.params.get("CountryCode") or None
        return {"permissions": await geo.permissions(tx, call.account.sid, country)}

    async def update_permissions(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Open and close countries."""
        # One entry a parameter, or one parameter that holds the whole list: official clients differ.
        wanted = [
            entry for value in call.params["Permissions"] for entry in (value if isinstance(value, list) else [value])
        ]
        return {"permissions": await geo.update_permissions(tx, call.account.sid, wanted)}

    async def delete_media(self, tx: Tx, call: Call) -> None:
        """Delete a file."""
        await history.delete_media(tx, call.account.sid, call.path["MessageSid"], call.path["Sid"])


def _is_plain(call: Call) -> bool:
    """Tell whether nothing has to be looked up for a message but what is in memory."""
    params = call.params
    return not prepare.is_special(params) and "ApplicationSid" not in params and ":" not in params.get("To", "")


def _test_reply(draft: send.Draft) -> Any:
    """Answer as the magic numbers do: nothing is stored, sent, charged or called back."""
    if not draft.body and not draft.media_urls:
        return errors.ContentRequired("Message body is required")
    for number, table in ((draft.recipient, _MAGIC_RECIPIENTS), (draft.sender, _MAGIC_SENDERS)):
        refusal = table.get(number)
        if refusal is not None:
            return refusal(f"Test credentials: {number} answers with error {refusal.code}")
    try:
        message = send.compose(draft)
    except Refusal as refused:
        return refused
    if message.sender != _MAGIC_SENDER:
        return errors.SenderNotOurs(
            f"The 'From' phone number {message.sender} is not a valid sender for test credentials; use {_MAGIC_SENDER}."
        )
    return wire.new_message_of(message)
