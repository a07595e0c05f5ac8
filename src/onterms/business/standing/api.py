"""The room's routes under /commercial/v1."""

from onterms.business import accounts, customers
from onterms.business.standing import wire
from onterms.business.standing.service import blocks
from onterms.core.db import Tx
from onterms.engines.api.own import OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, whole


class Api:
    """What a customer's accounts may do, and what keeps them from more."""

    def routes(self) -> list[OwnRoute]:
        """Return the room's routes."""
        base = "/commercial/v1"
        return [
            OwnRoute("GET", f"{base}/Standing", "customer", self.show, summary="Show what accounts may do, and why"),
            OwnRoute("GET", f"{base}/Blocks", "customer", self.list_blocks, summary="List blocks, lifted ones too"),
        ]

    async def show(self, tx: Tx, request: OwnRequest, mine: customers.Mine) -> Items[wire.State]:
        mains = await customers.accounts_of(tx, mine.sid)
        sids = [sid for main in mains for sid in await accounts.family(tx, main)]
        if request.caller is not None and request.caller.account.sid not in sids:
            sids.append(request.caller.account.sid)
        found = await blocks.states(tx, sids)
        return whole([wire.state(sid, found[sid]) for sid in sids])

    async def list_blocks(self, tx: Tx, mine: customers.Mine) -> Items[wire.Block]:
        return whole([wire.block(one) for one in await blocks.blocks_of(tx, mine.sid, only_open=False)])
