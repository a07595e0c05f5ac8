"""The operations this room serves."""

from collections.abc import Mapping
from typing import Any, Final

from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.engines.api import Binding, Call, OwnRequest, OwnRoute, Page, serve
from onterms.engines.api.calls import Handler
from onterms.engines.api.own import Created
from onterms.engines.api.shapes import Items, Paging, page
from onterms.products.numbers import service, wire
from onterms.products.numbers.errors import NumberMissing
from onterms.products.numbers.model import SEARCH_ROWS_MAX, Kind
from onterms.products.numbers.service.fees import Statuses

# The contract's kinds of numbers; the last four are in its lists, and no stock has them.
_SOLD: Final[dict[str, Kind]] = {"Local": "local", "Mobile": "mobile", "TollFree": "tollfree"}
_NEVER_SOLD: Final = ("National", "SharedCost", "Voip", "MachineToMachine")

# What the catalogue says of parameters that the contract alone refuses.
_SETTING_REFUSALS: Final = {
    name: (21403, f"{name} must be GET or POST")
    for name in ("VoiceMethod", "VoiceFallbackMethod", "SmsMethod", "SmsFallbackMethod", "StatusCallbackMethod")
}
_NUMBER_REFUSALS: Final = _SETTING_REFUSALS | {
    "PhoneNumber": (21421, "PhoneNumber is not a valid number"),
    "AreaCode": (21451, "AreaCode is not a valid area code"),
    "AccountSid": (21470, "AccountSid is not a valid SID"),
    "SmsApplicationSid": (21420, "SmsApplicationSid is not accessible"),
    "VoiceApplicationSid": (21420, "VoiceApplicationSid is not accessible"),
}


async def _no_resources(_tx: Tx, _account_sid: str, _sid: str) -> bool:
    return False


async def _list_countries(tx: Tx, call: Call) -> Mapping[str, Any]:
    return wire.countries(call.account.sid, await service.list_countries(tx))


async def _fetch_country(tx: Tx, call: Call) -> Mapping[str, Any]:
    code = call.path["CountryCode"]
    path = f"/2010-04-01/Accounts/{call.account.sid}/AvailablePhoneNumbers/{code}.json"
    return wire.country(call.account.sid, await service.require_country(tx, code, path))


def _search_path(call: Call, name: str) -> str:
    return f"/2010-04-01/Accounts/{call.account.sid}/AvailablePhoneNumbers/{call.path['CountryCode']}/{name}.json"


def _search(name: str, kind: Kind) -> Handler:
    async def search(tx: Tx, call: Call) -> Page:
        limit = min(call.paging.size, SEARCH_ROWS_MAX)
        path = _search_path(call, name)
        # There is no second page, so whoever asks for one gets nothing instead of the first again.
        if call.paging.page or call.paging.key is not None:
            limit = 0
        rows = await service.search_numbers(tx, call.path["CountryCode"], kind, call.params, limit, path)
        return Page([wire.available_number(row) for row in rows])

    return search


def _search_nothing(name: str) -> Handler:
    async def search(tx: Tx, call: Call) -> Page:
        await service.require_country(tx, call.path["CountryCode"], _search_path(call, name))
        return Page([])

    return search


def _list(kind: Kind | None) -> Handler:
    async def list_numbers(tx: Tx, call: Call) -> Page:
        rows = await service.list_numbers(tx, call.account.sid, call.params, call.paging, kind=kind)
        return Page.of(call.paging, rows, key="sid", render=wire.incoming_number)

    return list_numbers


def _create(kind: Kind | None, owns_resource: service.OwnsResource, fees: service.Fees | None) -> Handler:
    async def create_number(tx: Tx, call: Call) -> Mapping[str, Any]:
        changes = wire.number_settings(call.params)
        number, area_code = call.params.get("PhoneNumber"), call.params.get("AreaCode")
        if not number and not area_code:
            raise NumberMissing
        if call.account.test or call.caller.account.test:
            return wire.incoming_number(service.pretend_to_buy(call.account.sid, number, area_code, changes, call.at))
        if number:
            row = await service.buy_number(
                tx, call.account.sid, number, changes, call.at, kind=kind, owns_resource=owns_resource, fees=fees
            )
        else:
            row = await service.buy_in_area(
                tx,
                call.account.sid,
                str(area_code),
                changes,
                call.at,
                kind=kind,
                owns_resource=owns_resource,
                fees=fees,
            )
        return wire.incoming_number(row)

    return create_number


async def _fetch_number(tx: Tx, call: Call) -> Mapping[str, Any]:
    return wire.incoming_number(await service.fetch_number(tx, call.account.sid, call.path["Sid"]))


def _update(find_account: service.FindAccount, owns_resource: service.OwnsResource) -> Handler:
    async def update_number(tx: Tx, call: Call) -> Mapping[str, Any]:
        row = await service.update_number(
            tx,
            call.caller,
            call.account,
            call.path["Sid"],
            wire.number_settings(call.params),
            call.at,
            to_account_sid=call.params.get("AccountSid"),
            find_account=find_account,
            owns_resource=owns_resource,
        )
        return wire.incoming_number(row)

    return update_number


async def _delete_number(tx: Tx, call: Call) -> None:
    await service.release_number(tx, call.account.sid, call.path["Sid"], call.at)


async def _list_short_codes(tx: Tx, call: Call) -> Page:
    rows = await service.list_short_codes(tx, call.account.sid, call.params, call.paging)
    return Page.of(call.paging, rows, key="sid", render=wire.short_code)


async def _fetch_short_code(tx: Tx, call: Call) -> Mapping[str, Any]:
    return wire.short_code(await service.fetch_short_code(tx, call.account.sid, call.path["Sid"]))


async def _update_short_code(tx: Tx, call: Call) -> Mapping[str, Any]:
    changes = wire.short_code_settings(call.params)
    return wire.short_code(await service.update_short_code(tx, call.account.sid, call.path["Sid"], changes, call.at))


async def _create_application(tx: Tx, call: Call) -> Mapping[str, Any]:
    changes = wire.application_settings(call.params)
    return wire.application(await service.create_application(tx, call.account.sid, changes, call.at))


async def _list_applications(tx: Tx, call: Call) -> Page:
    rows = await service.list_applications(tx, call.account.sid, call.params, call.paging)
    return Page.of(call.paging, rows, key="sid", render=wire.application)


async def _fetch_application(tx: Tx, call: Call) -> Mapping[str, Any]:
    return wire.application(await service.fetch_application(tx, call.account.sid, call.path["Sid"]))


async def _update_application(tx: Tx, call: Call) -> Mapping[str, Any]:
    changes = wire.application_settings(call.params)
    row = await service.update_application(tx, call.account.sid, call.path["Sid"], changes, call.at)
    return wire.application(row)


async def _delete_application(tx: Tx, call: Call) -> None:
    await service.delete_application(tx, call.account.sid, call.path["Sid"], call.at)


def bindings(
    *,
    find_account: service.FindAccount,
    owns_resource: service.OwnsResource = _no_resources,
    fees: service.Fees | None = None,
) -> list[Binding]:
    """Join the operations of numbers and applications to their use cases.

    Shapes: `find_account` returns an account that the caller may act upon, or raises NotFound; `owns_resource` tells
    whether an account has the address, bundle, identity or trunk of a SID, and without it nobody has any; `fees`
    charges for numbers, which cost nothing without.
    """
    numbers = "api_v2010:{}IncomingPhoneNumber{}"
    out = [
        serve("api_v2010:ListAvailablePhoneNumberCountry", _list_countries),
        serve("api_v2010:FetchAvailablePhoneNumberCountry", _fetch_country),
        serve(numbers.format("Fetch", ""), _fetch_number),
        serve(numbers.format("Update", ""), _update(find_account, owns_resource), refusals=_NUMBER_REFUSALS),
        serve(numbers.format("Delete", ""), _delete_number),
        serve("api_v2010:ListShortCode", _list_short_codes),
        serve("api_v2010:FetchShortCode", _fetch_short_code),
        serve("api_v2010:UpdateShortCode", _update_short_code, refusals=_SETTING_REFUSALS),
        serve("api_v2010:CreateApplication", _create_application, refusals=_SETTING_REFUSALS),
        serve("api_v2010:ListApplication", _list_applications),
        serve("api_v2010:FetchApplication", _fetch_application),
        serve("api_v2010:UpdateApplication", _update_application, refusals=_SETTING_REFUSALS),
        serve("api_v2010:DeleteApplication", _delete_application),
    ]
    search = "api_v2010:ListAvailablePhoneNumber"
    out += [serve(search + name, _search_nothing(name)) for name in _NEVER_SOLD]
    for name, kind in _SOLD.items():
        out.append(serve(search + name, _search(name, kind), refusals={"AreaCode": _NUMBER_REFUSALS["AreaCode"]}))
    for name, sold in {"": None, **_SOLD}.items():
        out.append(serve(numbers.format("List", name), _list(sold)))
        create = _create(sold, owns_resource, fees)
        out.append(serve(numbers.format("Create", name), create, refusals=_NUMBER_REFUSALS, test_credentials=True))
    return out


_SHORT_CODES: Final = "/operator/v1/ShortCodes"
_PAGE: Final = 50


class ShortCodeApi:
    """The operator's routes about short codes: what it leases from a registry it gives to accounts here.

    Shapes: `statuses` are those of accounts; those that do not exist are absent.
    """

    def __init__(self, fees: service.Fees, statuses: Statuses) -> None:
        self._fees = fees
        self._statuses = statuses

    def routes(self) -> list[OwnRoute]:
        """Return the routes."""
        return [
            OwnRoute("POST", _SHORT_CODES, "operator", self.give, summary="Give a short code to an account"),
            OwnRoute("GET", _SHORT_CODES, "operator", self.list, summary="List short codes and who holds them"),
            OwnRoute("DELETE", f"{_SHORT_CODES}/{{sid}}", "operator", self.take, summary="Take a short code back"),
        ]

    async def give(self, tx: Tx, request: OwnRequest, body: wire.NewShortCode) -> Created[wire.ShortCode]:
        """Give a short code; its holder is charged for the month that begins."""
        if (await self._statuses(tx, [body.account_sid])).get(body.account_sid) != "active":
            raise InvalidParameter("'account_sid' is no active account's")
        facts = (body.account_sid, body.short_code, body.country, body.mms, body.friendly_name)
        return wire.held_short_code(await service.give_short_code(tx, *facts, self._fees, request.at))

    async def list(self, tx: Tx, query: Paging) -> Items[wire.ShortCode]:
        """List short codes."""
        rows = await service.held_short_codes(tx, query.next, _PAGE + 1)
        return page([wire.held_short_code(row) for row in rows], _PAGE)

    async def take(self, tx: Tx, request: OwnRequest, sid: str) -> None:
        """Take a short code back, without a refund of the month."""
        await service.take_short_code(tx, sid, request.at)
