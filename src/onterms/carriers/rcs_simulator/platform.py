"""The platform's side of the conversation.

Theory of operation. `ask` answers the requests that an agent makes, with the platform's own shapes and errors: tokens
for assertions that our key signed, messages, revocations, capabilities, events. What the platform tells the agent
leaves as jobs, committed with what it tells of, and is pushed in order for each user, in an envelope that is signed as
the platform signs; a push that is not answered well is repeated. A message to a handset that is switched off waits; at
its end it is revoked, and the agent is told.
"""

import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from onterms.carriers.rcs_simulator import store
from onterms.carriers.rcs_simulator.model import AgentEvent, AgentMessage, RcsHandset
from onterms.core.clock import Clock, SystemClock
from onterms.core.db import Database, Row, Tx
from onterms.core.ids import new_sid
from onterms.engines.jobs import Backoff, Job, NewJob, Run, Worker, enqueue
from onterms.protocols import rbm
from onterms.protocols.rbm.content import timestamp
from onterms.protocols.rbm.service_account import decoded
from onterms.protocols.rbm.webhook import envelope

PUSH_TASK: Final = "rcs_simulator.push"
EXPIRE_TASK: Final = "rcs_simulator.expire"
TOKEN_URL: Final = "https://oauth2.googleapis.com/token"
_EMAIL: Final = "agent@sandbox.iam.gserviceaccount.com"
_TOKEN_LIFE_S: Final = 3600
# The platform pushes for seven days; here an outage is a restart.
_BACKOFF: Final = Backoff(first_s=1.0, max_s=60.0)

# Pushes one body with its signature and returns the status that the agent answered with.
Push = Callable[[str, bytes], Awaitable[int]]

_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
}


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RcsSimulator:
    """The platform, for sandboxes and tests. `ask` is its whole upstream side, whatever carries the requests.

    Shapes: `push` is the agent's webhook; `world` is the time that tokens are dated by.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        client_token: str,
        token_url: str = TOKEN_URL,
        world: Clock | None = None,
    ) -> None:
        self.client_token = client_token
        self.token_url = token_url
        self.push: Push | None = None
        self._database = database
        self._clock = clock
        self._world = world or SystemClock()
        self._token_key = secrets.token_bytes(32)

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        # Whoever holds this object is the partner; nobody else can sign as it. Made when it is first needed, for that
        # takes a tenth of a second.
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def account(self) -> rbm.ServiceAccount:
        """Return the partner's service account."""
        return rbm.ServiceAccount(_EMAIL, "sandbox", self.token_url, self._key)

    def key_file(self) -> str:
        """Return the service account's key file, as the platform's console hands one out."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = {
            "type": "service_account",
            "private_key_id": "sandbox",
            "private_key": pem.decode(),
            "client_email": _EMAIL,
            "token_uri": self.token_url,
        }
        return msgspec.json.encode(file).decode()

    def register(self, worker: Worker) -> None:
        """Serve the platform's jobs; before the worker runs."""
        worker.register(PUSH_TASK, self._push, batch_max=1, concurrency=8, attempts_max=50, backoff=_BACKOFF)
        worker.register(EXPIRE_TASK, self._expire, batch_max=1, concurrency=2, attempts_max=50, backoff=_BACKOFF)

    # ---- what agents ask

    async def ask(self, request: rbm.Request) -> rbm.Answer:
        """Answer one request as the platform does."""
        url = urlsplit(request.url)
        try:
            if url.path.endswith("/token"):
                return _json(200, self._token(request.body.decode()))
            self._require_token(request.headers.get("Authorization", ""))
            query = {name: values[-1] for name, values in parse_qs(url.query).items()}
            parts = [unquote(part) for part in url.path.strip("/").split("/")]
            if len(parts) not in (4, 5) or parts[:2] != ["v1", "phones"]:
                raise _Refused(404, "Method not found.")
            agent_id = query.get("agentId", "")
            if not agent_id:
                raise _Refused(400, "agentId is required.")
            async with self._database.transaction() as tx:
                return await self._answer(tx, request, parts[2:], query, agent_id)
        except _Refused as refusal:
            error = {"code": refusal.status, "message": str(refusal), "status": _STATUSES[refusal.status]}
            return _json(refusal.status, {"error": error})

    async def _answer(
        self, tx: Tx, request: rbm.Request, parts: list[str], query: dict[str, str], agent_id: str
    ) -> rbm.Answer:
        phone, resource, *rest = parts
        handset = await store.handset(tx, phone)
        if request.method == "DELETE" and resource == "agentMessages" and rest:
            return await self._revoke(tx, agent_id, phone, rest[0])
        if rest or (request.method, resource) not in (
            ("POST", "agentMessages"),
            ("POST", "agentEvents"),
            ("GET", "capabilities"),
        ):
            raise _Refused(404, "Method not found.")
        if not handset.has_rcs:
            raise _Refused(404, f"Requested entity was not found. {phone} is not reachable by RCS.")
        if resource == "capabilities":
            if not query.get("requestId"):
                raise _Refused(400, "requestId is required.")
            return _json(200, {"name": f"phones/{phone}/capabilities", "features": list(handset.features)})
        if resource == "agentEvents":
            _read(request.body, AgentEvent)
            if not query.get("eventId"):
                raise _Refused(400, "eventId is required.")
            return _json(200, {"name": f"phones/{phone}/agentEvents/{query['eventId']}"})
        return await self._send(tx, handset, agent_id, query.get("messageId", ""), request.body)

    async def _send(self, tx: Tx, handset: RcsHandset, agent_id: str, message_id: str, body: bytes) -> rbm.Answer:
        if not message_id:
            raise _Refused(400, "messageId is required.")
        message = _read(body, AgentMessage)
        at = self._clock.now()
        expires_at = None
        if isinstance(message.ttl, str):
            expires_at = at + timedelta(seconds=float(message.ttl[:-1]))
        elif isinstance(message.expire_time, datetime):
            expires_at = message.expire_time
        kept = msgspec.json.decode(body)
        state = "delivered" if handset.is_on else "waiting"
        phone = handset.number
        if not await store.insert_message(tx, phone, agent_id, message_id, kept, state, expires_at, at):
            raise _Refused(409, f"Requested entity already exists: {message_id}.")
        if handset.is_on:
            await self._arrived(tx, handset, agent_id, message_id, at)
        elif expires_at is not None:
            job = NewJob(EXPIRE_TASK, {"agent": agent_id, "message": message_id}, due_at=expires_at)
            await enqueue(tx, [job], at)
        name = f"phones/{phone}/agentMessages/{message_id}"
        return _json(200, {"name": name, "sendTime": timestamp(at), **kept})

    async def _revoke(self, tx: Tx, agent_id: str, phone: str, message_id: str) -> rbm.Answer:
        row = await store.message(tx, agent_id, message_id)
        if row is None or row["phone"] != phone:
            raise _Refused(404, f"Requested entity was not found: {message_id}.")
        if row["state"] == "waiting":
            await store.move(tx, row["id"], "revoked")
        return _json(200, {})

    def _token(self, form: str) -> dict[str, Any]:
        given = parse_qs(form)
        try:
            assertion = given["assertion"][0]
            signed, _, signature = assertion.rpartition(".")
            public = self._key.public_key()
            public.verify(decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
            claims = msgspec.json.decode(decoded(signed.partition(".")[2]))
            now = self._world.now().timestamp()
            # RFC 7523 3: dated about now, for us, and for this use.
            is_good = claims["iat"] - 60 <= now < claims["exp"] and claims["aud"] == self.token_url
            is_good = is_good and claims["scope"] == rbm.SCOPE and claims["iss"] == _EMAIL
        except (KeyError, IndexError, ValueError, TypeError, InvalidSignature, msgspec.MsgspecError):
            is_good = False
        if not is_good:
            raise _Refused(401, "invalid_grant")
        ends = str(int(self._world.now().timestamp()) + _TOKEN_LIFE_S)
        return {
            "access_token": f"{ends}.{self._mac(ends)}",
            "expires_in": _TOKEN_LIFE_S,
            "token_type": "Bearer",
        }

    def _mac(self, text: str) -> str:
        return hmac.digest(self._token_key, text.encode(), "sha256").hex()

    def _require_token(self, header: str) -> None:
        ends, _, mac = header.removeprefix("Bearer ").partition(".")
        is_ours = hmac.compare_digest(self._mac(ends).encode(), mac.encode())
        if not is_ours or int(ends) < self._world.now().timestamp():
            raise _Refused(401, "Request had invalid authentication credentials.")

    # ---- what the platform tells

    async def tell(self, tx: Tx, agent_id: str, phone: str, fields: dict[str, Any], at: datetime) -> None:
        """Push something to an agent, after everything else that happened with this user."""
        payload = {"data": fields | {"agentId": agent_id, "sendTime": timestamp(at)}}
        await enqueue(tx, [NewJob(PUSH_TASK, payload, order_key=f"rcs {phone}")], at)

    async def tell_event(
        self, tx: Tx, agent_id: str, phone: str, kind: str, at: datetime, message_id: str | None = None
    ) -> None:
        """Push a user's event."""
        fields = {"senderPhoneNumber": phone, "eventType": kind, "eventId": new_sid("EV", at)}
        await self.tell(tx, agent_id, phone, fields | ({"messageId": message_id} if message_id else {}), at)

    async def _arrived(self, tx: Tx, handset: RcsHandset, agent_id: str, message_id: str, at: datetime) -> None:
        await self.tell_event(tx, agent_id, handset.number, "DELIVERED", at, message_id)
        if handset.reads:
            row = await store.message(tx, agent_id, message_id)
            assert row is not None, "it is there"
            await self.read(tx, row, at)

    async def read(self, tx: Tx, row: Row, at: datetime) -> None:
        """Let the user read a message."""
        await store.move(tx, row["id"], "read")
        await self.tell_event(tx, row["agent_id"], row["phone"], "READ", at, row["message_id"])

    async def set_handset(self, tx: Tx, handset: RcsHandset, at: datetime) -> None:
        """Say how a handset behaves; switched on, it gets what waited."""
        await store.set_handset(tx, handset)
        if not handset.is_on or not handset.has_rcs:
            return
        for row in await store.messages(tx, handset.number, ("waiting",), 1000):
            await store.move(tx, row["id"], "delivered")
            await self._arrived(tx, handset, row["agent_id"], row["message_id"], at)

    async def _push(self, run: Run, batch: list[Job]) -> None:
        for job in batch:
            data = msgspec.json.encode(job.payload["data"])
            status = 0
            if self.push is not None:
                at = run.clock.now()
                # The same name with each try, by which a repeat is known.
                body = envelope(data, str(job.id), timestamp(at))
                status = await self.push(rbm.sign(self.client_token, data), body)
            async with run.transaction() as tx:
                if status == 200:
                    await run.complete(tx, [job])
                else:
                    due_at = run.clock.now() + timedelta(seconds=5)
                    await run.retry(tx, job, due_at=due_at, error=f"the agent answered {status}")

    async def _expire(self, run: Run, batch: list[Job]) -> None:
        for job in batch:
            async with run.transaction() as tx:
                at = run.clock.now()
                row = await store.message(tx, job.payload["agent"], job.payload["message"])
                if row is not None and row["state"] == "waiting":
                    await store.move(tx, row["id"], "revoked")
                    fields = {
                        "phoneNumber": row["phone"],
                        "messageId": row["message_id"],
                        "eventType": "TTL_EXPIRATION_REVOKED",
                        "eventId": new_sid("EV", at),
                    }
                    await self.tell(tx, row["agent_id"], row["phone"], fields, at)
                await run.complete(tx, [job])


def changed(handset: RcsHandset, **changes: Any) -> RcsHandset:
    """Return a handset with some of its settings changed."""
    return replace(handset, **changes)


def _read(body: bytes, shape: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise _Refused(400, f"Request contains an invalid argument. {error}") from None


def _json(status: int, value: Any) -> rbm.Answer:
    return rbm.Answer(status, msgspec.json.encode(value))
