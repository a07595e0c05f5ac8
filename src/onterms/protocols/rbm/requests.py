"""Requests to the platform, and how its answers are read. No network: a driver carries them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

import msgspec

SCOPE: Final = "https://www.googleapis.com/auth/rcsbusinessmessaging"
# RFC 7523 2.1.
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `url` is absolute for tokens and a path for the rest."""

    method: Literal["GET", "POST", "DELETE"]
    url: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer."""

    status: int
    body: bytes = b""


def create_message(agent_id: str, phone: str, message_id: str, body: Mapping[str, Any]) -> Request:
    """Ask to send. A message id that was sent before is answered with 409 and not sent again."""
    return _json("POST", f"{_phone(phone)}/agentMessages", {"messageId": message_id, "agentId": agent_id}, body)


def revoke_message(agent_id: str, phone: str, message_id: str) -> Request:
    """Ask to take back what is not delivered yet; 200 says that the platform tries."""
    path = f"{_phone(phone)}/agentMessages/{quote(message_id, safe='')}"
    return Request("DELETE", f"{path}?{urlencode({'agentId': agent_id})}")


def agent_event(
    agent_id: str, phone: str, event_id: str, kind: Literal["READ", "IS_TYPING"], read: str = ""
) -> Request:
    """Say that the agent read the user's message `read`, or is typing."""
    body = {"eventType": kind, **({"messageId": read} if read else {})}
    return _json("POST", f"{_phone(phone)}/agentEvents", {"eventId": event_id, "agentId": agent_id}, body)


def capabilities(agent_id: str, phone: str, request_id: str) -> Request:
    """Ask what a handset can show; 404 says that this agent does not reach it by RCS."""
    query = urlencode({"requestId": request_id, "agentId": agent_id})
    return Request("GET", f"{_phone(phone)}/capabilities?{query}")


def token_request(token_url: str, assertion: str) -> Request:
    """Ask for an access token."""
    body = urlencode({"grant_type": _GRANT, "assertion": assertion}).encode()
    return Request("POST", token_url, body, {"Content-Type": "application/x-www-form-urlencoded"})


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""
    status: str = ""


class _ErrorBody(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


def error_of(answer: Answer) -> tuple[str, str]:
    """Return (status, message) of an error as google.rpc.Status has them; empty where the body is another."""
    try:
        error = msgspec.json.decode(answer.body, type=_ErrorBody).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "", ""
    return error.status, error.message[:500]


def _phone(phone: str) -> str:
    return f"/v1/phones/{quote(phone, safe='+')}"


def _json(method: Literal["POST"], path: str, query: Mapping[str, str], body: Mapping[str, Any]) -> Request:
    headers = {"Content-Type": "application/json"}
    return Request(method, f"{path}?{urlencode(query)}", msgspec.json.encode(body), headers)
