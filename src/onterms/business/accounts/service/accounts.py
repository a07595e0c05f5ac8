"""Accounts: the first one, customers' and subaccounts, names and status."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from onterms.business.accounts import store
from onterms.business.accounts.errors import (
    AccountNotActive,
    InvalidStatus,
    OnlyParentMay,
    ParentStatusFixed,
    ParentSuspended,
    SubaccountClosed,
    SuspendedByOperator,
    TooManySubaccounts,
)
from onterms.business.accounts.events import ACCOUNT_CREATED, STATUS_EVENTS
from onterms.business.accounts.model import (
    MOVES,
    SUBACCOUNTS_MAX,
    AccountRecord,
    Actor,
    FirstCredentials,
    Status,
    check_friendly_name,
)
from onterms.business.accounts.service.changes import record_change
from onterms.core.db import Tx
from onterms.core.errors import NotFound
from onterms.core.ids import new_sid, new_token
from onterms.core.vault import Vault, digest
from onterms.engines.api.calls import Caller
from onterms.engines.api.paging import PageRequest
from onterms.engines.log import Event, append

_FIRST_NAME = "First account"


async def ensure_first(tx: Tx, vault: Vault, operator_key: str, at: datetime) -> FirstCredentials | None:
    """Make the first account and its test credentials unless they exist, and let `operator_key` be the operator's key.

    The key file is the truth and the database holds its digest: an operator who replaces the file and starts again has
    a new key. Nodes of one installation share the file.
    """
    await store.lock_first_account(tx)
    await store.set_operator_key(tx, digest(operator_key), at)
    if await store.first_account_sid(tx) is not None:
        return None
    credentials = await create_customer(tx, vault, _FIRST_NAME, at)
    await store.set_first_account(tx, credentials.account_sid)
    return credentials


async def first_credentials(tx: Tx, vault: Vault) -> FirstCredentials | None:
    """Read the first account's current credentials, or None before the first start."""
    sid = await store.first_account_sid(tx)
    if sid is None:
        return None
    record = await store.fetch_account(tx, sid)
    test = await store.test_account(tx, sid)
    assert record is not None and test is not None, "both are made in one transaction and never deleted"
    return FirstCredentials(sid, auth_token(vault, record), test.sid, auth_token(vault, test))


async def create_customer(
    tx: Tx, vault: Vault, friendly_name: str, at: datetime, *, type: str = "Full"
) -> FirstCredentials:
    """Make an account of its own, with test credentials; for the operator."""
    check_friendly_name(friendly_name)
    row, token = _new_account(vault, friendly_name, type, at)
    test_row, test_token = _new_account(vault, "Test credentials", type, at, test=True)
    await store.insert_accounts(tx, None, [row], at)
    await store.insert_accounts(tx, row["sid"], [test_row], at)
    await append(tx, [Event(ACCOUNT_CREATED, row["sid"], row["sid"], {"owner_sid": row["sid"], "type": type})], at)
    return FirstCredentials(row["sid"], token, test_row["sid"], test_token)


async def create_subaccount(
    tx: Tx, vault: Vault, caller: Caller, friendly_name: str | None, at: datetime
) -> AccountRecord:
    """Make a subaccount of the caller's account.

    Raises: OnlyParentMay for a subaccount, TooManySubaccounts, InvalidFriendlyName.
    """
    parent_sid = caller.account.sid
    await store.lock_account(tx, parent_sid)
    parent = await _require(tx, parent_sid, parent_sid)
    if parent.is_subaccount:
        raise OnlyParentMay
    if parent.status != "active":
        raise AccountNotActive
    if friendly_name is None:
        # Twilio docs, Account resource: the default names the moment of creation.
        friendly_name = f"SubAccount Created at {at:%Y-%m-%d %I:%M} {'am' if at.hour < 12 else 'pm'}"
    check_friendly_name(friendly_name)
    if await store.count_open_subaccounts(tx, parent_sid) >= SUBACCOUNTS_MAX:
        raise TooManySubaccounts(SUBACCOUNTS_MAX)
    row, _ = _new_account(vault, friendly_name, parent.type, at)
    await store.insert_accounts(tx, parent_sid, [row], at)
    data = {"owner_sid": parent_sid, "type": parent.type}
    await append(tx, [Event(ACCOUNT_CREATED, row["sid"], row["sid"], data)], at)
    return await _require(tx, parent_sid, row["sid"])


async def list_accounts(
    tx: Tx,
    caller: Caller,
    paging: PageRequest,
    *,
    friendly_name: str | None,
    status: str | None,
    held: Sequence[str] = (),
) -> Sequence[AccountRecord]:
    """List the caller's account and its subaccounts, up to one more than the page.

    Shapes: `held` are accounts that something above this room keeps from everything.
    """
    return await store.list_accounts(
        tx, caller.account.sid, paging, friendly_name=friendly_name, status=status, held=held
    )


async def fetch_account(tx: Tx, caller: Caller, sid: str) -> AccountRecord:
    """Return the caller's account or one of its subaccounts."""
    return await _require(tx, caller.account.sid, sid)


async def update_account(
    tx: Tx, caller: Caller, sid: str, *, friendly_name: str | None, status: str | None, at: datetime
) -> AccountRecord:
    """Rename an account, or have a parent change a subaccount's status.

    Raises: the refusals 21475 to 21479 and OnlyParentMay for a status that cannot be set, InvalidFriendlyName.
    """
    own_sid = caller.account.sid
    await store.lock_account(tx, sid)
    target = await _require(tx, own_sid, sid)
    # The caller may come from a cache; what decides is read here.
    actor = target if sid == own_sid else await _require(tx, own_sid, own_sid)
    if status is not None:
        if actor.is_subaccount:
            raise OnlyParentMay
        if sid == own_sid:
            raise ParentStatusFixed
        if actor.status != "active":
            raise ParentSuspended
    elif actor.status != "active":
        raise AccountNotActive
    if friendly_name is not None:
        check_friendly_name(friendly_name)
        await store.update_account(tx, sid, friendly_name=friendly_name, at=at)
        await record_change(tx, sid)
    if status is not None:
        await _move(tx, target, status, "parent", at)
    return await _require(tx, own_sid, sid)


async def change_status(tx: Tx, account_sid: str, status: str, at: datetime) -> AccountRecord:
    """Suspend, restore or close any account; for the operator and the rooms that act for it.

    Raises: NotFound, InvalidStatus, SubaccountClosed when the account is closed.
    """
    await store.lock_account(tx, account_sid)
    record = await _require(tx, account_sid, account_sid)
    if record.test:
        raise NotFound("Test credentials have no status of their own")
    await _move(tx, record, status, "operator", at)
    return await _require(tx, account_sid, account_sid)


def auth_token(vault: Vault, record: AccountRecord) -> str:
    """Open an account's primary auth token."""
    return vault.unseal(record.token_sealed, record.sid)


async def _move(tx: Tx, record: AccountRecord, status: str, actor: Actor, at: datetime) -> None:
    if status not in STATUS_EVENTS:
        raise InvalidStatus
    # The operator outranks the parent: it takes over a parent's suspension, and the parent cannot lift the operator's.
    takes_over = status == record.own_status == "suspended" and actor == "operator" and record.suspended_by == "parent"
    if status == record.own_status and not takes_over:
        return
    if not takes_over:
        if not MOVES[record.own_status, _as_status(status)]:
            raise SubaccountClosed
        if record.suspended_by == "operator" and actor == "parent" and status == "active":
            raise SuspendedByOperator
    suspended_by = actor if status == "suspended" else None
    await store.update_account(tx, record.sid, status=status, suspended_by=suspended_by, at=at)
    await record_change(tx, record.sid)
    if not takes_over:
        event = Event(STATUS_EVENTS[status], record.sid, record.sid, {"by": actor, "from": record.own_status})
        await append(tx, [event], at)


def _as_status(value: str) -> Status:
    if value == "active":
        return "active"
    return "suspended" if value == "suspended" else "closed"


async def _require(tx: Tx, account_sid: str, sid: str) -> AccountRecord:
    record = await store.related_account(tx, account_sid, sid)
    if record is None:
        raise NotFound(f"The account {sid} was not found")
    return record


def _new_account(
    vault: Vault, friendly_name: str, type: str, at: datetime, *, test: bool = False
) -> tuple[dict[str, Any], str]:
    sid, token = new_sid("AC", at), new_token()
    row = {
        "sid": sid,
        "friendly_name": friendly_name,
        "type": type,
        "test": test,
        "token_sealed": vault.seal(token, sid),
        "token_digest": digest(token),
    }
    return row, token
