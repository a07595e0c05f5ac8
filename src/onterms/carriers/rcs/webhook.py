"""The webhook door: what the platform pushes, believed only with the signature of the connection it came by.

Google pushes again what is not answered with 200, for days, and one partner's pushes wait behind each other: so what is
genuine and of no use here (a kind invented since, an agent that is gone) is answered as well, and noted in the log.
"""

import hmac
import logging
from typing import Annotated, Final

from onterms.carriers.rcs import store
from onterms.carriers.rcs.carrier import EVENT_TASK, NAME, Connection, RcsCarrier
from onterms.core.clock import Clock
from onterms.core.db import Database, Tx
from onterms.core.errors import InvalidParameter, NotFound, Refusal
from onterms.core.ids import new_sid
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute, Shows
from onterms.engines.api.shapes import Json
from onterms.engines.jobs import NewJob, enqueue
from onterms.ports.media import FetchFailed, MediaFetcher
from onterms.ports.message_carrier import InboundDetails, InboundMedia, InboundMessage, MessageSink
from onterms.protocols import rbm

_log = logging.getLogger("onterms.rcs")

PATH: Final = "/commercial/v1/RcsWebhooks/{sid}"
SIGNATURE: Final = "x-goog-signature"
# Pub/Sub, quotas: a message has at most 10 MB; what users send comes as URLs, so that this is plenty.
_BYTES_MAX: Final = 256 * 1024
# Twilio docs, RCS: files of users' messages.
_FILE_BYTES_MAX: Final = 16 * 1024 * 1024
# What a user's client says when its owner taps "unsubscribe", in the words of whom writes.
_WORDS: Final = {"UNSUBSCRIBE": "STOP", "SUBSCRIBE": "START"}


class Forged(Refusal):
    """Nobody who holds the connection's client token sent this."""

    code = 20003
    status = 401


class RcsWebhook:
    """Take what the platform pushes. `take` is the whole door, for tests and sandboxes without HTTP."""

    def __init__(
        self, database: Database, clock: Clock, carrier: RcsCarrier, sink: MessageSink, media: MediaFetcher
    ) -> None:
        self._database = database
        self._clock = clock
        self._carrier = carrier
        self._sink = sink
        self._media = media

    async def take(self, sid: str, signature: str, body: bytes) -> bytes:
        """Take one request and return the text to answer with.

        Raises: NotFound, InvalidParameter, Forged; Unavailable where files cannot be looked through now.
        """
        connection = self._carrier.connection(sid)
        if connection is None:
            raise NotFound("There is no such webhook")
        try:
            push = rbm.read_push(body)
        except rbm.Malformed as error:
            raise InvalidParameter(f"This is no push: {error}") from None
        if isinstance(push, rbm.Challenge):
            if not hmac.compare_digest(push.client_token.encode(), connection.client_token.encode()):
                raise Forged("The client token is not this connection's")
            return push.secret.encode()
        if not rbm.is_genuine(connection.client_token, push.data, signature):
            raise Forged("The signature is missing or wrong")
        try:
            arrival = rbm.read_arrival(push.data)
        except rbm.Malformed as error:
            _log.warning("the platform pushed what cannot be read: %s", error)
            return b""
        if arrival is None:
            _log.info("the platform pushed something of a kind that is not known here")
            return b""
        await self._take(connection, arrival)
        return b""

    async def _take(self, connection: Connection, arrival: rbm.Arrival) -> None:
        name = connection.name_of(arrival.agent_id)
        if name is None:
            _log.warning("the platform pushed something for an agent that %s does not hold", connection.sid)
            return
        if isinstance(arrival, rbm.ServerHappened) or (
            isinstance(arrival, rbm.Happened) and arrival.kind in ("DELIVERED", "READ")
        ):
            async with self._database.transaction() as tx:
                await self._became(tx, connection, arrival)
            return
        if isinstance(arrival, rbm.Happened) and arrival.kind not in _WORDS:
            # Nobody here asks who is typing.
            return
        message = await self._message(connection, name, arrival)
        [looked_through] = await self._sink.look_through([message])
        async with self._database.transaction() as tx:
            [taken] = await self._sink.messages_arrived(tx, [looked_through])
            if taken is not None and connection.settings.marks_read and not isinstance(arrival, rbm.Happened):
                await self._mark_read(tx, connection, arrival)

    async def _became(self, tx: Tx, connection: Connection, arrival: rbm.Happened | rbm.ServerHappened) -> None:
        """Record what became of a message, if this agent sent it to this user."""
        for agent_id in (arrival.agent_id, f"{arrival.agent_id}@rbm.goog"):
            row = await store.lock_named(tx, connection.sid, agent_id, arrival.message_id)
            if row is not None:
                break
        if row is None or row["phone"] != arrival.phone:
            _log.info("the platform reports a message that %s did not send", connection.sid)
            return
        at = arrival.at or self._clock.now()
        if isinstance(arrival, rbm.Happened):
            await self._carrier.reached(tx, row, read=arrival.kind == "READ", at=at)
        elif arrival.kind == "TTL_EXPIRATION_REVOKED":
            if row["state"] in ("handed", "following", "taken"):
                await self._carrier.revoked(tx, row, at)
        else:
            # It may still be delivered, or was just now; then that is said, too.
            _log.info("the platform could not revoke %s", row["message_sid"])

    async def _message(self, connection: Connection, name: str, arrival: rbm.Arrival) -> InboundMessage:
        body, media, details = "", tuple[InboundMedia, ...](), InboundDetails()
        if isinstance(arrival, rbm.UserText):
            body = arrival.text
        elif isinstance(arrival, rbm.Tapped):
            body = arrival.text
            details = InboundDetails("button", button_text=arrival.text, button_payload=arrival.postback)
        elif isinstance(arrival, rbm.Located):
            details = InboundDetails("location", latitude=str(arrival.latitude), longitude=str(arrival.longitude))
        elif isinstance(arrival, rbm.UserFile):
            fetched = await self._media.fetch(arrival.url, bytes_max=_FILE_BYTES_MAX)
            if isinstance(fetched, FetchFailed):
                # Pushed again it would keep others waiting, and the URL is what there is.
                body = arrival.url
            else:
                media = (InboundMedia(fetched.content_type, fetched.data),)
                details = InboundDetails("document", data={"file_name": arrival.name})
        elif isinstance(arrival, rbm.Happened):
            body = _WORDS[arrival.kind]
        return InboundMessage(
            carrier=NAME,
            # Unique for the connection, and what others send under the same name is another message.
            carrier_id=f"{connection.sid}/{arrival.agent_id}/{arrival.id}",
            sender=f"rcs:{arrival.phone}",
            recipient=f"rcs:{name}",
            body=body,
            media=media,
            segments=1,
            at=arrival.at or self._clock.now(),
            details=details,
        )

    async def _mark_read(self, tx: Tx, connection: Connection, arrival: rbm.Arrival) -> None:
        at = self._clock.now()
        given = {
            "connection": connection.sid,
            "agent": arrival.agent_id,
            "phone": arrival.phone,
            "event": new_sid("EV", at),
            "message": arrival.id,
        }
        await enqueue(tx, [NewJob(EVENT_TASK, given)], at)


def webhook_routes(webhook: RcsWebhook) -> list[OwnRoute]:
    """Return the door's route."""

    async def receive(request: OwnRequest, sid: str, body: Json) -> Annotated[OwnReply, Shows("text/plain")]:
        """Take a push of the RCS platform, or answer its challenge."""
        signature = request.headers.get(SIGNATURE.encode(), b"").decode("latin-1")
        text = await webhook.take(sid, signature, request.raw_body)
        return OwnReply(None, raw=text, content_type="text/plain")

    return [
        OwnRoute(
            "POST",
            PATH,
            "open",
            free_handler=receive,
            body_bytes_max=_BYTES_MAX,
            summary="Take a signed push of the RCS platform",
        )
    ]
