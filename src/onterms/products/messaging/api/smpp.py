"""Routes of our own for the SMPP server: an account's users, the operator's view of who is bound."""

import msgspec

from onterms.core.db import Tx
from onterms.core.errors import Forbidden
from onterms.engines.api import OwnRequest, OwnRoute
from onterms.engines.api.own import Created
from onterms.engines.api.shapes import Items, Paging, page
from onterms.products.messaging import wire
from onterms.products.messaging.service import send, smpp_users
from onterms.products.messaging.store import smpp as store

_BASE = "/commercial/v1/SmppUsers"
_PAGE = 50
# What acts for the account as its owner would; other keys make no credentials.
_OWNERS = ("token", "secondary_token", "main_key")


class SmppApi:
    """The routes."""

    def __init__(self, senders: send.Senders) -> None:
        self._senders = senders

    def routes(self) -> list[OwnRoute]:
        """Return the routes."""
        return [
            OwnRoute("POST", _BASE, "account", self.create, summary="Make an SMPP user"),
            OwnRoute("GET", _BASE, "account", self.list, summary="List SMPP users"),
            OwnRoute("GET", f"{_BASE}/{{sid}}", "account", self.fetch, summary="Show an SMPP user"),
            OwnRoute("POST", f"{_BASE}/{{sid}}", "account", self.update, summary="Change an SMPP user"),
            OwnRoute("DELETE", f"{_BASE}/{{sid}}", "account", self.delete, summary="Remove an SMPP user"),
            OwnRoute(
                "GET", "/operator/v1/SmppSessions", "operator", self.sessions, summary="List who is bound by SMPP"
            ),
        ]

    async def create(self, tx: Tx, request: OwnRequest, body: wire.NewSmppUser) -> Created[wire.SmppUser]:
        """Make a user."""
        account_sid = _account_of(request)
        wanted = msgspec.structs.asdict(body)
        row, password = await smpp_users.create(tx, self._senders, account_sid, wanted, request.at)
        return wire.smpp_user(row, password)

    async def list(self, tx: Tx, request: OwnRequest, query: Paging) -> Items[wire.SmppUser]:
        """List users."""
        found = await smpp_users.page(tx, _account_of(request), query.next, _PAGE + 1)
        return page([wire.smpp_user(row) for row in found], _PAGE)

    async def fetch(self, tx: Tx, request: OwnRequest, sid: str) -> wire.SmppUser:
        """Show a user."""
        return wire.smpp_user(await smpp_users.fetch(tx, _account_of(request), sid))

    async def update(self, tx: Tx, request: OwnRequest, sid: str, body: wire.SmppUserChange) -> wire.SmppUser:
        """Change a user; what is left out stays. Its sessions end within seconds and bind again."""
        changes = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not msgspec.UNSET}
        return wire.smpp_user(await smpp_users.update(tx, self._senders, _account_of(request), sid, changes))

    async def delete(self, tx: Tx, request: OwnRequest, sid: str) -> None:
        """Remove a user; its sessions end within seconds."""
        await smpp_users.delete(tx, _account_of(request), sid)

    async def sessions(self, tx: Tx, query: Paging) -> Items[wire.SmppSession]:
        """List who is bound."""
        return page([wire.smpp_session(row) for row in await store.sessions(tx, query.next, _PAGE + 1)], _PAGE)


def _account_of(request: OwnRequest) -> str:
    caller = request.caller
    assert caller is not None, "the route asks for an account's credentials"
    if caller.credential not in _OWNERS or caller.account.test:
        raise Forbidden("SMPP users are made with the account's own token or a main key")
    if caller.account.status != "active":
        raise Forbidden("The account is not active")
    return caller.account.sid
