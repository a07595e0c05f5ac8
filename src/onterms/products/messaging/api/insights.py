"""Our own route for insights, which the contract has none for."""

from onterms.core.db import Tx
from onterms.engines.api import OwnRequest, OwnRoute
from onterms.products.messaging.service import insights
from onterms.products.messaging.wire import insights as wire


async def _read(tx: Tx, request: OwnRequest, query: wire.InsightQuery) -> wire.Insight:
    assert request.caller is not None, "the route asks for an account's credentials"
    span, by = query.range(request.at), query.by()
    found = await insights.read(tx, request.caller.account.sid, *span, query.filters(), by, request.at)
    return wire.insight_of(span, found.as_of, found.total, found.groups, by, found.latency)


def insight_routes() -> list[OwnRoute]:
    """Return the route."""
    return [OwnRoute("GET", "/commercial/v1/MessagingInsights", "account", _read, summary="Tell how messages fared")]
