"""What this room serves under /commercial/v1: tax rules, exemptions and proofs of withheld tax."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

from onterms.business.tax import service, store, wire
from onterms.business.tax.errors import CustomerNotFound, ExemptionNotFound, ProofNotFound
from onterms.business.tax.model.withholding import Event as ProofEvent
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api import OwnReply, OwnRequest, OwnRoute

_PAGE_MAX = 500


class CustomerFacts(Protocol):
    """What this room needs to know of a customer."""

    @property
    def sid(self) -> str:
        """Return its SID."""
        ...


CustomerOf = Callable[[Tx, str], Awaitable[CustomerFacts | None]]


class Api:
    """This room's routes.

    Shapes: `customer_of` finds the customer of an account.
    """

    def __init__(self, customer_of: CustomerOf) -> None:
        self._customer_of = customer_of

    def routes(self) -> list[OwnRoute]:
        """Return the routes under /commercial/v1."""
        root = "/commercial/v1"
        exemption, proof = f"{root}/Exemptions", f"{root}/WithholdingProofs"
        return [
            OwnRoute("GET", f"{root}/TaxRules", "operator", _list_rules, summary="List tax rules"),
            OwnRoute("POST", f"{root}/TaxRules", "operator", _add_rule, summary="Add a tax rule"),
            OwnRoute("GET", exemption, "customer", self._list_exemptions, summary="List exemptions"),
            OwnRoute("POST", exemption, "customer", self._submit, summary="Ask for an exemption"),
            OwnRoute(
                *("GET", f"{exemption}/{{sid}}/Document", "customer"),
                handler=self._document("exemption"),
                summary="Fetch a certificate",
            ),
            OwnRoute(
                *("GET", f"{proof}/{{sid}}/Document", "customer"),
                handler=self._document("proof"),
                summary="Fetch the document of a proof",
            ),
            OwnRoute("POST", f"{exemption}/{{sid}}/Approve", "operator", _approve, summary="Exempt from now on"),
            OwnRoute("POST", f"{exemption}/{{sid}}/Reject", "operator", _reject, summary="Reject a request"),
            OwnRoute("POST", f"{exemption}/{{sid}}/Revoke", "operator", _revoke, summary="Charge what was exempt"),
            OwnRoute("GET", f"{root}/BackBillings", "customer", self._list_back_billings, summary="List back-billings"),
            OwnRoute("GET", proof, "customer", self._list_proofs, summary="List proofs of withheld tax"),
            OwnRoute("POST", proof, "customer", self._upload, summary="Upload a proof of withheld tax"),
            OwnRoute("POST", f"{proof}/{{sid}}/Review", "operator", _decide("review"), summary="Review a proof"),
            OwnRoute("POST", f"{proof}/{{sid}}/Accept", "operator", _decide("accept"), summary="Accept a proof"),
            OwnRoute("POST", f"{proof}/{{sid}}/Reject", "operator", _decide("reject"), summary="Reject a proof"),
            OwnRoute(
                *("POST", f"{root}/WithholdingProfiles", "operator"),
                handler=_set_profile,
                summary="Say how a customer withholds",
            ),
        ]

    async def _customer_sid(self, tx: Tx, request: OwnRequest) -> str | None:
        """Return whose rows the caller may see: its own, or for the operator those asked for, or all (None)."""
        if request.operator:
            return request.query.get("customer_sid") or request.body.get("customer_sid")
        customer = await self._customer_of(tx, request.caller.account.sid) if request.caller else None
        if customer is None:
            raise CustomerNotFound
        return customer.sid

    async def _one_customer(self, tx: Tx, request: OwnRequest) -> str:
        found = await self._customer_sid(tx, request)
        if not isinstance(found, str):
            raise InvalidParameter("'customer_sid' is required")
        return found

    async def _list_exemptions(self, tx: Tx, request: OwnRequest) -> OwnReply:
        after, limit = _paging(request)
        rows = await store.page_of_exemptions(tx, await self._customer_sid(tx, request), after, limit + 1)
        return _items([wire.show_exemption(row) for row in rows[:limit]], rows[limit - 1].sid if rows[limit:] else None)

    async def _submit(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer_sid = await self._one_customer(tx, request)
        body = request.body
        _, content = wire.document(body)
        new = service.NewExemption(
            kind=wire.text(body, "kind"),
            jurisdiction=wire.jurisdiction(body),
            certificate=wire.text(body, "certificate"),
            valid_from=wire.day(body, "valid_from") or day_of(request.at),
            valid_to=wire.day(body, "valid_to"),
            document=content,
        )
        return OwnReply(wire.show_exemption(await service.submit(tx, customer_sid, new, request.at)), 201)

    def _document(self, kind: Literal["exemption", "proof"]) -> Callable[[Tx, OwnRequest], Awaitable[OwnReply]]:
        async def fetch(tx: Tx, request: OwnRequest) -> OwnReply:
            content = await store.document(tx, await self._customer_sid(tx, request), kind, request.path["sid"])
            if content is None:
                raise ExemptionNotFound if kind == "exemption" else ProofNotFound
            # Whatever was uploaded is never shown as a page of ours.
            headers = (("content-disposition", "attachment"), ("x-content-type-options", "nosniff"))
            return OwnReply(None, headers=headers, raw=content, content_type="application/octet-stream")

        return fetch

    async def _list_back_billings(self, tx: Tx, request: OwnRequest) -> OwnReply:
        rows = await store.back_billings(tx, await self._one_customer(tx, request))
        return _items([wire.show_back_billing(row) for row in rows])

    async def _list_proofs(self, tx: Tx, request: OwnRequest) -> OwnReply:
        after, limit = _paging(request)
        rows = await store.page_of_proofs(tx, await self._customer_sid(tx, request), after, limit + 1)
        return _items([wire.show_proof(row) for row in rows[:limit]], rows[limit - 1].sid if rows[limit:] else None)

    async def _upload(self, tx: Tx, request: OwnRequest) -> OwnReply:
        customer_sid = await self._one_customer(tx, request)
        name, content = wire.document(request.body)
        new = service.NewProof(
            invoice_sid=wire.text(request.body, "invoice_sid"),
            currency=wire.text(request.body, "currency", "USD"),
            micros=wire.decimal(request.body, "amount"),
            document_name=name,
            document=content,
        )
        return OwnReply(wire.show_proof(await service.upload_proof(tx, customer_sid, new, request.at)), 201)


def _paging(request: OwnRequest) -> tuple[str, int]:
    try:
        limit = int(request.query.get("limit", "50"))
    except ValueError:
        limit = 0
    if not 1 <= limit <= _PAGE_MAX:
        raise InvalidParameter(f"'limit' must be a whole number from 1 to {_PAGE_MAX}")
    return request.query.get("after", ""), limit


def _items(items: Sequence[Mapping[str, Any]], following: str | None = None) -> OwnReply:
    return OwnReply({"items": list(items), "next": following})


async def _list_rules(tx: Tx, request: OwnRequest) -> OwnReply:
    after, limit = _paging(request)
    if after and not after.isdigit():
        raise InvalidParameter("'after' is not a token of this list")
    rows = await store.page_of_rules(tx, request.query.get("jurisdiction"), int(after or 0), limit + 1)
    return _items([wire.show_rule(row) for row in rows[:limit]], str(rows[limit - 1].id) if rows[limit:] else None)


async def _add_rule(tx: Tx, request: OwnRequest) -> OwnReply:
    added = await service.add_rule(tx, wire.rule(request.body, request.at), request.at)
    return OwnReply(wire.show_rule(added), 201)


async def _exemption_owner(tx: Tx, sid: str) -> str:
    found = await store.customer_of_exemption(tx, sid)
    if found is None:
        raise ExemptionNotFound
    return found


async def _approve(tx: Tx, request: OwnRequest) -> OwnReply:
    sid = request.path["sid"]
    return OwnReply(wire.show_exemption(await service.approve(tx, await _exemption_owner(tx, sid), sid, request.at)))


async def _reject(tx: Tx, request: OwnRequest) -> OwnReply:
    sid, reason = request.path["sid"], wire.text(request.body, "reason")
    rejected = await service.reject(tx, await _exemption_owner(tx, sid), sid, reason, request.at)
    return OwnReply(wire.show_exemption(rejected))


async def _revoke(tx: Tx, request: OwnRequest) -> OwnReply:
    sid, body = request.path["sid"], request.body
    since = wire.instant(body, "revoked_from")
    if since is None:
        raise InvalidParameter("'revoked_from' is required")
    rows = await service.revoke(
        tx,
        await _exemption_owner(tx, sid),
        sid,
        revoked_from=since,
        determined_on=wire.day(body, "determined_on") or day_of(request.at),
        reason=wire.text(body, "reason"),
        interest_rate=wire.decimal(body, "interest_rate", "0"),
        penalty_rate=wire.decimal(body, "penalty_rate", "0"),
        penalty=wire.decimal(body, "penalty", "0"),
        at=request.at,
    )
    return _items([wire.show_back_billing(row) for row in rows])


def _decide(event: ProofEvent) -> Callable[[Tx, OwnRequest], Awaitable[OwnReply]]:
    async def decide(tx: Tx, request: OwnRequest) -> OwnReply:
        sid = request.path["sid"]
        customer_sid = await store.customer_of_proof(tx, sid)
        if customer_sid is None:
            raise ProofNotFound
        reason = wire.text(request.body, "reason", "")
        proof = await service.advance_proof(
            tx, customer_sid, sid, event, by=wire.text(request.body, "by", "operator"), reason=reason, at=request.at
        )
        return OwnReply(wire.show_proof(proof))

    return decide


async def _set_profile(tx: Tx, request: OwnRequest) -> OwnReply:
    profile = wire.profile(request.body, request.text("customer_sid", max_length=64))
    await service.set_profile(tx, profile, request.at)
    return OwnReply(wire.show_profile(profile), 201)
