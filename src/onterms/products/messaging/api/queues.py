"""Our own routes for senders' queues, and for the rates that the operator sets."""

from datetime import datetime
from typing import Final

from onterms.core.db import Row, Tx
from onterms.core.errors import AuthenticationFailed, InvalidParameter
from onterms.engines.api import OwnRequest, OwnRoute
from onterms.engines.api.shapes import Instant, Items, Paging, Shape, Sid, Text, page
from onterms.products.messaging.model.queues import SenderType, key_of
from onterms.products.messaging.service.queues import SenderQueues, Shown
from onterms.products.messaging.store import queues as store

_RATES: Final = "/operator/v1/SenderRates"
_PAGE: Final = 50


class SenderQueue(Shape):
    """A queue. `queue` names its sender, or the campaign whose senders share it.

    Units: seconds, and segments a second; a rate of 0 is as fast as the carrier takes it. Of long queues, messages and
    segments are estimates.
    """

    account_sid: str
    queue: str
    segments_per_s: float
    messages_waiting: int
    segments_waiting: int
    drained_in_s: float
    oldest_waits_since: datetime | None
    is_estimate: bool


class SenderRate(Shape):
    """How fast a sender, all of an account, all of a type, or those of one account may send."""

    sid: str
    account_sid: str | None
    sender: str | None
    sender_type: str | None
    segments_per_s: float
    created_at: Instant
    updated_at: Instant


class NewSenderRate(Shape):
    """A rate: of a sender with its account, of an account, of a type, or of an account's senders of a type."""

    segments_per_s: float
    account_sid: Sid | None = None
    sender: Text | None = None
    sender_type: SenderType | None = None


class OfAccount(Paging):
    """Which rates: of one account, or all."""

    account_sid: str = ""


class QueueApi:
    """The routes."""

    def __init__(self, queues: SenderQueues) -> None:
        self._queues = queues

    def routes(self) -> list[OwnRoute]:
        """Return the routes."""
        return [
            OwnRoute(
                "GET", "/commercial/v1/SenderQueues", "account", self.list_own, summary="List the senders' queues"
            ),
            OwnRoute(
                "GET",
                "/operator/v1/SenderQueues",
                "operator",
                self.list_all,
                summary="List all senders' queues, the longest first",
            ),
            OwnRoute("GET", _RATES, "operator", self.list_rates, summary="List how fast senders may send"),
            OwnRoute("PUT", _RATES, "operator", self.put_rate, summary="Say how fast a sender may send"),
            OwnRoute(
                "DELETE", f"{_RATES}/{{sid}}", "operator", self.delete_rate, summary="Go back to the default rate"
            ),
        ]

    async def list_own(self, tx: Tx, request: OwnRequest, query: Paging) -> Items[SenderQueue]:
        """List the queues of the account's senders."""
        if request.caller is None:
            raise AuthenticationFailed("This needs an account's credentials")
        account_sid = request.caller.account.sid
        found = await self._queues.of_account(tx, account_sid, query.next, _PAGE + 1, request.at)
        return page([_queue(each) for each in found], _PAGE, lambda each: each.queue)

    async def list_all(self, tx: Tx, request: OwnRequest, query: Paging) -> Items[SenderQueue]:
        """List the queues that somebody waits in."""
        found = await self._queues.longest(tx, _place(query.next), _PAGE + 1, request.at)
        ends = {(each.account_sid, each.group): next_at for next_at, each in found}

        def token(each: SenderQueue) -> str:
            return f"{ends[each.account_sid, each.queue].isoformat()}|{each.account_sid}|{each.queue}"

        return page([_queue(each) for _, each in found], _PAGE, token)

    async def list_rates(self, tx: Tx, request: OwnRequest, query: OfAccount) -> Items[SenderRate]:
        """List the rates that were set."""
        rows = await store.page(tx, query.account_sid or None, query.next, _PAGE + 1)
        return page([_rate(row) for row in rows], _PAGE)

    async def put_rate(self, tx: Tx, request: OwnRequest, body: NewSenderRate) -> SenderRate:
        """Set a rate; who waits already moves to where it puts them."""
        of = (body.account_sid, body.sender, body.sender_type)
        return _rate(await self._queues.put(tx, of, body.segments_per_s, request.at))

    async def delete_rate(self, tx: Tx, request: OwnRequest, sid: str) -> None:
        """Take a rate away."""
        await self._queues.delete(tx, sid, request.at)


def _place(token: str) -> tuple[datetime, str] | None:
    if not token:
        return None
    at, _, rest = token.partition("|")
    account_sid, _, group = rest.partition("|")
    try:
        return datetime.fromisoformat(at), key_of(account_sid, group)
    except ValueError:
        raise InvalidParameter("'next' is none of ours") from None


def _queue(each: Shown) -> SenderQueue:
    return SenderQueue(
        account_sid=each.account_sid,
        queue=each.group,
        segments_per_s=each.per_s,
        messages_waiting=each.messages,
        segments_waiting=each.segments,
        drained_in_s=each.drained_in_s,
        oldest_waits_since=each.oldest,
        is_estimate=each.is_estimate,
    )


def _rate(row: Row) -> SenderRate:
    return SenderRate.of(row)
