"""The handsets' own API: `/simulator/v1/rcs/handsets/...`: what they show, and what their users tap and write."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from msgspec import UNSET, Meta, UnsetType, field

from onterms.carriers.rcs_simulator import store
from onterms.carriers.rcs_simulator.model import FEATURES, RcsHandset, spoken, suggestions_of
from onterms.carriers.rcs_simulator.platform import RcsSimulator, changed
from onterms.core.db import Row, Tx
from onterms.core.e164 import is_e164
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.engines.api.own import Created, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, Json, Shape, whole

_LISTED: Final = 1000
_Agent = Annotated[str, Meta(min_length=1, max_length=128)]
_STATES: Final = ("waiting", "delivered", "read", "revoked")


class HandsetChange(Shape):
    """How a handset treats RCS; what is left out stays."""

    has_rcs: bool | UnsetType = UNSET
    is_on: bool | UnsetType = UNSET
    reads: bool | UnsetType = UNSET
    features: Annotated[list[str], Meta(max_length=len(FEATURES))] | UnsetType = UNSET


class HandsetShown(Shape):
    """How a handset treats RCS."""

    number: str
    has_rcs: bool
    is_on: bool
    reads: bool
    features: list[str]


class MessageShown(Shape):
    """A message on a handset: `message` as the platform got it, `text` what it says in words."""

    id: int
    sid: str
    agent: str
    state: str
    text: str
    suggestions: list[Json]
    message: Json
    expires_at: datetime | None
    at: datetime


class Tap(Shape):
    """Which suggestion of a message is tapped, by what stands on it."""

    text: Annotated[str, Meta(min_length=1, max_length=25)]


class Place(Shape):
    """A place on earth."""

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]


class NewMessage(Shape):
    """What a user sends to an agent: text, a file at a URL, or a place."""

    refusals: ClassVar = {}

    agent: _Agent = field(name="to")
    text: Annotated[str, Meta(min_length=1, max_length=3072)] | None = None
    file_url: Annotated[str, Meta(max_length=2048, pattern=r"^https?://")] | None = None
    location: Place | None = None


class Subscription(Shape):
    """A user's wish about an agent, as its client's menu has it."""

    agent: _Agent
    wish: Literal["subscribe", "unsubscribe"]


class Told(Shape):
    """What the platform tells the agent, by its id."""

    id: str


class RcsSimulatorApi:
    """The handlers behind `routes`."""

    def __init__(self, simulator: RcsSimulator) -> None:
        self._simulator = simulator

    def routes(self) -> list[OwnRoute]:
        """List the routes; only a sandbox mounts them."""
        one = "/simulator/v1/rcs/handsets/{number}"
        messages = one + "/messages"
        return [
            OwnRoute("GET", one, "machine", self.get_handset, summary="Show how a handset treats RCS"),
            OwnRoute("POST", one, "machine", self.set_handset, summary="Say how a handset treats RCS"),
            OwnRoute("GET", messages, "machine", self.list_messages, summary="Read a handset's RCS messages"),
            OwnRoute("POST", messages, "machine", self.write, summary="Write to an agent"),
            OwnRoute("POST", messages + "/{id}/taps", "machine", self.tap, summary="Tap a suggestion"),
            OwnRoute("POST", messages + "/{id}/reads", "machine", self.read, summary="Read a message"),
            OwnRoute("POST", one + "/subscriptions", "machine", self.subscribe, summary="Subscribe or unsubscribe"),
        ]

    async def get_handset(self, tx: Tx, number: str) -> HandsetShown:
        """Show how a handset treats RCS."""
        return _shown(await store.handset(tx, _number(number)))

    async def set_handset(self, tx: Tx, request: OwnRequest, number: str, body: HandsetChange) -> HandsetShown:
        """Say how a handset treats RCS from now on; switched on, it gets what waited."""
        before = await store.handset(tx, _number(number))
        given = {name: getattr(body, name) for name in body.__struct_fields__ if getattr(body, name) is not UNSET}
        unknown = sorted(set(given.get("features", ())) - set(FEATURES))
        if unknown:
            raise InvalidParameter(f"'features' has an unknown one: {unknown[0][:64]}")
        if "features" in given:
            given["features"] = tuple(given["features"])
        handset = changed(before, **given)
        await self._simulator.set_handset(tx, handset, request.at)
        return _shown(handset)

    async def list_messages(self, tx: Tx, number: str) -> Items[MessageShown]:
        """List what agents sent to a handset, oldest first, also what waits for it or was taken back."""
        return whole([_shown_message(row) for row in await store.messages(tx, _number(number), _STATES, _LISTED)])

    async def write(self, tx: Tx, request: OwnRequest, number: str, body: NewMessage) -> Created[Told]:
        """Write to an agent."""
        said: dict[str, Any] = {}
        if body.text is not None:
            said["text"] = body.text
        if body.file_url is not None:
            name = body.file_url.rpartition("/")[2][:128]
            said["userFile"] = {"payload": {"fileUri": body.file_url, "fileName": name, "mimeType": ""}}
        if body.location is not None:
            said["location"] = {"latitude": body.location.latitude, "longitude": body.location.longitude}
        if len(said) != 1:
            raise InvalidParameter("exactly one of 'text', 'file_url' and 'location' is required")
        return await self._said(tx, request, _number(number), body.agent.removeprefix("rcs:"), said)

    async def tap(self, tx: Tx, request: OwnRequest, number: str, id: str, body: Tap) -> Created[Told]:
        """Tap a suggestion; a handset that shows the message tells the agent."""
        row = await self._message(tx, number, id)
        for suggestion in suggestions_of(row["body"]):
            for kind in ("reply", "action"):
                shown = suggestion.get(kind)
                if shown is not None and shown["text"] == body.text:
                    answer = {"text": shown["text"], "postbackData": shown["postbackData"], "type": kind.upper()}
                    said = {"suggestionResponse": answer}
                    return await self._said(tx, request, row["phone"], row["agent_id"], said)
        raise InvalidParameter("the message has no such suggestion")

    async def read(self, tx: Tx, request: OwnRequest, number: str, id: str) -> Created[MessageShown]:
        """Read a message."""
        row = await self._message(tx, number, id)
        if row["state"] == "delivered":
            await self._simulator.read(tx, row, request.at)
        return _shown_message(await self._message(tx, number, id))

    async def subscribe(self, tx: Tx, request: OwnRequest, number: str, body: Subscription) -> Created[Told]:
        """Subscribe to an agent or unsubscribe from it, as the client's menu lets a user do."""
        kind = body.wish.upper()
        agent = body.agent.removeprefix("rcs:")
        await self._simulator.tell_event(tx, agent, _number(number), kind, request.at)
        return Told(kind)

    async def _said(self, tx: Tx, request: OwnRequest, phone: str, agent: str, said: dict[str, Any]) -> Told:
        handset = await store.handset(tx, phone)
        if not handset.has_rcs or not handset.is_on:
            raise InvalidParameter("this handset has no RCS, or is switched off")
        id = new_sid("UM", request.at)
        await self._simulator.tell(tx, agent, phone, {"senderPhoneNumber": phone, "messageId": id, **said}, request.at)
        return Told(id)

    async def _message(self, tx: Tx, number: str, id: str) -> Row:
        is_id = id.isascii() and id.isdigit() and len(id) <= 18
        row = await store.message_by_id(tx, _number(number), int(id)) if is_id else None
        if row is None or row["state"] not in ("delivered", "read"):
            raise NotFound("The handset does not show such a message")
        return row


def _number(text: str) -> str:
    number = f"+{text.strip().removeprefix('+')}"
    if not is_e164(number):
        raise InvalidParameter("a handset's number is an E.164 number, such as +14155550123", code=21212)
    return number


def _shown(handset: RcsHandset) -> HandsetShown:
    return HandsetShown(handset.number, handset.has_rcs, handset.is_on, handset.reads, list(handset.features))


def _shown_message(row: Row) -> MessageShown:
    return MessageShown(
        row["id"],
        row["message_id"],
        row["agent_id"],
        row["state"],
        spoken(row["body"]),
        suggestions_of(row["body"]),
        row["body"],
        row["expires_at"],
        row["at"],
    )
