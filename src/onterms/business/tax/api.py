"""What this room serves under /commercial/v1: tax rules, exemptions and proofs of withheld tax."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Literal, Protocol

from onterms.business import customers
from onterms.business.tax import service, store, wire
from onterms.business.tax.errors import CustomerNotFound, ExemptionNotFound, ProofNotFound
from onterms.business.tax.model.withholding import Event as ProofEvent
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api import OwnReply, OwnRequest, OwnRoute
from onterms.engines.api.own import Created, Shows
from onterms.engines.api.shapes import Items, page, whole


class CustomerFacts(Protocol):
    """What this room needs to know of a customer."""

    @property
    def sid(self) -> str:
        """Return its SID."""
        ...


CustomerOf = Callable[[Tx, str], Awaitable[CustomerFacts | None]]
# (tx, customer, at): an exemption of the customer was revoked, and what it left untaxed waits for a debit note.
Revoked = Callable[[Tx, str, datetime], Awaitable[None]]


async def _bill_later(tx: Tx, customer_sid: str, at: datetime) -> None:
    """Leave what was revoked to whoever asks for it."""


# (tx, customer, invoice, micro-units, proof, at): an accepted proof stands for so much money.
Proven = Callable[[Tx, str, str, int, str, datetime], Awaitable[None]]


async def _settle_nothing(
    tx: Tx, customer_sid: str, invoice_sid: str, micros: int, proof_sid: str, at: datetime
) -> None:
    """Leave the invoice as it is, for whoever asks what is outstanding."""


class Api:
    """This room's routes.

    Shapes: `customer_of` finds the customer of an account; `revoked` bills what an exemption had left untaxed; `proven`
    settles an invoice with a proof of withheld tax.
    """

    def __init__(
        self, customer_of: CustomerOf, revoked: Revoked = _bill_later, proven: Proven = _settle_nothing
    ) -> None:
        self._customer_of = customer_of
        self._revoked = revoked
        self._proven = proven

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
            OwnRoute("POST", f"{exemption}/{{sid}}/Revoke", "operator", self._revoke, summary="Charge what was exempt"),
            OwnRoute("GET", f"{root}/VatIds", "customer", self._list_vat_ids, summary="List VAT identifiers"),
            OwnRoute("POST", f"{root}/VatIds", "customer", self._add_vat_id, summary="Record a VAT identifier"),
            OwnRoute("GET", f"{root}/BackBillings", "customer", self._list_back_billings, summary="List back-billings"),
            OwnRoute("GET", proof, "customer", self._list_proofs, summary="List proofs of withheld tax"),
            OwnRoute("POST", proof, "customer", self._upload, summary="Upload a proof of withheld tax"),
            OwnRoute("POST", f"{proof}/{{sid}}/Review", "operator", self._decide("review"), summary="Review a proof"),
            OwnRoute("POST", f"{proof}/{{sid}}/Accept", "operator", self._decide("accept"), summary="Accept a proof"),
            OwnRoute("POST", f"{proof}/{{sid}}/Reject", "operator", self._decide("reject"), summary="Reject a proof"),
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
        if request.caller is not None:
            customers.refuse_subaccounts(request)
        customer = await self._customer_of(tx, request.caller.account.sid) if request.caller else None
        if customer is None:
            raise CustomerNotFound
        return customer.sid

    async def _one_customer(self, tx: Tx, request: OwnRequest) -> str:
        found = await self._customer_sid(tx, request)
        if not isinstance(found, str):
            raise InvalidParameter("'customer_sid' is required")
        return found

    async def _list_exemptions(self, tx: Tx, request: OwnRequest, query: wire.TaxPage) -> Items[wire.Exemption]:
        whose = await self._customer_sid(tx, request)
        rows = await store.page_of_exemptions(tx, whose, query.after, query.limit + 1)
        return page([wire.Exemption.of(row) for row in rows], query.limit)

    async def _submit(self, tx: Tx, request: OwnRequest, body: wire.NewExemption) -> Created[wire.Exemption]:
        customer_sid = await self._one_customer(tx, request)
        new = service.NewExemption(
            kind=body.kind,
            jurisdiction=body.jurisdiction,
            certificate=body.certificate,
            valid_from=body.valid_from or day_of(request.at),
            valid_to=body.valid_to,
            document=body.document.content if body.document else b"",
        )
        return wire.Exemption.of(await service.submit(tx, customer_sid, new, request.at))

    async def _revoke(self, tx: Tx, request: OwnRequest, sid: str, body: wire.Revocation) -> Items[wire.BackBilling]:
        customer_sid = await _exemption_owner(tx, sid)
        await service.revoke(
            tx,
            customer_sid,
            sid,
            revoked_from=body.revoked_from,
            determined_on=body.determined_on or day_of(request.at),
            reason=body.reason,
            interest_rate=body.interest_rate or 0,
            penalty_rate=body.penalty_rate or 0,
            penalty=body.penalty or 0,
            at=request.at,
        )
        await self._revoked(tx, customer_sid, request.at)
        rows = await store.back_billings(tx, customer_sid, exemption_sid=sid)
        return whole([wire.back_billing(row) for row in rows])

    def _document(self, kind: Literal["exemption", "proof"]) -> Callable[..., Awaitable[OwnReply]]:
        async def fetch(
            tx: Tx, request: OwnRequest, sid: str, query: wire.TaxesOf
        ) -> Annotated[OwnReply, Shows("application/octet-stream")]:
            content = await store.document(tx, await self._customer_sid(tx, request), kind, sid)
            if content is None:
                raise ExemptionNotFound if kind == "exemption" else ProofNotFound
            # Whatever was uploaded is never shown as a page of ours.
            headers = (("content-disposition", "attachment"), ("x-content-type-options", "nosniff"))
            return OwnReply(None, headers=headers, raw=content, content_type="application/octet-stream")

        return fetch

    async def _list_vat_ids(self, tx: Tx, request: OwnRequest, query: wire.TaxesOf) -> Items[wire.VatId]:
        return whole([wire.VatId.of(row) for row in await store.vat_ids(tx, await self._one_customer(tx, request))])

    async def _add_vat_id(
        self,
        tx: Tx,
        request: OwnRequest,
        mine: customers.MineToChange,
        actor: customers.Actor,
        body: wire.NewVatId,
    ) -> Created[wire.VatId]:
        if body.confirmed and not request.operator:
            raise InvalidParameter("'confirmed' is the operator's to say: true or false")
        row = await service.record_vat_id(
            tx,
            mine.sid,
            mine.country,
            body.vat_id,
            request.at,
            confirmed=body.confirmed,
            evidence=body.evidence,
            actor=actor,
        )
        return wire.VatId.of(row)

    async def _list_back_billings(self, tx: Tx, request: OwnRequest, query: wire.TaxesOf) -> Items[wire.BackBilling]:
        rows = await store.back_billings(tx, await self._one_customer(tx, request))
        return whole([wire.back_billing(row) for row in rows])

    def _decide(self, event: ProofEvent) -> Callable[..., Awaitable[wire.Proof]]:
        async def decide(tx: Tx, request: OwnRequest, sid: str, body: wire.ProofDecision) -> wire.Proof:
            customer_sid = await store.customer_of_proof(tx, sid)
            if customer_sid is None:
                raise ProofNotFound
            proof = await service.advance_proof(
                tx, customer_sid, sid, event, by=body.by, reason=body.reason, at=request.at
            )
            # Where the terms gross up, withheld tax stays owed, proven or not (3.2.1).
            if event == "accept" and await service.takes_proofs(tx, customer_sid):
                await self._proven(tx, customer_sid, proof.invoice_sid, proof.micros, sid, request.at)
            return wire.proof(proof)

        return decide

    async def _list_proofs(self, tx: Tx, request: OwnRequest, query: wire.TaxPage) -> Items[wire.Proof]:
        rows = await store.page_of_proofs(tx, await self._customer_sid(tx, request), query.after, query.limit + 1)
        return page([wire.proof(row) for row in rows], query.limit)

    async def _upload(self, tx: Tx, request: OwnRequest, body: wire.NewProof) -> Created[wire.Proof]:
        customer_sid = await self._one_customer(tx, request)
        document = body.document or wire.File()
        new = service.NewProof(body.invoice_sid, body.currency, body.amount, document.name, document.content)
        return wire.proof(await service.upload_proof(tx, customer_sid, new, request.at))


async def _list_rules(tx: Tx, query: wire.RulesPage) -> Items[wire.TaxRule]:
    rows = await store.page_of_rules(tx, query.jurisdiction, int(query.after or 0), query.limit + 1)
    return page([wire.TaxRule.of(row) for row in rows], query.limit, lambda rule: str(rule.id))


async def _add_rule(tx: Tx, request: OwnRequest, body: wire.NewTaxRule) -> Created[wire.TaxRule]:
    return wire.TaxRule.of(await service.add_rule(tx, body.read(request.at), request.at))


async def _exemption_owner(tx: Tx, sid: str) -> str:
    found = await store.customer_of_exemption(tx, sid)
    if found is None:
        raise ExemptionNotFound
    return found


async def _approve(tx: Tx, request: OwnRequest, sid: str) -> wire.Exemption:
    return wire.Exemption.of(await service.approve(tx, await _exemption_owner(tx, sid), sid, request.at))


async def _reject(tx: Tx, request: OwnRequest, sid: str, body: wire.RejectionReason) -> wire.Exemption:
    rejected = await service.reject(tx, await _exemption_owner(tx, sid), sid, body.reason, request.at)
    return wire.Exemption.of(rejected)


async def _set_profile(
    tx: Tx, request: OwnRequest, body: wire.NewWithholdingProfile
) -> Created[wire.WithholdingProfile]:
    profile = body.read()
    await service.set_profile(tx, profile, request.at)
    return wire.WithholdingProfile.of(profile)
