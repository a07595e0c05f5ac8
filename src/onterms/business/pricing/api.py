"""What this room serves: the contract's Pricing API, and /commercial/v1 for prices, order forms and charges."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Protocol

import phonenumbers

from onterms.business.pricing import wire
from onterms.business.pricing.errors import CustomerNotFound
from onterms.business.pricing.model import PriceTables, default_currency, line_kind
from onterms.business.pricing.service import books, order_forms, rating
from onterms.business.pricing.service.price_list import PriceList, read_tables
from onterms.business.pricing.store import order_forms as form_store
from onterms.business.pricing.store import prices as price_store
from onterms.business.pricing.store import rated as rated_store
from onterms.core.db import Tx
from onterms.core.errors import Forbidden, InvalidParameter, NotFound
from onterms.engines.api import Binding, Call, OwnReply, OwnRequest, OwnRoute, Page, serve
from onterms.engines.api.own import Created, Shows
from onterms.engines.api.shapes import Items, page, whole

_FORM_EVENTS = ("send", "recall", "withdraw", "terminate")


class CustomerFacts(Protocol):
    """What this room needs to know of a customer."""

    @property
    def sid(self) -> str:
        """Return its SID."""
        ...

    @property
    def country(self) -> str:
        """Return where it is at home."""
        ...


CustomerOf = Callable[[Tx, str], Awaitable[CustomerFacts | None]]
Signed = Callable[[Tx, str, datetime], Awaitable[None]]


class Api:
    """This room's operations and routes.

    Shapes: `customer_of` finds the customer of an account, or None for an account without one, which sees list prices;
    `signed` is told of every signature on an order form.
    """

    def __init__(self, prices: PriceList, customer_of: CustomerOf, signed: Signed | None = None) -> None:
        self._prices = prices
        self._customer_of = customer_of
        self._signed = signed

    # ---- the contract

    def bindings(self) -> list[Binding]:
        """Join the pricing operations to their use cases."""
        served: list[Binding] = []
        for spec, version, product, name in (
            ("pricing_v1", "v1", "Messaging", "MessagingCountry"),
            ("pricing_v1", "v1", "PhoneNumbers", "PhoneNumberCountry"),
            ("pricing_v1", "v1", "Voice", "VoiceCountry"),
            ("pricing_v2", "v2", "Voice", "VoiceCountry"),
            ("pricing_v2", "v2", "Trunking", "TrunkingCountry"),
        ):
            served.append(serve(f"{spec}:List{name}", _lister(f"/{version}/{product}/Countries")))
            served.append(serve(f"{spec}:Fetch{name}", self._country(version, product)))
        return [
            *served,
            serve("pricing_v1:FetchVoiceNumber", self._voice_number_v1),
            serve("pricing_v2:FetchVoiceNumber", self._voice_number_v2),
            serve("pricing_v2:FetchTrunkingNumber", self._trunking_number),
        ]

    def _country(self, version: str, product: str) -> Callable[[Tx, Call], Awaitable[Mapping[str, Any]]]:
        async def fetch(tx: Tx, call: Call) -> Mapping[str, Any]:
            country = call.path["IsoCountry"].upper()
            name, calling_code = _country_facts(country)
            reader = await self._reader(tx, call.account.sid, call.at)
            if product == "Messaging":
                return wire.messaging_country(reader, country, name)
            if product == "PhoneNumbers":
                return wire.number_country(reader, country, name)
            if product == "Trunking":
                return wire.trunking_country(reader, country, name, calling_code)
            render = wire.voice_country_v1 if version == "v1" else wire.voice_country_v2
            return render(reader, country, name, calling_code)

        return fetch

    async def _voice_number_v1(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        number, country = _number(call.path["Number"])
        reader = await self._reader(tx, call.account.sid, call.at)
        return wire.voice_number_v1(reader, number, country, _country_facts(country)[0])

    async def _voice_number_v2(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        number, country = _number(call.path["DestinationNumber"])
        reader = await self._reader(tx, call.account.sid, call.at)
        origin = call.params.get("OriginationNumber")
        return wire.voice_number_v2(reader, number, origin, country, _country_facts(country)[0])

    async def _trunking_number(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        number, country = _number(call.path["DestinationNumber"])
        reader = await self._reader(tx, call.account.sid, call.at)
        origin = call.params.get("OriginationNumber")
        return wire.trunking_number(reader, number, origin, country, *_country_facts(country))

    async def _reader(self, tx: Tx, account_sid: str, at: datetime) -> wire.Reader:
        customer = await self._customer_of(tx, account_sid)
        if customer is None:
            return wire.Reader(self._prices.tables, "", default_currency(""), at)
        terms = await order_forms.payment_terms(tx, customer.sid, customer.country, at)
        return wire.Reader(self._prices.tables, customer.sid, terms.currency, at)

    # ---- our own

    def routes(self) -> list[OwnRoute]:
        """Return the routes under /commercial/v1."""
        root = "/commercial/v1"
        routes = [
            OwnRoute("GET", f"{root}/PriceBooks", "operator", _list_books, summary="List price books"),
            OwnRoute("GET", f"{root}/PriceBooks/{{book}}/Prices", "operator", _list_prices, summary="List prices"),
            OwnRoute("POST", f"{root}/PriceBooks/{{book}}/Prices", "operator", _publish, summary="Publish prices"),
            OwnRoute("GET", f"{root}/Prices", "customer", self._quote, summary="Quote a price at an instant"),
            OwnRoute("GET", f"{root}/OrderForms", "customer", self._list_forms, summary="List order forms"),
            OwnRoute("POST", f"{root}/OrderForms", "operator", _draft, summary="Draft an order form"),
            OwnRoute("GET", f"{root}/OrderForms/{{sid}}", "customer", self._fetch_form, summary="Fetch an order form"),
            OwnRoute("POST", f"{root}/OrderForms/{{sid}}/Signatures", "customer", self._sign, summary="Sign"),
            OwnRoute("GET", f"{root}/SurchargeRules", "customer", _list_surcharges, summary="List surcharges"),
            OwnRoute("POST", f"{root}/SurchargeRules", "operator", _add_surcharge, summary="Add a surcharge"),
            OwnRoute(
                *("GET", f"{root}/PassThroughCharges", "customer"),
                handler=self._list_charges,
                summary="List fines and penalties passed on",
            ),
            OwnRoute(
                *("POST", f"{root}/PassThroughCharges", "operator"),
                handler=_pass_on,
                summary="Pass on a fine or penalty with its document",
            ),
            OwnRoute(
                *("GET", f"{root}/PassThroughCharges/{{sid}}/Document", "customer"),
                handler=self._charge_document,
                summary="Fetch the document that imposed a fine",
            ),
            OwnRoute("GET", f"{root}/RatedUsage", "customer", self._list_rated, summary="List rated usage"),
            OwnRoute("GET", f"{root}/QuarantinedUsage", "operator", _list_quarantined, summary="List unrated events"),
        ]
        for event in _FORM_EVENTS:
            route = OwnRoute(
                *("POST", f"{root}/OrderForms/{{sid}}/{event.capitalize()}", "operator"),
                handler=_mover(event),
                summary=f"{event.capitalize()} an order form",
            )
            routes.append(route)
        return routes

    async def _customer_sid(self, tx: Tx, request: OwnRequest) -> str | None:
        """Return whose rows the caller may see: its own, or for the operator those asked for, or all (None)."""
        if request.operator:
            return request.query.get("customer_sid")
        if request.caller is not None and request.caller.account.is_subaccount:
            raise Forbidden("A subaccount does not speak for the customer", details={"clause": "1.8"})
        customer = await self._customer_of(tx, request.caller.account.sid) if request.caller else None
        if customer is None:
            raise CustomerNotFound
        return customer.sid

    async def _form_owner(self, tx: Tx, request: OwnRequest) -> str:
        if not request.operator:
            found = await self._customer_sid(tx, request)
            assert found is not None
            return found
        return await _owner_of(tx, request.path["sid"])

    async def _quote(self, tx: Tx, request: OwnRequest, query: wire.QuoteQuery) -> wire.Quote:
        customer_sid = await self._customer_sid(tx, request)
        known_at = query.known_at
        if known_at is not None and not request.operator:
            raise InvalidParameter("'known_at' is the operator's")
        # What was known in the past has to be read; the present is in memory.
        tables: PriceTables = await read_tables(tx, known_at=known_at) if known_at else self._prices.tables
        at = query.at or request.at
        price = tables.price(
            customer_sid or "",
            query.service,
            query.direction,
            query.country,
            query.number,
            query.unit,
            query.currency,
            at,
        )
        return wire.show_quote(price, at)

    async def _list_forms(self, tx: Tx, request: OwnRequest, query: wire.CustomersPage) -> Items[wire.Form]:
        limit = query.limit
        rows = await form_store.page(tx, await self._customer_sid(tx, request), query.after, limit + 1)
        # A customer sees no drafts, which bind nobody and may never be offered.
        shown = [wire.show_form(row) for row in rows[:limit] if request.operator or row.state != "draft"]
        return Items(shown, rows[limit - 1].sid if len(rows) > limit else None)

    async def _fetch_form(self, tx: Tx, request: OwnRequest, sid: str) -> wire.Form:
        form = await order_forms.find(tx, await self._form_owner(tx, request), sid)
        if form.state == "draft" and not request.operator:
            raise NotFound("The order form was not found")
        return wire.show_form(form)

    async def _sign(self, tx: Tx, request: OwnRequest, sid: str, body: wire.Signature) -> wire.Form:
        customer_sid = await self._form_owner(tx, request)
        party = "operator" if request.operator else "customer"
        # A signature on paper is entered by the operator, who says so.
        if request.operator and body.party == "customer":
            party = "customer"
        form = await order_forms.sign(tx, customer_sid, sid, party, body.name, request.at)
        if self._signed is not None:
            await self._signed(tx, customer_sid, request.at)
        return wire.show_form(form)

    async def _list_charges(self, tx: Tx, request: OwnRequest, query: wire.CustomersPage) -> Items[wire.Fine]:
        rows = await form_store.charges(tx, await self._customer_sid(tx, request), query.after, query.limit + 1)
        return page([wire.show_charge(row) for row in rows], query.limit)

    async def _charge_document(
        self, tx: Tx, request: OwnRequest, sid: str, query: wire.FinesOf
    ) -> Annotated[OwnReply, Shows("application/octet-stream")]:
        content = await form_store.charge_document(tx, await self._customer_sid(tx, request), sid)
        if content is None:
            raise NotFound("The charge was not found")
        # Whatever was uploaded is never shown as a page of ours.
        headers = (("content-disposition", "attachment"), ("x-content-type-options", "nosniff"))
        return OwnReply(None, headers=headers, raw=content, content_type="application/octet-stream")

    async def _list_rated(self, tx: Tx, request: OwnRequest, query: wire.RatedPage) -> Items[wire.RatedLine]:
        customer_sid, limit = await self._customer_sid(tx, request), query.limit
        if customer_sid is None:
            raise InvalidParameter("'customer_sid' is required")
        filters = {"kind": query.kind, "invoice_sid": query.invoice_sid}
        rows = await rated_store.page(tx, customer_sid, filters, query.after, limit + 1)
        kept = rows[:limit]
        if len(rows) > limit:
            # A page ends with a whole event, so that the next can begin after its id; none has as many lines as a page.
            kept = [row for row in kept if row.id != rows[limit].id] or kept
        return Items([wire.show_line(row) for row in kept], kept[-1].id if len(rows) > limit else None)


def _lister(path: str) -> Callable[[Tx, Call], Awaitable[Page]]:
    async def list_countries(_: Tx, call: Call) -> Page:
        rows = [wire.country_row(country, name, path) for country, (name, _) in sorted(price_store.countries().items())]
        return Page.slice(call.paging, rows, key="iso_country")

    return list_countries


def _country_facts(country: str) -> tuple[str, str]:
    facts = price_store.countries().get(country)
    if facts is None:
        raise NotFound(f"There is no country '{country[:10]}'")
    return facts


def _number(text: str) -> tuple[str, str]:
    """Return a number in E.164 and its country."""
    try:
        parsed = phonenumbers.parse(text if text.startswith("+") else f"+{text}", None)
    except phonenumbers.NumberParseException:
        raise NotFound(f"'{text[:30]}' is no number") from None
    country = phonenumbers.region_code_for_number(parsed)
    if country is None or country not in price_store.countries():
        raise NotFound(f"'{text[:30]}' is in no country")
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164), country


async def _owner_of(tx: Tx, sid: str) -> str:
    found = await form_store.customer_of_form(tx, sid)
    if found is None:
        raise NotFound("The order form was not found")
    return found


async def _list_books(tx: Tx) -> Items[wire.Book]:
    return whole([wire.Book.of(row) for row in await price_store.books(tx)])


def _numbered(shown: wire.ListPrice | wire.Surcharge) -> str:
    return str(shown.id)


async def _list_prices(tx: Tx, book: str, query: wire.PricesPage) -> Items[wire.ListPrice]:
    rows = await price_store.page_of_prices(
        tx,
        book=book,
        service=query.service,
        country=query.country,
        currency=query.currency,
        known_at=query.known_at,
        after=int(query.after or 0),
        limit=query.limit + 1,
    )
    return page([wire.show_price(row) for row in rows], query.limit, _numbered)


async def _publish(tx: Tx, request: OwnRequest, book: str, body: wire.NewPrices) -> Created[wire.Published]:
    book = wire.book_name(book)
    ids = await books.publish(tx, book, [each.read(request.at) for each in body.prices], request.at, by="operator")
    return wire.Published(book, ids, await price_store.version(tx))


async def _draft(tx: Tx, request: OwnRequest, body: wire.NewOrderForm) -> Created[wire.Form]:
    return wire.show_form(await order_forms.draft(tx, body.read(request.at), request.at))


def _mover(event: str) -> Callable[..., Awaitable[wire.Form]]:
    move = order_forms.send if event == "send" else order_forms.recall
    end = order_forms.withdraw if event == "withdraw" else order_forms.terminate

    async def change(tx: Tx, request: OwnRequest, sid: str) -> wire.Form:
        return wire.show_form(await move(tx, await _owner_of(tx, sid), sid, request.at))

    async def close(tx: Tx, request: OwnRequest, sid: str, body: wire.Cause) -> wire.Form:
        return wire.show_form(await end(tx, await _owner_of(tx, sid), sid, body.cause, request.at))

    return change if event in ("send", "recall") else close


async def _list_surcharges(tx: Tx, query: wire.NumberedPage) -> Items[wire.Surcharge]:
    rows = await price_store.surcharge_rules(tx, int(query.after or 0), query.limit + 1)
    return page([wire.Surcharge.of(row) for row in rows], query.limit, _numbered)


async def _add_surcharge(tx: Tx, request: OwnRequest, body: wire.NewSurcharge) -> Created[wire.Surcharge]:
    added = await books.add_surcharge(tx, body.read(request.at), request.at, by="operator", source=body.source)
    return wire.Surcharge.of(added)


async def _pass_on(tx: Tx, request: OwnRequest, body: wire.NewFine) -> Created[wire.PassedOn]:
    line = await rating.pass_on(tx, body.customer_sid, body.read(), request.at)
    return wire.PassedOn.of(line, sid=line.id, kind=line_kind(line.kind))


async def _list_quarantined(tx: Tx, query: wire.CustomersPage) -> Items[wire.Quarantined]:
    return whole(
        [wire.Quarantined.of(row) for row in await rated_store.quarantined(tx, query.customer_sid, query.limit)]
    )
