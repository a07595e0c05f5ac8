"""The room's routes under /commercial/v1."""

from onterms.business import customers
from onterms.business.standing import wire
from onterms.business.standing.service import blocks
from onterms.core.db import Tx
from onterms.engines.api.own import OwnReply, OwnRequest, OwnRoute


class Api:
    """What a customer's accounts may do, and what keeps them from more."""

    def routes(self) -> list[OwnRoute]:
        """Return the room's routes."""
        base = "/commercial/v1"
        return [
            OwnRoute("GET", f"{base}/Standing", "customer", self.show, summary="Show what accounts may do, and why"),
            OwnRoute("GET", f"{base}/Blocks", "customer", self.list_blocks, summary="List blocks, lifted ones too"),
        ]

    async def show(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        sids = await customers.accounts_of(tx, customer.sid)
        if request.caller is not None and request.caller.account.sid not in sids:
            sids = [*sids, request.caller.account.sid]
        found = await blocks.states(tx, sids)
        return OwnReply({"items": [wire.state(sid, found[sid]) for sid in sids], "next": None})

    async def list_blocks(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer = await customers.customer_of_request(tx, request)
        found = await blocks.blocks_of(tx, customer.sid, only_open=False)
        return OwnReply({"items": [wire.block(one) for one in found], "next": None})
