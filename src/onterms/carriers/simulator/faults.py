"""Injected failures: of messages, decided in the carrier; of customers' webhooks, decided before the call is made."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode, urlsplit

from onterms.carriers.simulator import store
from onterms.carriers.simulator.model import MESSAGE_FAULTS, WEBHOOK_FAULTS, Fault, Plan, Setting, decide
from onterms.core.clock import Clock
from onterms.core.db import Database, Tx
from onterms.core.e164 import split_address
from onterms.core.following import Follower
from onterms.ports.callback import BODY_KEPT_BYTES, Answer, Attempt, Callback, CallbackClient
from onterms.ports.message_carrier import OutboundMessage

_USERINFO = re.compile(r"//[^/?#@\s]*@")
_WEBHOOK_KINDS = sorted(WEBHOOK_FAULTS)
_MESSAGE_KINDS = sorted(MESSAGE_FAULTS)


class Faults:
    """The faults of an install. Webhooks ask in memory whether there are any; only then the database is asked which."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._webhooks_disturbed = False
        self._follower = Follower(database, store.CHANNEL, self.reload)

    async def start(self) -> None:
        """Load what there is and follow what other processes change."""
        await self._follower.start()

    async def close(self) -> None:
        """Follow no more."""
        await self._follower.close()

    async def reload(self) -> None:
        """Read again whether webhooks are disturbed."""
        async with self._database.snapshot() as tx:
            self._webhooks_disturbed = await store.webhooks_are_disturbed(tx)

    async def add(self, tx: Tx, fault: Fault) -> Fault:
        """Inject a fault and return it with its id."""
        kept = replace(fault, id=await store.add_fault(tx, fault))
        await self._note(tx)
        return kept

    async def delete(self, tx: Tx, id_: int | None = None) -> int:
        """Take one fault back, or all, and return how many there were."""
        count = await store.delete_faults(tx, id_)
        await self._note(tx)
        return count

    async def plan(self, tx: Tx, messages: Sequence[OutboundMessage]) -> list[Plan]:
        """Decide on messages that are new to us, by the handsets' settings and the faults, and count the hits."""
        faults = await store.lock_faults(tx, _MESSAGE_KINDS)
        handsets = [split_address(message.recipient).identity for message in messages]
        settings = await store.settings_of(tx, handsets)
        plans = [
            decide(
                settings.get(handset, Setting()),
                faults,
                recipient=handset,
                sender=split_address(message.sender).identity,
            )
            for handset, message in zip(handsets, messages, strict=True)
        ]
        await store.save_faults(tx, [fault for fault in faults if fault.seen])
        return plans

    async def strike(self, callback: Callback) -> Fault | None:
        """Return the fault that this webhook meets, or None."""
        if not self._webhooks_disturbed:
            return None
        host = (urlsplit(callback.url).hostname or "").rstrip(".")
        params = dict(callback.params)
        recipient = split_address(params.get("To", "")).identity
        sender = split_address(params.get("From", "")).identity
        async with self._database.transaction() as tx:
            for fault in await store.lock_faults(tx, _WEBHOOK_KINDS):
                seen = fault.seen
                struck = fault.strikes(recipient=recipient, sender=sender, host=host)
                if fault.seen != seen:
                    await store.save_faults(tx, [fault])
                if struck:
                    if fault.remaining == 0:
                        await self._note(tx)
                    return fault
        return None

    async def _note(self, tx: Tx) -> None:
        # The change must be felt by the very next call in this process, before the notification has come round.
        disturbed = await store.webhooks_are_disturbed(tx)

        def note() -> None:
            self._webhooks_disturbed = disturbed

        tx.after_commit(note)


@dataclass(frozen=True, slots=True)
class _Failure:
    error_code: int
    error: str
    duration_ms: int = 0


# The codes are the ones the webhook client gives for the real failure. The timeout is Twilio's whole budget for a call
# (Twilio docs, error 11205); it is reported and not waited for, so that a test of it takes no 15 s.
_FAILURES: Final[dict[str, _Failure]] = {
    "webhook_timeout": _Failure(11205, "no complete answer within 15000 ms (simulated)", 15_000),
    "webhook_refused": _Failure(11205, "the connection failed: Connection refused (simulated)"),
    "webhook_dns": _Failure(11210, "the host name cannot be resolved (simulated)"),
}


class FaultyCallbacks:
    """A callback client that meets the injected faults and otherwise passes calls on."""

    def __init__(self, inner: CallbackClient, faults: Faults, clock: Clock) -> None:
        self._inner = inner
        self._faults = faults
        self._clock = clock

    async def call(self, callback: Callback) -> Answer:
        """Make the call, or fail as a fault says: at once, whole, and without touching the network."""
        fault = await self._faults.strike(callback)
        if fault is None:
            return await self._inner.call(callback)
        status: int | None = None
        failure: _Failure | None
        if fault.kind == "webhook_status":
            status = fault.code or HTTPStatus.INTERNAL_SERVER_ERROR
            failure = _failure_of_status(status)
        else:
            failure = _FAILURES[fault.kind]
        error_code = failure.error_code if failure else None
        error = failure.error if failure else None
        attempt = Attempt(
            url=_shown_url(callback.url),
            method=callback.method,
            started_at=self._clock.now(),
            duration_ms=failure.duration_ms if failure else 0,
            status=status,
            error_code=error_code,
            error=error,
            request_headers={},
            request_body=_shown_body(callback),
            response_headers={},
            response_body="",
        )
        return Answer(
            status=status,
            content_type="",
            body=b"",
            headers={},
            error_code=error_code,
            error=error,
            attempts=(attempt,),
        )


def _shown_url(url: str) -> str:
    # A customer's user name and password do not belong in a log.
    plain = _USERINFO.sub("//", url.partition("#")[0], count=1)
    return plain.replace("\0", "").encode("utf-8", "replace").decode()


def _shown_body(callback: Callback) -> str:
    if callback.method == "GET":
        return ""
    body = callback.json_body
    if body is None:
        body = urlencode(callback.params, errors="replace").encode("ascii")
    return body[:BODY_KEPT_BYTES].decode("utf-8", "replace").replace("\0", "")


def _failure_of_status(status: int) -> _Failure | None:
    if 200 <= status < 300:
        return None
    if status >= 400:
        return _Failure(11200, f"the server answered with status {status} (simulated)")
    return _Failure(11216, f"status {status} is no redirect that can be followed (simulated)")
