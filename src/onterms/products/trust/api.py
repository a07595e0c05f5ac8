"""Which operations of the contract this room serves."""

from collections.abc import Mapping, Sequence
from typing import Any

from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.engines.api import Binding, Call, Page, serve
from onterms.products.trust import wire
from onterms.products.trust.model import Kind, policies
from onterms.products.trust.service import bundles, things
from onterms.products.trust.service.bundles import Surroundings


class Api:
    """The room's operations."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    def bindings(self) -> list[Binding]:
        """Return each operation bound to its use case."""
        return [
            *_Bundles(self._around, "customer_profile").bindings("CustomerProfile"),
            *_Bundles(self._around, "trust_product").bindings("TrustProduct"),
            *_Things(things.END_USERS, wire.end_user).bindings("EndUser"),
            *_Things(things.DOCUMENTS, wire.document).bindings("SupportingDocument"),
            *_Types("EndUserTypes", policies.END_USER_TYPES).bindings("EndUserType"),
            *_Types("SupportingDocumentTypes", policies.DOCUMENT_TYPES).bindings("SupportingDocumentType"),
            serve("trusthub_v1:ListPolicies", _list_policies),
            serve("trusthub_v1:FetchPolicies", _fetch_policy),
        ]


class _Bundles:
    """The operations on one kind of bundles."""

    def __init__(self, around: Surroundings, kind: Kind) -> None:
        self._around = around
        self._kind = kind
        self._owner = "CustomerProfileSid" if kind == "customer_profile" else "TrustProductSid"

    def bindings(self, noun: str) -> list[Binding]:
        spec = "trusthub_v1"
        return [
            serve(f"{spec}:Create{noun}", self.create),
            serve(f"{spec}:Fetch{noun}", self.fetch),
            serve(f"{spec}:List{noun}", self.list),
            serve(f"{spec}:Update{noun}", self.update),
            serve(f"{spec}:Delete{noun}", self.delete),
            serve(f"{spec}:Create{noun}EntityAssignment", self.assign),
            serve(f"{spec}:Fetch{noun}EntityAssignment", self.fetch_entity),
            serve(f"{spec}:List{noun}EntityAssignment", self.list_entities),
            serve(f"{spec}:Delete{noun}EntityAssignment", self.unassign),
            serve(f"{spec}:Create{noun}ChannelEndpointAssignment", self.add_endpoint),
            serve(f"{spec}:Fetch{noun}ChannelEndpointAssignment", self.fetch_endpoint),
            serve(f"{spec}:List{noun}ChannelEndpointAssignment", self.list_endpoints),
            serve(f"{spec}:Delete{noun}ChannelEndpointAssignment", self.remove_endpoint),
            serve(f"{spec}:Create{noun}Evaluation", self.evaluate),
            serve(f"{spec}:Fetch{noun}Evaluation", self.fetch_evaluation),
            serve(f"{spec}:List{noun}Evaluation", self.list_evaluations),
        ]

    async def create(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        return wire.bundle(await bundles.create(tx, self._kind, call.account.sid, call.params, call.at))

    async def fetch(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        return wire.bundle(await bundles.fetch(tx, self._kind, call.account.sid, call.path["Sid"]))

    async def list(self, tx: Tx, call: Call) -> Page:
        rows = await bundles.page(tx, self._kind, call.account.sid, wire.filters(call.params), call.paging)
        return Page.of(call.paging, rows, key="sid", render=wire.bundle)

    async def update(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        given = (call.account.sid, call.path["Sid"], call.params, call.at)
        return wire.bundle(await bundles.update(tx, self._kind, *given))

    async def delete(self, tx: Tx, call: Call) -> None:
        await bundles.delete(tx, self._around, self._kind, call.account.sid, call.path["Sid"])

    async def assign(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        given = (call.account.sid, call.path[self._owner], call.params["ObjectSid"], call.at)
        return wire.entity(self._kind, await bundles.assign(tx, self._around, self._kind, *given))

    async def unassign(self, tx: Tx, call: Call) -> None:
        await bundles.unassign(tx, self._kind, call.account.sid, call.path[self._owner], call.path["Sid"])

    async def add_endpoint(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        given = (call.account.sid, call.path[self._owner], call.params, call.at)
        return wire.endpoint(self._kind, await bundles.add_endpoint(tx, self._around, self._kind, *given))

    async def remove_endpoint(self, tx: Tx, call: Call) -> None:
        await bundles.remove_endpoint(tx, self._kind, call.account.sid, call.path[self._owner], call.path["Sid"])

    async def evaluate(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        given = (call.account.sid, call.path[self._owner], call.params["PolicySid"], call.at)
        return wire.evaluation(self._kind, await bundles.evaluate(tx, self._kind, *given))

    async def fetch_entity(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        return wire.entity(self._kind, await self._member(tx, call, bundles.ENTITIES))

    async def fetch_endpoint(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        return wire.endpoint(self._kind, await self._member(tx, call, bundles.ENDPOINTS))

    async def fetch_evaluation(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        return wire.evaluation(self._kind, await self._member(tx, call, bundles.EVALUATIONS))

    async def list_entities(self, tx: Tx, call: Call) -> Page:
        only = {"object_type": [call.params["ObjectType"]]} if call.params.get("ObjectType") else {}
        return self._page(call, await self._members(tx, call, bundles.ENTITIES, only), wire.entity)

    async def list_endpoints(self, tx: Tx, call: Call) -> Page:
        wanted = [call.params["ChannelEndpointSid"]] if call.params.get("ChannelEndpointSid") else []
        named = call.params.get("ChannelEndpointSids", "")
        if wanted and named:
            raise InvalidParameter("Give ChannelEndpointSid or ChannelEndpointSids, not both")
        if wanted and not await self._around.holds_number(tx, call.account.sid, wanted[0]):
            raise NotFound(f"The account has no phone number {wanted[0]}")
        wanted += [sid.strip() for sid in named.split(",") if sid.strip()]
        only = {"endpoint_sid": wanted} if wanted else {}
        return self._page(call, await self._members(tx, call, bundles.ENDPOINTS, only), wire.endpoint)

    async def list_evaluations(self, tx: Tx, call: Call) -> Page:
        return self._page(call, await self._members(tx, call, bundles.EVALUATIONS, {}), wire.evaluation)

    async def _member(self, tx: Tx, call: Call, table: str) -> Row:
        return await bundles.member(tx, table, self._kind, call.account.sid, call.path[self._owner], call.path["Sid"])

    async def _members(self, tx: Tx, call: Call, table: str, only: Mapping[str, Sequence[str]]) -> Sequence[Row]:
        owner = call.path[self._owner]
        return await bundles.member_page(tx, table, self._kind, call.account.sid, owner, call.paging, only)

    def _page(self, call: Call, rows: Sequence[Row], render: Any) -> Page:
        return Page.of(call.paging, rows, key="sid", render=lambda row: render(self._kind, row))


class _Things:
    """The operations on end users or on documents."""

    def __init__(self, noun: things.Noun, render: Any) -> None:
        self._noun = noun
        self._render = render

    def bindings(self, noun: str) -> list[Binding]:
        spec = "trusthub_v1"
        return [
            serve(f"{spec}:Create{noun}", self.create),
            serve(f"{spec}:Fetch{noun}", self.fetch),
            serve(f"{spec}:List{noun}", self.list),
            serve(f"{spec}:Update{noun}", self.update),
            serve(f"{spec}:Delete{noun}", self.delete),
        ]

    async def create(self, tx: Tx, call: Call) -> Any:
        return self._render(await things.create(tx, self._noun, call.account.sid, call.params, call.at))

    async def fetch(self, tx: Tx, call: Call) -> Any:
        return self._render(await things.fetch(tx, self._noun, call.account.sid, call.path["Sid"]))

    async def list(self, tx: Tx, call: Call) -> Page:
        rows = await things.page(tx, self._noun, call.account.sid, call.paging)
        return Page.of(call.paging, rows, key="sid", render=self._render)

    async def update(self, tx: Tx, call: Call) -> Any:
        given = (call.account.sid, call.path["Sid"], call.params, call.at)
        return self._render(await things.update(tx, self._noun, *given))

    async def delete(self, tx: Tx, call: Call) -> None:
        await things.delete(tx, self._noun, call.account.sid, call.path["Sid"])


class _Types:
    """The operations on types, which are the same for everybody."""

    def __init__(self, path: str, types: Mapping[str, policies.Type]) -> None:
        self._path = path
        self._types = types

    def bindings(self, noun: str) -> list[Binding]:
        return [serve(f"trusthub_v1:List{noun}", self.list), serve(f"trusthub_v1:Fetch{noun}", self.fetch)]

    async def list(self, tx: Tx, call: Call) -> Page:
        rows = [wire.type_of(self._path, found) for found in self._types.values()]
        return Page.slice(call.paging, rows, key="sid")

    async def fetch(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        found = policies.type_by_sid(self._types, call.path["Sid"])
        if found is None:
            raise NotFound(f"The requested resource /v1/{self._path}/{call.path['Sid']} was not found")
        return wire.type_of(self._path, found)


async def _list_policies(tx: Tx, call: Call) -> Page:
    return Page.slice(call.paging, [wire.policy(found) for found in policies.POLICIES.values()], key="sid")


async def _fetch_policy(tx: Tx, call: Call) -> Mapping[str, Any]:
    found = policies.POLICIES.get(call.path["Sid"])
    if found is None:
        raise NotFound(f"The requested resource /v1/Policies/{call.path['Sid']} was not found")
    return wire.policy(found)
