"""Buying, configuring, transferring and releasing numbers."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from onterms.core import e164
from onterms.core.db import Row, Tx
from onterms.core.errors import NotFound, Unavailable
from onterms.core.ids import SID, new_random_sid, new_sid
from onterms.engines import jobs, log
from onterms.engines.api import Account, Caller, PageRequest
from onterms.products.numbers import store
from onterms.products.numbers.errors import (
    AccountNotActive,
    AddressRequired,
    ApplicationNotAccessible,
    AreaCodeEmpty,
    InvalidAccountSid,
    InvalidNumber,
    LocalAddressRequired,
    NotTheParent,
    NumberNotAvailable,
    NumberNotFound,
    UnknownResource,
    UnrelatedAccount,
    WrongKind,
)
from onterms.products.numbers.events import number_bought, number_released, number_transferred
from onterms.products.numbers.model import (
    MAGIC_AREA_CODE_AVAILABLE,
    MAGIC_AVAILABLE,
    MAGIC_INVALID,
    NORTH_AMERICA,
    NUMBER_DEFAULTS,
    TIED_TO_ACCOUNT,
    Kind,
    friendly_form,
    merge_settings,
    partial_number,
    require_area_code,
)
from onterms.products.numbers.service.fees import Fees

# Both are given at wiring time: other rooms keep accounts, addresses, trunks and bundles.
FindAccount = Callable[[Tx, Caller, str], Awaitable[Account]]
OwnsResource = Callable[[Tx, str, str], Awaitable[bool]]

QUARANTINE_TASK: Final = "numbers.end_quarantine"
# Ours: people go on writing to a number that they know, so the next holder does not get what was meant for the last.
QUARANTINE: Final = timedelta(days=30)
_APPLICATIONS: Final = ("sms_application_sid", "voice_application_sid")
_RESOURCES: Final = {
    "address_sid": "AddressSid",
    "emergency_address_sid": "EmergencyAddressSid",
    "identity_sid": "IdentitySid",
    "bundle_sid": "BundleSid",
    "trunk_sid": "TrunkSid",
}


def _require_number(text: str) -> str:
    # A form turns a plus that was not escaped into a space.
    written = "+" + text.strip() if text.strip()[:1].isdigit() else text.strip()
    number = e164.normalise(written)
    if number is None:
        raise InvalidNumber(text)
    return number


async def buy_number(
    tx: Tx,
    account_sid: str,
    phone_number: str,
    changes: Mapping[str, Any],
    at: datetime,
    *,
    kind: Kind | None,
    owns_resource: OwnsResource,
    fees: Fees | None = None,
) -> Row:
    """Give one number of the stock to an account; of several buyers at once one gets it.

    Shapes: `fees` charges its first month; without, it is given for nothing.

    Raises: InvalidNumber, NumberNotAvailable, WrongKind, AddressRequired, LocalAddressRequired and what settings raise.
    """
    number = _require_number(phone_number)
    stock = await store.stock_row(tx, number)
    if stock is None or stock["holder_sid"] is not None:
        raise NumberNotAvailable(number)
    return await _hold(tx, account_sid, stock, changes, at, kind=kind, owns_resource=owns_resource, fees=fees)


async def buy_in_area(
    tx: Tx,
    account_sid: str,
    area_code: str,
    changes: Mapping[str, Any],
    at: datetime,
    *,
    kind: Kind | None,
    owns_resource: OwnsResource,
    fees: Fees | None = None,
) -> Row:
    """Give an account any local number of a North American area code.

    Raises: InvalidAreaCode, AreaCodeEmpty and what settings raise.
    """
    wanted = require_area_code(area_code)
    stock = await store.any_free(tx, countries=sorted(NORTH_AMERICA), kind=kind or "local", area_code=wanted)
    if stock is None:
        raise AreaCodeEmpty(wanted)
    return await _hold(tx, account_sid, stock, changes, at, kind=kind, owns_resource=owns_resource, fees=fees)


async def _hold(
    tx: Tx,
    account_sid: str,
    stock: Mapping[str, Any],
    changes: Mapping[str, Any],
    at: datetime,
    *,
    kind: Kind | None,
    owns_resource: OwnsResource,
    fees: Fees | None = None,
) -> Row:
    number = stock["phone_number"]
    if kind is not None and stock["kind"] != kind:
        raise WrongKind(number)
    await _check_resources(tx, account_sid, changes, owns_resource)
    settings = merge_settings(NUMBER_DEFAULTS, changes, NUMBER_DEFAULTS)
    _require_address(stock, settings)
    settings["friendly_name"] = settings["friendly_name"] or friendly_form(number)
    sid = new_sid("PN", at)
    if not await store.take(tx, number, sid):
        raise NumberNotAvailable(number)
    row = await store.insert_number(tx, account_sid, sid, stock, settings, at)
    if fees is not None:
        await fees.begin(tx, row, at)
    await log.append(tx, [number_bought(account_sid, sid, number, stock["price_ref"])], at)
    await store.announce(tx, [account_sid])
    return row


def _require_address(number: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    if settings["address_sid"] or number["address_requirements"] == "none":
        return
    if number["address_requirements"] == "local":
        raise LocalAddressRequired(number["phone_number"])
    raise AddressRequired(number["phone_number"])


def pretend_to_buy(
    account_sid: str, phone_number: str | None, area_code: str | None, changes: Mapping[str, Any], at: datetime
) -> dict[str, Any]:
    """Answer a purchase with test credentials: the magic numbers' outcome, and nothing is stored.

    Raises: InvalidNumber, NumberNotAvailable, InvalidAreaCode, AreaCodeEmpty.
    """
    if phone_number:
        number = _require_number(phone_number)
        if number == MAGIC_INVALID:
            raise InvalidNumber(number)
        if number != MAGIC_AVAILABLE:
            raise NumberNotAvailable(number)
    else:
        wanted = require_area_code(area_code)
        if wanted != MAGIC_AREA_CODE_AVAILABLE:
            raise AreaCodeEmpty(wanted)
    # No application or address can be known to test credentials; what else was sent comes back.
    for name in TIED_TO_ACCOUNT:
        if changes.get(name):
            raise (
                ApplicationNotAccessible(changes[name])
                if name in _APPLICATIONS
                else UnknownResource(_RESOURCES[name], changes[name])
            )
    settings = merge_settings(NUMBER_DEFAULTS, changes, NUMBER_DEFAULTS)
    return {
        **settings,
        "friendly_name": settings["friendly_name"] or friendly_form(MAGIC_AVAILABLE),
        "account_sid": account_sid,
        "sid": new_random_sid("PN"),
        "phone_number": MAGIC_AVAILABLE,
        "kind": "local",
        "voice": True,
        "sms": True,
        "mms": False,
        "fax": False,
        "address_requirements": "none",
        "beta": False,
        "origin": "twilio",
        "created_at": at,
        "updated_at": at,
    }


async def fetch_number(tx: Tx, account_sid: str, sid: str) -> Row:
    """Return a number that an account holds.

    Raises: NumberNotFound.
    """
    row = await store.fetch_number(tx, account_sid, sid)
    if row is None:
        raise NumberNotFound(sid)
    return row


async def list_numbers(
    tx: Tx, account_sid: str, params: Mapping[str, Any], request: PageRequest, *, kind: Kind | None
) -> list[Row]:
    """Return one page of the numbers that an account holds, newest first."""
    wanted = params.get("PhoneNumber")
    return await store.list_numbers(
        tx,
        account_sid,
        request,
        kind=kind,
        pattern=partial_number(wanted) if wanted else None,
        friendly_name=params.get("FriendlyName") or None,
        beta=params.get("Beta"),
        origin=params.get("Origin") or None,
    )


async def update_number(
    tx: Tx,
    caller: Caller,
    account: Account,
    sid: str,
    changes: Mapping[str, Any],
    at: datetime,
    *,
    to_account_sid: str | None,
    find_account: FindAccount,
    owns_resource: OwnsResource,
) -> Row:
    """Change a number's settings, and move it to another account of the family where one is named.

    A number leaves behind what belongs to the account it leaves: applications, trunk, addresses and bundle.

    Raises: NumberNotFound, ApplicationNotAccessible, UnknownResource, NotTheParent, UnrelatedAccount, AccountNotActive
    and what settings raise.
    """
    if await store.fetch_number(tx, account.sid, sid) is None:
        raise NumberNotFound(sid)
    holder_sid = account.sid
    if to_account_sid and to_account_sid != account.sid:
        holder_sid = (await _require_receiver(tx, caller, account, to_account_sid, find_account)).sid
    # Applications are locked before numbers here and where an application is deleted, so nobody waits in a ring.
    await _check_resources(tx, holder_sid, changes, owns_resource)
    # The lock holds back two changes of different settings from undoing each other.
    current = await store.fetch_number(tx, account.sid, sid, lock=True)
    if current is None:
        raise NumberNotFound(sid)
    base: dict[str, Any] = dict(current)
    if holder_sid != account.sid:
        base.update(dict.fromkeys(TIED_TO_ACCOUNT))
    settings = merge_settings(base, changes, NUMBER_DEFAULTS)
    _require_address(current, settings)
    settings["friendly_name"] = settings["friendly_name"] or friendly_form(current["phone_number"])
    row = await store.save_number(tx, account.sid, sid, settings, holder_sid, at)
    if holder_sid != account.sid:
        event = number_transferred(holder_sid, sid, current["phone_number"], account.sid)
        await log.append(tx, [event], at)
    await store.announce(tx, sorted({account.sid, holder_sid}))
    return row


async def _require_receiver(
    tx: Tx, caller: Caller, account: Account, to_account_sid: str, find_account: FindAccount
) -> Account:
    if not to_account_sid.startswith("AC") or SID.match(to_account_sid) is None:
        raise InvalidAccountSid(to_account_sid)
    parent = caller.account
    if parent.owner_sid != parent.sid or account.owner_sid != parent.sid:
        raise NotTheParent
    try:
        receiver = await find_account(tx, caller, to_account_sid)
    except NotFound:
        raise UnrelatedAccount(to_account_sid) from None
    if receiver.test or receiver.owner_sid != parent.sid:
        raise UnrelatedAccount(to_account_sid)
    if receiver.status != "active":
        raise AccountNotActive(to_account_sid)
    return receiver


async def _check_resources(tx: Tx, account_sid: str, changes: Mapping[str, Any], owns_resource: OwnsResource) -> None:
    for name in _APPLICATIONS:
        sid = changes.get(name)
        if sid and not await store.share_application(tx, account_sid, sid):
            raise ApplicationNotAccessible(sid)
    for name, parameter in _RESOURCES.items():
        sid = changes.get(name)
        if sid and not await owns_resource(tx, account_sid, sid):
            raise UnknownResource(parameter, sid)


async def release_number(tx: Tx, account_sid: str, sid: str, at: datetime) -> None:
    """End an account's hold on a number, which is for sale again.

    Raises: NumberNotFound.
    """
    row = await store.release_number(tx, account_sid, sid, at)
    if row is None:
        raise NumberNotFound(sid)
    await store.put_back(tx, row["phone_number"], sid)
    await log.append(tx, [number_released(account_sid, sid, row["phone_number"], row["price_ref"])], at)
    await store.announce(tx, [account_sid])


async def release_all(tx: Tx, account_sids: Sequence[str], at: datetime) -> list[str]:
    """End all holds of accounts that closed and return the numbers; nobody gets one before its quarantine ends."""
    rows = await store.release_numbers(tx, account_sids, at)
    waiting = [
        jobs.NewJob(
            QUARANTINE_TASK,
            {"phone_number": row["phone_number"], "holder_sid": row["sid"]},
            due_at=at + QUARANTINE,
        )
        for row in rows
    ]
    await jobs.enqueue(tx, waiting, at)
    told = [number_released(row["account_sid"], row["sid"], row["phone_number"], row["price_ref"]) for row in rows]
    await log.append(tx, told, at)
    await store.announce(tx, account_sids)
    return [row["phone_number"] for row in rows]


async def end_quarantine(tx: Tx, phone_number: str, holder_sid: str) -> None:
    """Put a number of a closed account on sale again."""
    await store.put_back(tx, phone_number, holder_sid)


async def _owns_nothing(_tx: Tx, _account_sid: str, _sid: str) -> bool:
    return False


async def ensure_first_number(tx: Tx, account_sid: str, at: datetime) -> str:
    """Return the number that an account holds for longest, giving it a US local number when it has none.

    Raises: Unavailable when the stock has no such number.
    """
    await store.lock_account(tx, account_sid)
    held = await store.first_number(tx, account_sid)
    if held is not None:
        return held
    stock = await store.any_free(tx, countries=["US"], kind="local")
    if stock is None:
        raise Unavailable("No US local number is in stock")
    row = await _hold(tx, account_sid, stock, {}, at, kind="local", owns_resource=_owns_nothing)
    number: str = row["phone_number"]
    return number
