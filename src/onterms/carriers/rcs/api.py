"""The operator's API of RCS: `/operator/v1/RcsConnections` and the agents that each holds."""

from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Meta, UnsetType

from onterms.carriers.rcs import store
from onterms.carriers.rcs.model import ConnectionSettings, TrafficType
from onterms.carriers.rcs.webhook import PATH
from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.core.vault import Vault
from onterms.engines.api.own import Created, OwnRequest, OwnRoute
from onterms.engines.api.shapes import Items, Shape, Sid, whole
from onterms.protocols import rbm

_BASE: Final = "/operator/v1/RcsConnections"

_Name = Annotated[str, Meta(min_length=1, max_length=64)]
_Url = Annotated[str, Meta(max_length=253, pattern=r"^https?://[A-Za-z0-9.:_-]+$")]
_Key = Annotated[str, Meta(min_length=1, max_length=16_384)]
_Token = Annotated[str, Meta(min_length=16, max_length=512)]
# Twilio docs, RCS senders: the sender's id in an address.
_Agent = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
_AgentId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.@-]{1,128}$")]


class ConnectionChange(Shape):
    """What is set of a connection; what is left out stays, or is the default of a new one."""

    name: _Name | UnsetType = UNSET
    # The JSON key file of the partner's service account, as text.
    service_account: _Key | UnsetType = UNSET
    client_token: _Token | UnsetType = UNSET
    base_url: _Url | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    traffic_type: TrafficType | UnsetType = UNSET
    timeout_s: Annotated[float, Meta(ge=1, le=120)] | UnsetType = UNSET
    concurrent_max: Annotated[int, Meta(ge=1, le=1000)] | UnsetType = UNSET
    marks_read: bool | UnsetType = UNSET


class ConnectionShown(Shape):
    """A connection; its secrets are never shown. `webhook` is what the platform's console wants to be told."""

    sid: Sid
    name: str
    webhook: str
    base_url: str
    enabled: bool
    traffic_type: TrafficType
    timeout_s: float
    concurrent_max: int
    marks_read: bool
    date_created: datetime
    date_updated: datetime


class NewAgent(Shape):
    """An agent of an account: `name` is what it writes after `rcs:`, `agent_id` what the platform calls the agent."""

    name: _Agent
    agent_id: _AgentId
    account_sid: Sid


class AgentShown(Shape):
    """An agent of a connection."""

    name: str
    agent_id: str
    account_sid: Sid | None
    date_created: datetime


class RcsApi:
    """The handlers behind `routes`."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def routes(self) -> list[OwnRoute]:
        """Return the routes."""
        one, agents = _BASE + "/{sid}", _BASE + "/{sid}/Agents"
        return [
            OwnRoute("GET", _BASE, "operator", self.list_connections, summary="List RCS connections"),
            OwnRoute("POST", _BASE, "operator", self.make_connection, summary="Add an RCS connection"),
            OwnRoute("GET", one, "operator", self.get_connection, summary="Show an RCS connection"),
            OwnRoute("POST", one, "operator", self.change_connection, summary="Change an RCS connection"),
            OwnRoute("DELETE", one, "operator", self.delete_connection, summary="Delete one and its agents"),
            OwnRoute("GET", agents, "operator", self.list_agents, summary="List a connection's agents"),
            OwnRoute("POST", agents, "operator", self.add_agent, summary="Add an agent"),
            OwnRoute("DELETE", agents + "/{name}", "operator", self.delete_agent, summary="Take an agent away"),
        ]

    async def list_connections(self, tx: Tx) -> Items[ConnectionShown]:
        """List all connections."""
        return whole([_shown(row) for row in await store.connections(tx)])

    async def make_connection(self, tx: Tx, request: OwnRequest, body: ConnectionChange) -> Created[ConnectionShown]:
        """Add a connection; it is used at once."""
        for name in ("name", "service_account", "client_token"):
            if getattr(body, name) is UNSET:
                raise InvalidParameter(f"'{name}' is required")
        return await self._save(tx, new_sid("QB", request.at), None, body, request.at)

    async def get_connection(self, tx: Tx, sid: str) -> ConnectionShown:
        """Show a connection."""
        return _shown(await _connection(tx, sid))

    async def change_connection(self, tx: Tx, request: OwnRequest, sid: str, body: ConnectionChange) -> ConnectionShown:
        """Change a connection."""
        return await self._save(tx, sid, await _connection(tx, sid, lock=True), body, request.at)

    async def delete_connection(self, tx: Tx, sid: str) -> None:
        """Delete a connection and its agents."""
        await _connection(tx, sid, lock=True)
        await store.delete_connection(tx, sid)

    async def _save(self, tx: Tx, sid: str, row: Row | None, body: ConnectionChange, at: datetime) -> ConnectionShown:
        changes: dict[str, Any] = {
            name: getattr(body, name)
            for name in ConnectionSettings.__struct_fields__
            if getattr(body, name) is not UNSET
        }
        settings = ConnectionSettings() if row is None else store.settings_of(row)
        settings = msgspec.structs.replace(settings, **changes)
        if not _is_private(settings.base_url):
            raise InvalidParameter("'base_url' must be https, or who listens has the token")
        name = body.name if isinstance(body.name, str) else row["name"] if row is not None else ""
        if await store.name_is_taken(tx, name, sid):
            raise InvalidParameter("'name' is another connection's already")
        key: bytes = row["service_account"] if row is not None else b""
        if isinstance(body.service_account, str):
            try:
                account = rbm.read_key(body.service_account)
            except rbm.KeyInvalid as error:
                raise InvalidParameter(f"'service_account': {error}") from None
            if not _is_private(account.token_url):
                raise InvalidParameter("'service_account' has a token_uri that is not https")
            key = self._vault.seal(body.service_account, sid)
        token: bytes = row["client_token"] if row is not None else b""
        if isinstance(body.client_token, str):
            token = self._vault.seal(body.client_token, sid)
        await store.save_connection(tx, sid, name, key, token, settings, at)
        return _shown(await _connection(tx, sid))

    async def list_agents(self, tx: Tx, sid: str) -> Items[AgentShown]:
        """List a connection's agents."""
        await _connection(tx, sid)
        return whole([_shown_agent(row) for row in await store.agents(tx, sid)])

    async def add_agent(self, tx: Tx, request: OwnRequest, sid: str, body: NewAgent) -> Created[AgentShown]:
        """Add an agent and give it to an account, which may then have it as a sender."""
        await _connection(tx, sid, lock=True)
        row = await store.insert_agent(tx, body.account_sid, body.name, sid, body.agent_id, request.at)
        if row is None:
            raise InvalidParameter("'name' or 'agent_id' is another agent's already")
        return _shown_agent(row)

    async def delete_agent(self, tx: Tx, sid: str, name: str) -> None:
        """Take an agent away; messages from it are refused from now on."""
        if not await store.delete_agent(tx, sid, name):
            raise NotFound("There is no such agent")


async def _connection(tx: Tx, sid: str, *, lock: bool = False) -> Row:
    row = await store.connection(tx, sid, lock=lock)
    if row is None:
        raise NotFound("There is no such connection")
    return row


def _is_private(url: str) -> bool:
    """Tell whether nobody on the way can listen: https, or this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost"))


def _shown(row: Row) -> ConnectionShown:
    settings = store.settings_of(row)
    return ConnectionShown(
        sid=row["sid"],
        name=row["name"],
        webhook=PATH.replace("{sid}", row["sid"]),
        date_created=row["created_at"],
        date_updated=row["updated_at"],
        **{name: getattr(settings, name) for name in ConnectionSettings.__struct_fields__},
    )


def _shown_agent(row: Row) -> AgentShown:
    return AgentShown(row["name"], row["agent_id"], row["account_sid"], row["created_at"])
