"""How a customer pays: cards on file, the chosen method, applications to be invoiced, and the terms that follow."""

from dataclasses import replace
from datetime import date, datetime

from onterms.business import customers
from onterms.business.payments import events, store
from onterms.business.payments.errors import Conflict, Unprocessable
from onterms.business.payments.model import (
    APPLICATION,
    NET_DAYS,
    Application,
    Card,
    MethodKind,
    PaymentTerms,
    Standing,
)
from onterms.business.payments.service import standing as standings
from onterms.business.payments.service.surroundings import Surroundings, record, require_currency
from onterms.core.calendar import day_of
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_sid
from onterms.core.money import decimal_text
from onterms.engines import ledger
from onterms.ports.payment_gateway import MethodSet

CLAUSE = "3.3.2"
_NET_DAYS_MAX = 365


# Cards


async def add_card(
    tx: Tx, customer_sid: str, provider: str, customer_reference: str, made: MethodSet, actor: str, at: datetime
) -> Card:
    """Keep a card that the provider keeps for us; the first one is charged by default, the same one is kept once."""
    found = await store.lock(tx, customer_sid, at)
    await store.keep_provider_customer(tx, customer_sid, provider, customer_reference)
    cards = await store.cards(tx, customer_sid)
    for each in cards:
        if (each.provider, each.reference) == (provider, made.reference):
            return each
    card = Card(
        customer_sid,
        new_sid("PM", at),
        provider,
        made.reference,
        made.brand,
        made.last4,
        made.exp_month,
        made.exp_year,
        at,
    )
    await store.insert_card(tx, card)
    if found.card_sid is None:
        await store.update_standing(tx, customer_sid, {"card_sid": card.sid})
    told = {"brand": card.brand, "last4": card.last4}
    await record(tx, customer_sid, actor, ("payment_method", card.sid), (None, "active"), "3.3.1", told, at)
    await customers.announce(tx, customer_sid, events.CARD_ADDED, {"card_sid": card.sid, **told}, at)
    return card


async def remove_card(tx: Tx, customer_sid: str, sid: str, actor: str, at: datetime) -> None:
    """Forget a card; if it was the default one, the newest of the others is.

    Raises: NotFound.
    """
    found = await store.lock(tx, customer_sid, at)
    if not await store.remove_card(tx, customer_sid, sid, at):
        raise NotFound(f"The payment method {sid} was not found")
    if found.card_sid == sid:
        left = await store.cards(tx, customer_sid)
        await store.update_standing(tx, customer_sid, {"card_sid": left[-1].sid if left else None})
    await record(tx, customer_sid, actor, ("payment_method", sid), ("active", "removed"), "3.3.1", {}, at)
    await customers.announce(tx, customer_sid, events.CARD_REMOVED, {"card_sid": sid}, at)


async def require_card(tx: Tx, customer_sid: str, sid: str | None, at: datetime) -> Card:
    """Return a card that can be charged: the one named, else the default one.

    Raises: NotFound, Conflict where there is none or it has expired.
    """
    found = await store.standing(tx, customer_sid)
    wanted = sid or (found.card_sid if found else None)
    cards = {each.sid: each for each in await store.cards(tx, customer_sid)}
    if sid is not None and sid not in cards:
        raise NotFound(f"The payment method {sid} was not found")
    if wanted is None or wanted not in cards:
        raise Conflict("There is no card on file; add one first", "3.3.1", "no_card")
    if cards[wanted].is_expired(day_of(at)):
        raise Conflict("The card has expired", "3.3.1", "card_expired")
    return cards[wanted]


async def require_method(tx: Tx, customer_sid: str, at: datetime) -> MethodKind:
    """Return how the customer pays, when it can.

    Raises: Conflict where it pays by card and there is none that can be charged.
    """
    found = await store.standing(tx, customer_sid)
    if found is not None and found.method == "invoice":
        return "invoice"
    await require_card(tx, customer_sid, None, at)
    return "card"


async def choose_card(tx: Tx, customer_sid: str, sid: str, actor: str, at: datetime) -> Card:
    """Charge this card from now on.

    Raises: NotFound, Conflict where it has expired.
    """
    card = await require_card(tx, customer_sid, sid, at)
    found = await store.lock(tx, customer_sid, at)
    await store.update_standing(tx, customer_sid, {"card_sid": sid})
    states = (found.card_sid, sid)
    await record(tx, customer_sid, actor, ("payment_method", customer_sid), states, "default card", {}, at)
    return card


async def choose(
    env: Surroundings, tx: Tx, customer_sid: str, method: MethodKind, actor: str, at: datetime
) -> Standing:
    """Choose to pay by card or by invoice; invoices need an approval (3.3.2).

    Raises: Conflict without one, or where what is owed keeps the customer from going back to prepaid.
    """
    customer = await customers.require(tx, customer_sid)
    found = await store.lock(tx, customer_sid, at)
    approved = await approval(tx, customer_sid)
    if method == "invoice":
        if approved is None:
            raise Conflict("Paying by invoice needs an approved application", CLAUSE, "invoicing_not_approved")
        assert approved.credit_limit is not None
        await ledger.open_balance(
            tx, customer_sid, approved.currency, at, kind="invoiced", credit_limit=approved.credit_limit
        )
    else:
        currency = approved.currency if approved else customer.currency
        balance = await ledger.balance(tx, customer_sid, currency)
        if balance is not None and balance.kind == "invoiced" and (balance.owed or balance.accounts.get("unbilled")):
            raise Conflict("Pay what is owed or will be billed first", CLAUSE, "open_invoices")
        await ledger.open_balance(tx, customer_sid, currency, at)
    if found.method == method:
        return found
    await store.update_standing(tx, customer_sid, {"method": method})
    states = (found.method, method)
    await record(tx, customer_sid, actor, ("payment_choice", customer_sid), states, "3.3", {}, at)
    await customers.announce(tx, customer_sid, events.METHOD_CHOSEN, {"method": method}, at)
    return await standings.review(env, tx, customer_sid, at, actor=actor)


async def payment_terms(
    env: Surroundings, tx: Tx, customer_sid: str, on: date, *, invoice_currency: str | None = None
) -> PaymentTerms:
    """Return how a customer pays an invoice of a day: an order form's word, else the method's own terms (3.3).

    Raises: NotFound.
    """
    customer = await customers.require(tx, customer_sid)
    found = await store.standing(tx, customer_sid)
    method: MethodKind = found.method if found else "card"
    terms = PaymentTerms(method, 0, invoice_currency or customer.currency, "method")
    if method == "invoice":
        approved = await approval(tx, customer_sid)
        assert approved is not None and approved.net_days is not None
        terms = replace(terms, net_days=approved.net_days, source="approval")
    form = await env.orders(tx, customer_sid, on)
    if form is not None:
        terms = replace(terms, currency=form.currency or terms.currency, order_form_sid=form.order_form_sid)
        if form.net_days is not None:
            terms = replace(terms, net_days=form.net_days, source="order_form")
    return terms


# Applications


async def approval(tx: Tx, customer_sid: str) -> Application | None:
    """Return the approved application, if there is one."""
    found = await store.applications(tx, customer_sid)
    return next((each for each in found if each.state == "approved"), None)


async def apply_for_invoicing(
    tx: Tx, customer_sid: str, currency: str, note: str, actor: str, at: datetime
) -> Application:
    """Ask to pay by invoice.

    Raises: NotFound, InvalidParameter; Conflict where an application is open or approved.
    """
    await require_currency(tx, customer_sid, currency)
    await store.lock(tx, customer_sid, at)
    if any(each.state in ("requested", "approved") for each in await store.applications(tx, customer_sid)):
        raise Conflict("There is an application already", CLAUSE, "application_exists")
    made = Application(customer_sid, new_sid("IA", at), "requested", currency, note, None, None, "", None, None, at)
    await store.insert_application(tx, made)
    await record(tx, customer_sid, actor, ("invoicing", made.sid), (None, "requested"), CLAUSE, {"note": note}, at)
    return made


async def decide_application(
    tx: Tx,
    customer_sid: str,
    sid: str,
    event: str,
    actor: str,
    at: datetime,
    *,
    credit_limit: int | None = None,
    net_days: int = NET_DAYS,
    reason: str = "",
) -> Application:
    """Approve with a credit limit and terms, decline with a reason, or withdraw.

    Raises: NotFound, Conflict where the state does not allow it, Unprocessable without limit or reason.
    """
    found_standing = await store.lock(tx, customer_sid, at)
    found = next((each for each in await store.applications(tx, customer_sid) if each.sid == sid), None)
    if found is None:
        raise NotFound(f"The application {sid} was not found")
    row = APPLICATION.get((found.state, event))
    if row is None:
        raise Conflict(f"The application is {found.state}", CLAUSE, "application_decided", state=found.state)
    changes: dict[str, object] = {"state": row.next, "decided_by": actor, "decided_at": at, "reason": reason}
    if event == "approve":
        if credit_limit is None or credit_limit < 0:
            raise Unprocessable("An approval needs a credit limit", CLAUSE, "limit_missing")
        if not 1 <= net_days <= _NET_DAYS_MAX:
            raise InvalidParameter(f"'net_days' must be from 1 to {_NET_DAYS_MAX}")
        changes |= {"credit_limit": credit_limit, "net_days": net_days}
    else:
        changes |= {"credit_limit": None, "net_days": None}
    if event == "decline" and not reason:
        raise Unprocessable("Say why the application is declined", CLAUSE, "reason_missing")
    if "require_card_method" in row.effects and found_standing.method == "invoice":
        raise Conflict("Choose to pay by card first", CLAUSE, "invoice_is_the_method")
    await store.update_application(tx, customer_sid, sid, changes)
    told = {"reason": reason}
    if credit_limit is not None:
        told |= {"credit_limit": decimal_text(credit_limit), "net_days": str(net_days)}
    await record(tx, customer_sid, actor, ("invoicing", sid), (found.state, row.next), event, told, at)
    if "announce" in row.effects:
        data = {"application_sid": sid, "state": row.next}
        await customers.announce(tx, customer_sid, events.INVOICING_DECIDED, data, at)
    return next(each for each in await store.applications(tx, customer_sid) if each.sid == sid)


def kind_of(text: str) -> MethodKind:
    """Read a method.

    Raises: InvalidParameter.
    """
    if text == "card":
        return "card"
    if text == "invoice":
        return "invoice"
    raise InvalidParameter("'kind' must be card or invoice")
