"""What the platform tells an agent: what users say and do, and what became of messages."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

EventType = Literal["DELIVERED", "READ", "IS_TYPING", "SUBSCRIBE", "UNSUBSCRIBE"]
ServerEventType = Literal["TTL_EXPIRATION_REVOKED", "TTL_EXPIRATION_REVOKE_FAILED"]

_USER_EVENTS: Final = frozenset({"DELIVERED", "READ", "IS_TYPING", "SUBSCRIBE", "UNSUBSCRIBE"})
_SERVER_EVENTS: Final = frozenset({"TTL_EXPIRATION_REVOKED", "TTL_EXPIRATION_REVOKE_FAILED"})
# Agents' names are given with this domain in some places and without it in others.
_AGENT_DOMAIN: Final = "@rbm.goog"


class Malformed(ValueError):
    """These bytes are not what the platform sends; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class _Arrival:
    agent_id: str
    # The user's number in E.164.
    phone: str
    # Unique for this arrival; a repeat has the same.
    id: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class UserText(_Arrival):
    """The user wrote."""

    text: str


@dataclass(frozen=True, slots=True)
class UserFile(_Arrival):
    """The user sent a file, which lies at a URL."""

    url: str
    content_type: str
    name: str


@dataclass(frozen=True, slots=True)
class Located(_Arrival):
    """The user sent a place."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Tapped(_Arrival):
    """The user tapped a suggestion; `kind` is REPLY or ACTION."""

    text: str
    postback: str
    kind: str


@dataclass(frozen=True, slots=True)
class Happened(_Arrival):
    """Something about the user: `message_id` names the agent's message, for DELIVERED and READ."""

    kind: EventType
    message_id: str


@dataclass(frozen=True, slots=True)
class ServerHappened(_Arrival):
    """The platform revoked a message whose time was over, or failed to."""

    kind: ServerEventType
    message_id: str


Arrival = UserText | UserFile | Located | Tapped | Happened | ServerHappened


class _Location(msgspec.Struct):
    latitude: float = 0.0
    longitude: float = 0.0


class _Payload(msgspec.Struct, rename="camel"):
    file_uri: str = ""
    mime_type: str = ""
    file_name: str = ""


class _UserFile(msgspec.Struct):
    payload: _Payload = msgspec.field(default_factory=_Payload)


class _Response(msgspec.Struct, rename="camel"):
    postback_data: str = ""
    text: str = ""
    type: str = ""


class _Body(msgspec.Struct, rename="camel"):
    agent_id: str = ""
    sender_phone_number: str = ""
    # ServerEvent's name of the same.
    phone_number: str = ""
    message_id: str = ""
    event_id: str = ""
    event_type: str = ""
    send_time: str = ""
    text: str | None = None
    location: _Location | None = None
    user_file: _UserFile | None = None
    suggestion_response: _Response | None = None


_decode = msgspec.json.Decoder(_Body).decode


def bare_agent(agent_id: str) -> str:
    """Return an agent's id without the platform's domain."""
    return agent_id.removesuffix(_AGENT_DOMAIN)


def read_arrival(data: bytes) -> Arrival | None:
    """Read one UserMessage, UserEvent or ServerEvent; None for kinds that were invented since.

    Raises: Malformed.
    """
    try:
        body = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(str(error)) from None
    phone = body.sender_phone_number or body.phone_number
    if not body.agent_id or not phone:
        raise Malformed("agentId or the user's number is missing")
    given = (bare_agent(body.agent_id), phone, body.event_id or body.message_id, _time(body.send_time))
    if not given[2]:
        raise Malformed("neither messageId nor eventId is there")
    if body.event_type:
        if body.event_type in _SERVER_EVENTS:
            return ServerHappened(*given, _server_kind(body.event_type), body.message_id)
        if body.event_type in _USER_EVENTS:
            return Happened(*given, _user_kind(body.event_type), body.message_id)
        return None
    if body.suggestion_response is not None:
        answer = body.suggestion_response
        return Tapped(*given, answer.text, answer.postback_data, answer.type)
    if body.location is not None:
        return Located(*given, body.location.latitude, body.location.longitude)
    if body.user_file is not None:
        file = body.user_file.payload
        if not file.file_uri:
            raise Malformed("a file has no fileUri")
        return UserFile(*given, file.file_uri, file.mime_type, file.file_name)
    return UserText(*given, body.text) if body.text is not None else None


def _user_kind(kind: str) -> EventType:
    found: EventType = msgspec.convert(kind, EventType)
    return found


def _server_kind(kind: str) -> ServerEventType:
    found: ServerEventType = msgspec.convert(kind, ServerEventType)
    return found


def _time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return msgspec.convert(text, datetime).astimezone(UTC)
    except (msgspec.MsgspecError, ValueError, OverflowError):
        raise Malformed("sendTime is no time") from None
