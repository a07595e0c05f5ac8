"""The messaging room's outside shapes."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType, field

from onterms.core.db import Row
from onterms.engines.api.catalogue import meaning
from onterms.engines.api.shapes import Moment, Shape, Sid, Text
from onterms.products.messaging.model import NewMessage


def message_of(message: Row) -> dict[str, Any]:
    """Render a stored message."""
    account_sid, sid = message["account_sid"], message["sid"]
    price = message["price_micros"]
    return {
        "body": message["body"],
        "num_segments": str(message["num_segments"]),
        "direction": message["direction"],
        # Empty until the Messaging Service has chosen one.
        "from": message["sender"] or None,
        "to": message["recipient"],
        "date_updated": message["date_updated"],
        "price": None if price is None else f"{-price / 1_000_000:.5f}",
        "error_message": meaning(message["error_code"]) if message["error_code"] else None,
        "error_code": message["error_code"],
        "num_media": str(message["num_media"]),
        "status": message["status"],
        "messaging_service_sid": message["messaging_service_sid"],
        "date_sent": message["date_sent"],
        "date_created": message["date_created"],
        "price_unit": message["price_unit"],
        **_links(account_sid, sid),
    }


def new_message_of(message: NewMessage) -> dict[str, Any]:
    """Render a message that was just accepted."""
    return {
        "body": message.body,
        "num_segments": str(message.num_segments),
        "direction": message.direction,
        "from": message.sender or None,
        "to": message.recipient,
        "date_updated": message.at,
        "price": None,
        "error_message": None,
        "error_code": None,
        "num_media": str(message.num_media),
        "status": message.status,
        "messaging_service_sid": message.messaging_service_sid,
        "date_sent": None,
        "date_created": message.at,
        "price_unit": "USD",
        **_links(message.account_sid, message.sid),
    }


def _links(account_sid: str, sid: str) -> dict[str, Any]:
    base = f"/2010-04-01/Accounts/{account_sid}/Messages/{sid}"
    return {
        "account_sid": account_sid,
        "sid": sid,
        "uri": base + ".json",
        "api_version": "2010-04-01",
        "subresource_uris": {"media": base + "/Media.json", "feedback": base + "/Feedback.json"},
    }


def media_of(media: Row) -> dict[str, Any]:
    """Render a file's facts."""
    account_sid, message_sid, sid = media["account_sid"], media["message_sid"], media["sid"]
    return {
        "account_sid": account_sid,
        "content_type": media["content_type"],
        "date_created": media["date_created"],
        "date_updated": media["date_created"],
        "parent_sid": message_sid,
        "sid": sid,
        "uri": f"/2010-04-01/Accounts/{account_sid}/Messages/{message_sid}/Media/{sid}.json",
    }


def feedback_of(feedback: Row) -> dict[str, Any]:
    """Render what a customer says of a message."""
    account_sid, message_sid = feedback["account_sid"], feedback["message_sid"]
    return {
        "account_sid": account_sid,
        "message_sid": message_sid,
        "outcome": feedback["outcome"],
        "date_created": feedback["date_created"],
        "date_updated": feedback["date_updated"],
        "uri": f"/2010-04-01/Accounts/{account_sid}/Messages/{message_sid}/Feedback.json",
    }


def date_bounds(params: Mapping[str, Any], name: str) -> tuple[datetime | None, datetime | None]:
    """Read a date filter in its three spellings as (from, before).

    `Name` means that whole day (or that second, where a time is given), `Name>` that moment and later, `Name<` until
    the end of that day or second.
    """
    since: datetime | None = None
    before: datetime | None = None
    exact = params.get(name)
    if exact is not None:
        since, before = exact, _end(exact)
    if (later := params.get(name + ">")) is not None:
        since = later if since is None else max(since, later)
    if (until := params.get(name + "<")) is not None:
        end = _end(until)
        before = end if before is None else min(before, end)
    return since, before


def _end(value: datetime) -> datetime:
    midnight = value.hour == value.minute == value.second == value.microsecond == 0
    try:
        return value + (timedelta(days=1) if midnight else timedelta(seconds=1))
    except OverflowError:
        # The last day of the calendar has no day after it.
        return datetime.max.replace(tzinfo=UTC)


BindType = Literal["transmitter", "receiver", "transceiver"]


class NewSmppUser(Shape):
    """Short credentials to bind with; without a password one is made and shown once."""

    system_id: Text
    password: Text = ""
    bind_types: list[BindType] = field(default_factory=list)
    # Addresses or networks that may bind; none is all.
    allowed_ips: list[Text] = field(default_factory=list)
    # Numbers of the account whose inbound messages come as deliver_sm instead of to a webhook.
    numbers: list[Text] = field(default_factory=list)
    # Unanswered requests of a bind, messages a second of a bind (0 is no limit), binds at once.
    window: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    rate: Annotated[int, Meta(ge=0, le=100_000)] = 0
    binds: Annotated[int, Meta(ge=1, le=50)] = 10
    # What data_coding 0 means to the client.
    alphabet: Literal["gsm", "gsm-packed", "latin-1", "ascii"] = "gsm"
    long_inbound: Literal["udh", "udh16", "sar", "payload"] = "udh"


class SmppUserChange(Shape):
    """What is set of an SMPP user; what is left out stays."""

    password: Text | UnsetType = UNSET
    bind_types: list[BindType] | UnsetType = UNSET
    allowed_ips: list[Text] | UnsetType = UNSET
    numbers: list[Text] | UnsetType = UNSET
    window: Annotated[int, Meta(ge=1, le=10_000)] | UnsetType = UNSET
    rate: Annotated[int, Meta(ge=0, le=100_000)] | UnsetType = UNSET
    binds: Annotated[int, Meta(ge=1, le=50)] | UnsetType = UNSET
    alphabet: Literal["gsm", "gsm-packed", "latin-1", "ascii"] | UnsetType = UNSET
    long_inbound: Literal["udh", "udh16", "sar", "payload"] | UnsetType = UNSET


class SmppUser(Shape):
    """An SMPP user."""

    sid: Sid
    account_sid: Sid
    system_id: str
    bind_types: list[str]
    allowed_ips: list[str]
    numbers: list[str]
    window: int
    rate: int
    binds: int
    alphabet: str
    long_inbound: str
    created_at: Moment
    # Shown when the user is made, and never again.
    password: str | None = None


class SmppSession(Shape):
    """Who is bound."""

    sid: Sid
    account_sid: Sid
    system_id: str
    kind: BindType
    interface_version: str
    peer: str
    is_tls: bool
    node: str
    bound_at: Moment


def smpp_user(row: Row, password: str | None = None) -> SmppUser:
    """Render an SMPP user."""
    return SmppUser(
        sid=row["sid"],
        account_sid=row["account_sid"],
        system_id=row["system_id"],
        bind_types=list(row["bind_types"]),
        allowed_ips=list(row["allowed_ips"]),
        numbers=list(row["numbers"]),
        window=row["window_max"],
        rate=row["rate_per_s"],
        binds=row["binds_max"],
        alphabet=row["alphabet"],
        long_inbound=row["long_inbound"],
        created_at=row["created_at"].isoformat(),
        password=password,
    )


def smpp_session(row: Row) -> SmppSession:
    """Render who is bound."""
    return SmppSession(
        sid=row["sid"],
        account_sid=row["account_sid"],
        system_id=row["system_id"],
        kind=row["kind"],
        interface_version=f"{row['version'] >> 4}.{row['version'] & 15}",
        peer=row["peer"],
        is_tls=row["is_tls"],
        node=row["node"],
        bound_at=row["bound_at"].isoformat(),
    )
