"""A document as an electronic invoice: EN 16931 in the syntax UN/CEFACT Cross Industry Invoice (D16B).

EN 16931 gives each line one VAT category, and each category and rate one total: our taxes are rounded once a rate, so
the totals agree. Lines that no tax is on carry category E with the reason.
"""

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from onterms.business.invoicing.errors import NoEInvoice
from onterms.business.invoicing.model import Invoice, Line, Party
from onterms.core.money import decimal_text, minor_text

_RSM = "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100"
_RAM = "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100"
_UDT = "urn:un:unece:uncefact:data:standard:UnqualifiedDataType:100"
_PREFIXES = {"rsm": _RSM, "ram": _RAM, "udt": _UDT}
# UNTDID 1001: commercial invoice, debit note. UN/ECE Rec 20: C62 is "one".
_TYPES = {"invoice": "380", "debit_note": "383"}
_UNIT = "C62"
_OUTSIDE = "Not subject to tax"


def render(invoice: Invoice, seller: Party, buyer: Party, agent_of: Party | None = None) -> bytes:
    """Write a finalised document as EN 16931 XML.

    Raises: NoEInvoice where a line has several taxes.
    """
    rates = _rates(invoice)
    for prefix, name in _PREFIXES.items():
        ElementTree.register_namespace(prefix, name)
    root = Element(f"{{{_RSM}}}CrossIndustryInvoice")
    context = _add(root, "rsm:ExchangedDocumentContext")
    _add(_add(context, "ram:GuidelineSpecifiedDocumentContextParameter"), "ram:ID", "urn:cen.eu:en16931:2017")
    document = _add(root, "rsm:ExchangedDocument")
    _add(document, "ram:ID", invoice.number)
    _add(document, "ram:TypeCode", _TYPES[invoice.kind])
    _date(_add(document, "ram:IssueDateTime"), invoice.issued_on.strftime("%Y%m%d"))
    if agent_of is not None:
        _add(_add(document, "ram:IncludedNote"), "ram:Content", f"{seller.name} bills as agent of {agent_of.name}.")
    trade = _add(root, "rsm:SupplyChainTradeTransaction")
    for line in invoice.lines:
        if line.kind != "tax":
            _line(trade, line, invoice.currency, rates.get(line.ref))
    agreement = _add(trade, "ram:ApplicableHeaderTradeAgreement")
    _party(_add(agreement, "ram:SellerTradeParty"), seller)
    _party(_add(agreement, "ram:BuyerTradeParty"), buyer)
    _add(trade, "ram:ApplicableHeaderTradeDelivery")
    _settlement(_add(trade, "ram:ApplicableHeaderTradeSettlement"), invoice, rates)
    body: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return body


def _add(parent: Element, name: str, text: str | None = None, **attributes: str) -> Element:
    prefix, _, local = name.partition(":")
    made = SubElement(parent, f"{{{_PREFIXES[prefix]}}}{local}", attributes)
    made.text = text
    return made


def _date(parent: Element, text: str) -> None:
    # UNTDID 2379: 102 is CCYYMMDD.
    _add(parent, "udt:DateTimeString", text, format="102")


def _rates(invoice: Invoice) -> dict[str, Line]:
    found: dict[str, Line] = {}
    lines = {line.ref for line in invoice.lines if line.kind != "tax"}
    for tax in invoice.lines:
        if tax.kind != "tax":
            continue
        if not tax.taxed or not lines.issuperset(tax.taxed):
            raise NoEInvoice
        for ref in tax.taxed:
            if ref in found:
                raise NoEInvoice
            found[ref] = tax
    return found


def _category(tax: Line | None) -> str:
    # UNTDID 5305: S standard, AE reverse charge, Z zero rated, E exempt.
    if tax is None:
        return "E"
    if tax.rate:
        return "S"
    return "AE" if tax.name.endswith("reverse charge") else "Z"


def _percent(tax: Line | None) -> str:
    return decimal_text((tax.rate or 0) * 100 if tax is not None else 0)


def _line(trade: Element, line: Line, currency: str, tax: Line | None) -> None:
    item = _add(trade, "ram:IncludedSupplyChainTradeLineItem")
    _add(_add(item, "ram:AssociatedDocumentLineDocument"), "ram:LineID", line.ref)
    product = _add(item, "ram:SpecifiedTradeProduct")
    _add(product, "ram:Name", line.name or line.kind)
    _add(product, "ram:Description", f"{line.kind.replace('_', ' ')}, {line.qty} {line.unit}")
    price = _add(_add(item, "ram:SpecifiedLineTradeAgreement"), "ram:NetPriceProductTradePrice")
    # A price is never negative here (BR-27); the quantity is. A line is one of its amount, so that both multiply.
    _add(price, "ram:ChargeAmount", minor_text(abs(line.micros), currency))
    delivery = _add(item, "ram:SpecifiedLineTradeDelivery")
    _add(delivery, "ram:BilledQuantity", "-1" if line.micros < 0 else "1", unitCode=_UNIT)
    settlement = _add(item, "ram:SpecifiedLineTradeSettlement")
    applied = _add(settlement, "ram:ApplicableTradeTax")
    _add(applied, "ram:TypeCode", "VAT")
    _add(applied, "ram:CategoryCode", _category(tax))
    _add(applied, "ram:RateApplicablePercent", _percent(tax))
    summation = _add(settlement, "ram:SpecifiedTradeSettlementLineMonetarySummation")
    _add(summation, "ram:LineTotalAmount", minor_text(line.micros, currency))


def _party(element: Element, party: Party) -> None:
    _add(element, "ram:Name", party.name)
    address = _add(element, "ram:PostalTradeAddress")
    for name, text in zip(("LineOne", "LineTwo", "LineThree"), party.address, strict=False):
        _add(address, f"ram:{name}", text)
    _add(address, "ram:CountryID", party.country)
    if party.vat_id:
        _add(_add(element, "ram:SpecifiedTaxRegistration"), "ram:ID", party.vat_id, schemeID="VA")


def _settlement(element: Element, invoice: Invoice, rates: dict[str, Line]) -> None:
    code = invoice.currency
    _add(element, "ram:InvoiceCurrencyCode", code)
    groups: dict[tuple[str, str], tuple[int, int]] = {}
    for line in invoice.lines:
        if line.kind == "tax":
            continue
        key = (_category(rates.get(line.ref)), _percent(rates.get(line.ref)))
        base, tax = groups.get(key, (0, 0))
        groups[key] = (base + line.micros, tax)
    for line in invoice.lines:
        if line.kind == "tax":
            base, tax = groups[_category(line), _percent(line)]
            groups[_category(line), _percent(line)] = (base, tax + line.micros)
    for (category, percent), (base, tax) in sorted(groups.items()):
        applied = _add(element, "ram:ApplicableTradeTax")
        _add(applied, "ram:CalculatedAmount", minor_text(tax, code))
        _add(applied, "ram:TypeCode", "VAT")
        if category in ("E", "AE"):
            _add(applied, "ram:ExemptionReason", _OUTSIDE if category == "E" else "Reverse charge")
        _add(applied, "ram:BasisAmount", minor_text(base, code))
        _add(applied, "ram:CategoryCode", category)
        _add(applied, "ram:RateApplicablePercent", percent)
    terms = _add(element, "ram:SpecifiedTradePaymentTerms")
    _date(_add(terms, "ram:DueDateDateTime"), invoice.due_on.strftime("%Y%m%d"))
    taxes = sum(line.micros for line in invoice.lines if line.kind == "tax")
    net = invoice.total - taxes
    summation = _add(element, "ram:SpecifiedTradeSettlementHeaderMonetarySummation")
    _add(summation, "ram:LineTotalAmount", minor_text(net, code))
    _add(summation, "ram:TaxBasisTotalAmount", minor_text(net, code))
    _add(summation, "ram:TaxTotalAmount", minor_text(taxes, code), currencyID=code)
    _add(summation, "ram:GrandTotalAmount", minor_text(invoice.total, code))
    _add(summation, "ram:DuePayableAmount", minor_text(invoice.total, code))
