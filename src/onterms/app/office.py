"""The commercial rooms, joined: agreements, customers, notices, prices, taxes, standing, payments.

They depend on one another through callables given here, so that each of them knows only what stands below it.
"""

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from onterms.app.conduct import Conduct
from onterms.app.exit_rooms import ExitRooms
from onterms.app.link_domains import SandboxNames
from onterms.business import (
    accounts,
    agreements,
    cases,
    collections,
    customers,
    disputes,
    invoicing,
    notices,
    payments,
    pricing,
    privacy,
    standing,
    suspension,
    tax,
    usage,
)
from onterms.carriers.mailbox import Mailbox, MailboxApi
from onterms.carriers.payment_simulator import NAME as SIMULATED_PAYMENTS
from onterms.carriers.payment_simulator import PaymentSimulator, PaymentSimulatorApi
from onterms.carriers.registrar import Desk, SimulatedRegistrar, SimulatedRegistrarApi
from onterms.core.calendar import day_of, start_of
from onterms.core.clock import Clock
from onterms.core.db import Database, Tx
from onterms.core.vault import Vault
from onterms.engines import jobs, ledger
from onterms.engines.api import Binding, Call, OwnRequest, OwnRoute
from onterms.engines.api.engine import Gatekeeper
from onterms.ports.callback import CallbackClient
from onterms.ports.domain_names import DomainNames
from onterms.ports.mail import MailPort
from onterms.ports.malware_scanner import MalwareScanner
from onterms.ports.payment_gateway import PaymentGateway
from onterms.ports.registrar import Registrar
from onterms.products import messaging

# The sandbox's operator, where the settings name no other.
LETTERHEAD = notices.Letterhead(
    sender="billing@operator.example", sender_name="The operator", legal_address="legal@operator.example"
)


async def notify(tx: Tx, customer_sid: str, kind: str, subject: str, body: str, contact_kind: str, at: datetime) -> str:
    """Give a customer notice, for rooms that know nothing of mail."""
    [sid] = await notices.send(tx, [notices.NewNotice(customer_sid, kind, subject, body, contact_kind)], at)
    return sid


async def _contacts(tx: Tx, customer_sid: str, kind: str) -> Sequence[tuple[str, str]]:
    return [(contact.sid, contact.address) for contact in await customers.contacts(tx, customer_sid, kind)]


async def _order_forms(
    tx: Tx, customer_sid: str, term: str, service: str | None, at: datetime
) -> list[agreements.FormTerm]:
    return [
        agreements.FormTerm(sid, str(values[term]), signed_at)
        for sid, signed_at, values in await pricing.overrides(tx, customer_sid, at)
        if term in values
    ]


async def _orders(tx: Tx, customer_sid: str, on: date) -> payments.OrderTerms | None:
    customer = await customers.require(tx, customer_sid, on)
    terms = await pricing.payment_terms(tx, customer_sid, customer.country, start_of(on))
    if terms.order_form is None:
        return None
    return payments.OrderTerms(terms.net_days, terms.currency, terms.order_form)


# Where the template's companies are, until the operator names its own.
_ENTITY_COUNTRIES = {"default": "US", "europe": "IE", "japan": "JP"}


async def _entity(tx: Tx, customer_sid: str, at: datetime) -> str:
    return (await agreements.parties_of(tx, customer_sid, at)).entity_key


@dataclass(frozen=True, slots=True)
class Outside:
    """What the operator's settings say of the world outside; nothing of it in a plain sandbox.

    Shapes: without `mail` a sandbox keeps mail in mailboxes of its own; without `gateway` it has a provider of its own.
    """

    is_sandbox: bool = True
    mail: MailPort | None = None
    letterhead: notices.Letterhead = LETTERHEAD
    gateway: PaymentGateway | None = None
    operator_name: str = ""
    operator_address: tuple[str, ...] = ()
    scanner: MalwareScanner | None = None
    geo: suspension.Geo | None = None


def _origin(request: OwnRequest) -> tuple[str, str]:
    return request.peer or "", request.request_id or ""


class Office:
    """The commercial rooms of one running process."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        vault: Vault,
        *,
        node: str = "onterms",
        outside: Outside | None = None,
    ) -> None:
        self._outside = outside = outside or Outside()
        self._database = database
        self._clock = clock
        self._vault = vault
        self.texts = agreements.Bindings(notify)
        self.prices = pricing.PriceList(database, clock)
        self.standing = standing.Standing(database, clock)
        self.leases = ledger.Leases(database, clock, node)
        self.meter = usage.Meter(database, clock, self.prices, self.leases)
        self._billing = invoicing.Surroundings(self._tax_facts, _entity, self._party)
        self._collections = collections.Collections(cure=self._payment_cure)
        self._billing.changed.append(self._owed_changed)
        self._disputes = disputes.Disputes(self._billing)
        mailed = cases.MailedNotices()
        self.conduct = Conduct(
            database, clock, self.meter, self.standing, self.texts, scanner=outside.scanner, geo=outside.geo
        )
        self.names: DomainNames = SandboxNames()
        self.compliance = messaging.Compliance(database, messaging.DeactivationBook())
        self.queues = messaging.SenderQueues(database, is_sandbox=outside.is_sandbox)
        data = privacy.Privacy(mailed)
        self._privacy = privacy.Api(data, lambda: self._clock.monotonic())
        self.exit = ExitRooms(
            database,
            mailed,
            billing=self._billing,
            meter=self.meter,
            pay=lambda: self.payments,
            suspensions=self.conduct.suspensions,
            data=data,
            order_forms=_order_forms,
            review_dunning=self._collections.review,
        )
        self._delivery = notices.Delivery(
            _contacts,
            outside.letterhead,
            customer_of_sender=customers.customer_of_sender,
            followers=[self._notice_moved, self._collections.follow_notice],
            lock=invoicing.lock,
        )
        self.mailbox = Mailbox(database, clock, self._delivery)
        # The fake provider's webhooks are signed like anybody's, with a secret of this install's own.
        secret = vault.mac("payment simulator webhooks", b"1").hex() if vault is not None else ""
        self._provider = PaymentSimulator(database, clock, secret)
        gateways: dict[str, PaymentGateway] = {}
        if outside.is_sandbox:
            gateways[SIMULATED_PAYMENTS] = self._provider
        if outside.gateway is not None:
            gateways[outside.gateway.name] = outside.gateway
        self._paying = payments.Surroundings(
            gateways,
            # Cards go to the operator's own provider where there is one.
            next(reversed(gateways), ""),
            play_provider=SIMULATED_PAYMENTS,
            orders=_orders,
            open_documents=self._open_documents,
            allocated=self._allocated,
            invoicing_approved=self._invoicing_approved,
        )
        self.payments = payments.Payments(self._paying)
        # Who registers senders: a simulator in a sandbox, else whoever sits at the operator's desk.
        self.registrar: Registrar = SimulatedRegistrar(database, clock) if outside.is_sandbox else Desk()
        self._billing.settle_credit = self.payments.settle_credit
        self._provider.deliver_to(self._webhook_came)

    @property
    def mail(self) -> MailPort:
        """What sends mail: the operator's server, or the sandbox's mailboxes."""
        return self._outside.mail or self.mailbox

    @property
    def letterhead(self) -> notices.Letterhead:
        """Whom mail is from."""
        return self._outside.letterhead

    async def open(self, tx: Tx, first_account_sid: str, at: datetime) -> None:
        """Put in place what a fresh install needs: the template agreement, list prices, and a bound first customer."""
        await agreements.ensure_template(tx, at)
        await pricing.ensure_default_prices(tx, at)
        await tax.ensure_default_rules(tx, at)
        await agreements.ensure_first_customer(tx, self.texts, first_account_sid, at)
        customer = await customers.customer_of(tx, first_account_sid)
        assert customer is not None, "it was made in the line above"
        if self._outside.is_sandbox:
            await self.payments.ensure_sandbox_credit(tx, customer.sid, at)
        await usage.ensure_sweep(tx, at)

    def register(
        self,
        worker: jobs.Worker,
        still_due: usage.StillDue,
        callbacks: CallbackClient,
        signing_token: Callable[[str], Awaitable[str]],
        charged: usage.Charged = usage.tell_nobody,
    ) -> None:
        """Serve the rooms' jobs; before the worker runs."""
        usage.Tasks(self.meter, still_due, callbacks, signing_token, charged).register(worker)
        customers.Tasks([self.conduct.look_at_customer]).register(worker)
        self.conduct.register(worker)
        agreements.Tasks(self.texts).register(worker)
        notices.Tasks(self._delivery, self._outside.mail or self.mailbox).register(worker)
        self.mailbox.register(worker)
        payments.Tasks(self._paying).register(worker)
        invoicing.Tasks(self._billing).register(worker)
        collections.Tasks(self._collections).register(worker)
        disputes.Tasks(self._disputes).register(worker)
        cases.Tasks([*self.conduct.books(), *self._privacy.books(), *self.exit.books()]).register(worker)
        self._provider.register(worker)
        pricing.register(worker, self.exit.terminations.is_ending)
        self.exit.register(worker)
        tax.register(worker)

    async def account_made(self, tx: Tx, made: accounts.FirstCredentials, request: OwnRequest) -> None:
        """Bind an account that the operator makes: it signs for a customer that it deals with itself."""
        customer = await agreements.ensure_first_customer(
            tx, self.texts, made.account_sid, request.at, name=request.text("friendly_name"), actor="the operator"
        )
        if self._outside.is_sandbox:
            await self.payments.ensure_sandbox_credit(tx, customer.sid, request.at)

    def guarded(self, binding: Binding) -> Binding:
        """Put what the terms ask of an operation before its use case: no new accounts for who owes (3.3.1, 3.3.2)."""
        handler = binding.handler
        if binding.operation_id != "api_v2010:CreateAccount" or handler is None:
            return binding

        @functools.wraps(handler)
        async def create(tx: Tx, call: Call) -> object:
            for state in (await self.standing.states(tx, [call.account.sid])).values():
                standing.require_can_create_account(state)
            return await handler(tx, call)

        return replace(binding, handler=create)

    async def held(self, tx: Tx, account_sids: Sequence[str]) -> set[str]:
        """Return those of the accounts that a block of their customer's keeps from everything."""
        return {sid for sid, state in (await self.standing.states(tx, account_sids)).items() if not state.can_change}

    def bindings(self) -> list[Binding]:
        """Return the contract's operations that these rooms serve."""
        return [*pricing.Api(self.prices, customers.customer_of).bindings(), *usage.bindings()]

    def routes(self, gatekeeper: Gatekeeper) -> list[OwnRoute]:
        """Return the rooms' own API, and in a sandbox that of its mailboxes, letterboxes and cards."""

        async def create_account(tx: Tx, name: str, at: datetime) -> accounts.FirstCredentials:
            return await accounts.create_customer(tx, self._vault, name, at)

        found = [
            *customers.Api(
                create_account, accounts.revoke_keys, self.texts, joined=self._joined, origin=_origin
            ).routes(),
            *agreements.Api(self.texts, gatekeeper.authenticate, order_forms=_order_forms, origin=_origin).routes(),
            *notices.Api(self._delivery).routes(),
            *pricing.Api(self.prices, customers.customer_of, self.exit.form_signed).routes(),
            *tax.Api(customers.customer_of, self._exemption_revoked, self._withholding_proven).routes(),
            *usage.routes(),
            *MailboxApi(self.mailbox).routes(),
            *standing.Api().routes(),
            *invoicing.Api(self._billing).routes(),
            *collections.Api(self._collections).routes(),
            *disputes.Api(self._disputes).routes(),
            *self.conduct.routes(),
            *self._privacy.routes(),
            *self.exit.routes(),
            *payments.Api(self._paying, self._database).routes(),
            *PaymentSimulatorApi(self._provider).routes(),
            *SimulatedRegistrarApi().routes(),
        ]
        return [each for each in found if self._outside.is_sandbox or not each.pattern.startswith("/simulator/")]

    async def _tax_facts(self, tx: Tx, customer_sid: str, issuer: str, on: date) -> tax.TaxFacts:
        customer = await customers.require(tx, customer_sid, on)
        seller = await self._party(tx, issuer)
        vat_id, is_confirmed = await tax.vat_id_on(tx, customer_sid, on) or (None, False)
        return tax.TaxFacts(
            customer.country,
            customer.currency,
            customer.subdivision or None,
            vat_id=vat_id,
            vat_id_confirmed=is_confirmed,
            seller_country=seller.country,
        )

    async def _party(self, tx: Tx, entity: str) -> invoicing.Party:
        named = await agreements.entity_of(tx, entity, day_of(self._clock.now()))
        if named is None:
            name = self._outside.operator_name or "The operator"
            return invoicing.Party(name, _ENTITY_COUNTRIES[entity], address=self._outside.operator_address)
        name, address, country, vat_id = named
        country = country or _ENTITY_COUNTRIES[entity]
        if not address and self._outside.operator_name:
            # The template's own rows have no address: nobody named a company yet.
            return invoicing.Party(self._outside.operator_name, country, vat_id, self._outside.operator_address)
        return invoicing.Party(name, country, vat_id, tuple(address.splitlines()))

    async def _joined(self, tx: Tx, customer_sid: str, at: datetime) -> None:
        # Who pays in advance is shown each month what it paid for, with the taxes on it.
        await invoicing.enroll(tx, self._billing, customer_sid, at)

    async def _payment_cure(self, tx: Tx, customer_sid: str, given_on: date) -> date | None:
        return await self.exit.payment_cure(tx, customer_sid, given_on, collections.CURE_DAYS)

    async def _owed_changed(self, tx: Tx, customer_sid: str, at: datetime) -> None:
        await self._collections.review(tx, customer_sid, at)

    async def _exemption_revoked(self, tx: Tx, customer_sid: str, at: datetime) -> None:
        await invoicing.bill_back_taxes(tx, self._billing, customer_sid, at)

    async def _withholding_proven(
        self, tx: Tx, customer_sid: str, invoice_sid: str, micros: int, proof_sid: str, at: datetime
    ) -> None:
        await invoicing.settle_by_proof(tx, self._billing, customer_sid, invoice_sid, micros, proof_sid, at)

    async def _open_documents(self, tx: Tx, customer_sid: str) -> list[payments.OpenDocument]:
        invoices = await invoicing.open_documents(tx, customer_sid)
        return [*invoices, *await payments.debts_without_documents(tx, customer_sid)]

    async def _allocated(
        self,
        tx: Tx,
        customer_sid: str,
        source_sid: str,
        currency: str,
        made: Sequence[payments.Allocation],
        on: date,
        at: datetime,
    ) -> None:
        await invoicing.settled_by_payments(tx, self._billing, customer_sid, source_sid, made, at, on=on)

    async def _invoicing_approved(self, tx: Tx, customer_sid: str, at: datetime) -> None:
        await invoicing.enroll(tx, self._billing, customer_sid, at)

    async def _webhook_came(self, tx: Tx, body: bytes, headers: Mapping[str, str], at: datetime) -> str:
        return await self.payments.receive_webhook(tx, SIMULATED_PAYMENTS, body, headers, at)

    async def _notice_moved(self, tx: Tx, event: str, notice: notices.Notice, at: datetime) -> None:
        await self.exit.terminations.follow_notice(tx, event, notice, at)
        if event == notices.NOTICE_GIVEN:
            [given_on] = (await notices.given_on(tx, [notice.sid])).values()
            if given_on is not None:
                await self.texts.notice_given(tx, notice.sid, given_on, at)
        elif event == notices.NOTICE_VOIDED:
            await self.texts.notice_void(tx, notice.sid, at)
