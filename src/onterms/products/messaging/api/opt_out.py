"""Opting out, compliance and deactivations: operations of the contract, and routes of our own where it has none."""

from collections.abc import Mapping
from typing import Any, Final

from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api import Binding, Call, OwnRequest, OwnRoute, Reply, serve
from onterms.engines.api.own import Created
from onterms.engines.api.shapes import Items, page
from onterms.products.messaging.model import HELP_WORDS, REPLIES, START_WORDS, STOP_WORDS
from onterms.products.messaging.service import consent, pool
from onterms.products.messaging.service.compliance import Compliance
from onterms.products.messaging.service.history import MediaLinks
from onterms.products.messaging.wire import opt_out as wire

_OF_SERVICE: Final = "/commercial/v1/MessagingServices/{sid}/OptOut"
_OF_NUMBER: Final = "/commercial/v1/Numbers/{sid}/OptOut"
_TOOLKIT: Final = "/commercial/v1/ComplianceToolkit"
_PAGE: Final = 100
# Twilio docs, error 30115.
_DATE_WRONG: Final = 30115
# Some twelve characters a number.
_REPORT_BYTES_MAX: Final = 16 * 1024 * 1024
_DEFAULTS: Mapping[str, Any] = {
    "stop_words": sorted(STOP_WORDS),
    "start_words": sorted(START_WORDS),
    "help_words": sorted(HELP_WORDS),
    "stop_reply": REPLIES["STOP"],
    "start_reply": REPLIES["START"],
    "help_reply": REPLIES["HELP"],
}


class OptOutApi:
    """The operations and routes."""

    def __init__(self, compliance: Compliance) -> None:
        self._compliance = compliance

    def bindings(self, links: MediaLinks) -> list[Binding]:
        """Return each operation of the contract bound to its use case."""

        async def fetch_deactivation(tx: Tx, call: Call) -> Reply:
            day = call.params.get("Date")
            if day is None:
                raise InvalidParameter("Date is required, such as 2025-03-01", code=_DATE_WRONG)
            consent.require_report(day, call.at)
            link = links.report(day)
            return Reply({"redirect_to": link}, status=307, headers=(("Location", link),))

        return [
            serve("accounts_v1:CreateBulkConsents", self.put_consents),
            serve("accounts_v1:CreateBulkContacts", self.put_contacts),
            serve(
                "messaging_v1:FetchDeactivation",
                fetch_deactivation,
                refusals={"Date": (_DATE_WRONG, "Date must be a day such as 2025-03-01")},
            ),
        ]

    def routes(self) -> list[OwnRoute]:
        """Return the routes of our own."""
        return [
            OwnRoute("GET", _OF_SERVICE, "account", self.show, summary="Show a Messaging Service's opt-out words"),
            OwnRoute(
                "PUT", _OF_SERVICE, "account", self.set, summary="Give a Messaging Service opt-out words of its own"
            ),
            OwnRoute("DELETE", _OF_SERVICE, "account", self.reset, summary="Go back to the default opt-out words"),
            OwnRoute("GET", _OF_NUMBER, "account", self.show_number, summary="Show a number's opt-out words"),
            OwnRoute("PUT", _OF_NUMBER, "account", self.set_number, summary="Give a number opt-out words of its own"),
            OwnRoute(
                "DELETE", _OF_NUMBER, "account", self.reset_number, summary="Give a number the default words back"
            ),
            OwnRoute("GET", "/commercial/v1/OptOuts", "account", self.list, summary="List who opted out, and in again"),
            OwnRoute("GET", _TOOLKIT, "account", self.show_toolkit, summary="Show what is looked at before sending"),
            OwnRoute("PUT", _TOOLKIT, "account", self.set_toolkit, summary="Say what is looked at before sending"),
            OwnRoute(
                "POST",
                "/operator/v1/Deactivations",
                "operator",
                self.deactivate,
                body_bytes_max=_REPORT_BYTES_MAX,
                summary="Import which numbers carriers took out of service",
            ),
        ]

    # ---- the contract

    async def put_consents(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Record consents."""
        return {"items": await consent.put_consents(tx, call.account.sid, call.params["Items"], call.at)}

    async def put_contacts(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        """Write down where contacts live."""
        return {"items": await consent.put_contacts(tx, call.account.sid, call.params["Items"], call.at)}

    # ---- words of opting out

    async def show(self, tx: Tx, request: OwnRequest, sid: str) -> wire.OptOut:
        """Show a service's words."""
        return wire.opt_out_of(sid, (await pool.fetch(tx, _account(request), sid))["opt_out"], _DEFAULTS)

    async def set(self, tx: Tx, request: OwnRequest, sid: str, body: wire.NewOptOut) -> wire.OptOut:
        """Give a service words of its own."""
        row = await pool.set_opt_out(tx, _account(request), sid, body.settings(), request.at)
        return wire.opt_out_of(sid, row["opt_out"], _DEFAULTS)

    async def reset(self, tx: Tx, request: OwnRequest, sid: str) -> None:
        """Give a service the default words back."""
        await pool.set_opt_out(tx, _account(request), sid, None, request.at)

    async def show_number(self, tx: Tx, request: OwnRequest, sid: str) -> wire.OptOut:
        """Show a number's words, which hold while it stands in no service with words of its own."""
        return wire.opt_out_of(sid, await consent.words_of_number(tx, _account(request), sid), _DEFAULTS)

    async def set_number(self, tx: Tx, request: OwnRequest, sid: str, body: wire.NewOptOut) -> wire.OptOut:
        """Give a number or short code words of its own."""
        settings = body.settings()
        await consent.set_words_of_number(tx, _account(request), sid, settings, request.at)
        return wire.opt_out_of(sid, settings, _DEFAULTS)

    async def reset_number(self, tx: Tx, request: OwnRequest, sid: str) -> None:
        """Give a number the default words back; a short code has none then."""
        await consent.set_words_of_number(tx, _account(request), sid, None, request.at)

    async def list(self, tx: Tx, request: OwnRequest, query: wire.WishQuery) -> Items[wire.Wish]:
        """List what peers want of the account's senders."""
        rows = await consent.opt_outs(tx, _account(request), query.peer, query.next, _PAGE + 1)
        return page([wire.wish_of(row) for row in rows], _PAGE, lambda each: f"{each.sender}|{each.peer}")

    # ---- compliance

    async def show_toolkit(self, tx: Tx, request: OwnRequest) -> wire.ComplianceToolkit:
        """Show what is looked at."""
        return wire.toolkit_of(await self._compliance.fetch(tx, _account(request)))

    async def set_toolkit(self, tx: Tx, request: OwnRequest, body: wire.ComplianceToolkit) -> wire.ComplianceToolkit:
        """Say what is looked at, from the next message on."""
        settings = body.settings()
        await self._compliance.set(tx, _account(request), settings, request.at)
        return wire.toolkit_of(settings)

    # ---- numbers out of service

    async def deactivate(self, tx: Tx, request: OwnRequest, body: wire.NewDeactivations) -> Created[wire.Deactivations]:
        """Import a report."""
        return wire.Deactivations(body.date, await consent.deactivate(tx, body.date, body.numbers, request.at))


def _account(request: OwnRequest) -> str:
    assert request.caller is not None, "the route asks for an account's credentials"
    return request.caller.account.sid
