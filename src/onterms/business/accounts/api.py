"""Which operations this room serves, and the routes of the operator."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from onterms.business.accounts import wire
from onterms.business.accounts.errors import InvalidClient
from onterms.business.accounts.model import AccountRecord, FirstCredentials
from onterms.business.accounts.service import accounts, authentication, credentials, lookups
from onterms.core.db import Tx
from onterms.core.errors import InvalidParameter
from onterms.core.vault import Vault
from onterms.engines.api.calls import Binding, Call, Handler, serve
from onterms.engines.api.own import Created, OwnRequest, OwnRoute
from onterms.engines.api.paging import Page

_STATUS_REFUSED = {"Status": (21475, "Status must be active, suspended or closed")}


# Those of some accounts that their customer's standing keeps from everything; they show as suspended.
Held = Callable[[Tx, Sequence[str]], Awaitable[Collection[str]]]


async def _none(tx: Tx, account_sids: Sequence[str]) -> Collection[str]:
    return ()


def bindings(vault: Vault, authenticator: authentication.Authenticator, held: Held = _none) -> list[Binding]:
    """Bind the operations of accounts, keys, tokens and OAuth apps."""
    room = _Operations(vault, authenticator, held)
    served: list[Binding] = [
        _main("api_v2010:CreateAccount", room.create_account),
        _main("api_v2010:ListAccount", room.list_accounts),
        _main("api_v2010:FetchAccount", room.fetch_account),
        # What a suspended account may not change has codes of its own, which the use case knows.
        _main("api_v2010:UpdateAccount", room.update_account, active_account_only=False, refusals=_STATUS_REFUSED),
        _main("api_v2010:CreateNewKey", room.create_key),
        _main("api_v2010:ListKey", room.list_keys),
        _main("api_v2010:FetchKey", room.fetch_key),
        _main("api_v2010:UpdateKey", room.update_key),
        _main("api_v2010:DeleteKey", room.delete_key),
        # A signing key is an API key by its older name.
        _main("api_v2010:CreateNewSigningKey", room.create_key),
        _main("api_v2010:ListSigningKey", room.list_keys),
        _main("api_v2010:FetchSigningKey", room.fetch_key),
        _main("api_v2010:UpdateSigningKey", room.update_key),
        _main("api_v2010:DeleteSigningKey", room.delete_key),
        _main("iam_v1:CreateNewKey", room.create_iam_key),
        _main("iam_v1:ListGetKeys", room.list_iam_keys),
        _main("iam_v1:FetchKey", room.fetch_iam_key),
        _main("iam_v1:UpdateKey", room.update_iam_key),
        _main("iam_v1:DeleteKey", room.delete_iam_key),
        _main("accounts_v1:CreateSecondaryAuthToken", room.create_secondary_token),
        _main("accounts_v1:DeleteSecondaryAuthToken", room.delete_secondary_token),
        _main("accounts_v1:UpdateAuthTokenPromotion", room.promote_token),
        _main("iam_v1:CreateOauthAppAccount", room.create_app),
        _main("iam_v1:UpdateOauthAppAccount", room.update_app),
        _main("iam_v1:DeleteOauthAppAccount", room.delete_app),
    ]
    for operation_id in (
        "oauth_v1:CreateToken",
        "oauth_v2:CreateOauth2Token",
        "iam_v1:CreateToken",
        "iam_organizations:CreateToken",
    ):
        # The required fields have codes of their own, whichever way the operation spells them.
        served.append(serve(operation_id, room.issue_token, open_to_all=True, refusals=_TOKEN_REFUSED))
    return served


# Told of each account the operator makes, in the transaction that makes it.
Made = Callable[[Tx, FirstCredentials, OwnRequest], Awaitable[None]]


def own_routes(vault: Vault, made: Made) -> list[OwnRoute]:
    """Return the operator's routes: what the original keeps for its console."""
    operator = _OperatorRoutes(vault, made)
    return [
        OwnRoute(
            "POST",
            "/operator/v1/accounts",
            "operator",
            operator.create_account,
            summary="Make an account for a customer, with its test credentials",
        ),
        OwnRoute(
            "POST",
            "/operator/v1/accounts/{account_sid}/status",
            "operator",
            operator.change_status,
            summary="Suspend, restore or close any account",
        ),
        OwnRoute(
            "POST",
            "/operator/v1/accounts/{account_sid}/main_keys",
            "operator",
            operator.create_main_key,
            summary="Make a main API key",
        ),
    ]


_TOKEN_REFUSED = {
    "client_id": (321402, "client_id is required"),
    "ClientId": (321402, "ClientId is required"),
    "grant_type": (321403, "grant_type must be client_credentials"),
    "GrantType": (321403, "GrantType must be client_credentials"),
}


def _main(operation_id: str, handler: Handler, **options: Any) -> Binding:
    # Twilio docs, API keys: accounts, keys and tokens need the account's token or a main key.
    return serve(operation_id, handler, main_credential_only=True, **options)


class _Operations:
    def __init__(self, vault: Vault, authenticator: authentication.Authenticator, held: Held) -> None:
        self._vault = vault
        self._authenticator = authenticator
        self._held = held

    # Accounts

    async def _shown(self, tx: Tx, record: AccountRecord) -> Mapping[str, Any]:
        return wire.account(record, accounts.auth_token(self._vault, record), await self._held(tx, [record.sid]))

    async def create_account(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        name = call.params.get("FriendlyName")
        return await self._shown(tx, await accounts.create_subaccount(tx, self._vault, call.caller, name, call.at))

    async def list_accounts(self, tx: Tx, call: Call) -> Page:
        held = await self._held(tx, await lookups.family(tx, call.caller.account.sid))
        records = await accounts.list_accounts(
            tx,
            call.caller,
            call.paging,
            friendly_name=call.params.get("FriendlyName"),
            status=call.params.get("Status"),
            held=list(held),
        )
        rows = [wire.account(record, accounts.auth_token(self._vault, record), held) for record in records]
        return Page.of(call.paging, rows, key="sid", render=_same)

    async def fetch_account(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        return await self._shown(tx, await accounts.fetch_account(tx, call.caller, call.path["Sid"]))

    async def update_account(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        record = await accounts.update_account(
            tx,
            call.caller,
            call.path["Sid"],
            friendly_name=call.params.get("FriendlyName"),
            status=call.params.get("Status"),
            at=call.at,
        )
        return await self._shown(tx, record)

    # Keys of the 2010 API, under the account in the path

    async def create_key(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        name = call.params.get("FriendlyName")
        made, secret = await credentials.create_key(tx, self._vault, call.account.sid, name, call.at)
        return wire.new_key(made, secret)

    async def list_keys(self, tx: Tx, call: Call) -> Page:
        keys = await credentials.list_keys(tx, call.account.sid, call.paging)
        return Page.of(call.paging, [wire.key(found) for found in keys], key="sid", render=_same)

    async def fetch_key(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        return wire.key(await credentials.fetch_key(tx, call.account.sid, call.path["Sid"]))

    async def update_key(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        name = call.params.get("FriendlyName")
        return wire.key(await credentials.update_key(tx, call.account.sid, call.path["Sid"], name, call.at))

    async def delete_key(self, tx: Tx, call: Call) -> None:
        await credentials.delete_key(tx, call.account.sid, call.path["Sid"])

    # Keys of iam.twilio.com, where the account is a parameter or follows from the key

    async def create_iam_key(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        credentials.refuse_policy(call.params.get("KeyType"), call.params.get("Policy"))
        account = await authentication.active_account_for(tx, call.caller, call.params["AccountSid"])
        name = call.params.get("FriendlyName")
        made, secret = await credentials.create_key(tx, self._vault, account.sid, name, call.at)
        return wire.new_iam_key(made, secret)

    async def list_iam_keys(self, tx: Tx, call: Call) -> Page:
        account = await authentication.account_for(tx, call.caller, call.params["AccountSid"])
        keys = await credentials.list_keys(tx, account.sid, call.paging)
        return Page.of(call.paging, [wire.listed_iam_key(found) for found in keys], key="sid", render=_same)

    async def fetch_iam_key(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        owner = await credentials.key_owner(tx, call.caller.account.sid, call.path["Sid"])
        return wire.iam_key(await credentials.fetch_key(tx, owner, call.path["Sid"]))

    async def update_iam_key(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        credentials.refuse_policy(None, call.params.get("Policy"))
        owner = await credentials.key_owner(tx, call.caller.account.sid, call.path["Sid"])
        name = call.params.get("FriendlyName")
        return wire.iam_key(await credentials.update_key(tx, owner, call.path["Sid"], name, call.at))

    async def delete_iam_key(self, tx: Tx, call: Call) -> None:
        owner = await credentials.key_owner(tx, call.caller.account.sid, call.path["Sid"])
        await credentials.delete_key(tx, owner, call.path["Sid"])

    # Auth tokens of the caller's own account

    async def create_secondary_token(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        token, record = await credentials.create_secondary_token(tx, self._vault, call.account.sid, call.at)
        return wire.secondary_token(record, token)

    async def delete_secondary_token(self, tx: Tx, call: Call) -> None:
        await credentials.delete_secondary_token(tx, call.account.sid, call.at)

    async def promote_token(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        token, record = await credentials.promote_secondary_token(tx, self._vault, call.account.sid, call.at)
        return wire.promotion(record, token)

    # OAuth apps

    async def create_app(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        if call.params.get("client_sid") is not None:
            raise InvalidParameter("client_sid cannot be chosen")
        owner_sid = wire.text_or_none(call.params, "owner_sid") or call.caller.account.sid
        owner = await authentication.active_account_for(tx, call.caller, owner_sid)
        app, secret = await credentials.create_app(
            tx,
            owner.sid,
            **wire.app_request(call.params),
            created_by=call.caller.account.sid,
            at=call.at,
        )
        return wire.oauth_app(app, secret)

    async def update_app(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        app = await credentials.update_app(
            tx,
            call.caller.account.sid,
            call.path["sid"],
            **wire.app_request(call.params),
            at=call.at,
        )
        return wire.oauth_app(app)

    async def delete_app(self, tx: Tx, call: Call) -> None:
        await credentials.delete_app(tx, call.caller.account.sid, call.path["sid"])

    async def issue_token(self, tx: Tx, call: Call) -> Mapping[str, Any]:
        request = wire.token_request(call.params)
        try:
            issued = await credentials.issue_access_token(tx, self._vault, **request, at=call.at)
        except InvalidClient:
            self._authenticator.count_failure(request["client_id"] or "")
            raise
        return wire.access_token(issued)


class _OperatorRoutes:
    def __init__(self, vault: Vault, made: Made) -> None:
        self._vault = vault
        self._made = made

    async def create_account(
        self, tx: Tx, request: OwnRequest, body: wire.NewAccount
    ) -> Created[wire.AccountCredentials]:
        made = await accounts.create_customer(tx, self._vault, body.friendly_name, request.at, type=body.type)
        await self._made(tx, made, request)
        return wire.AccountCredentials.of(made, sid=made.account_sid, test_sid=made.test_account_sid, at=request.at)

    async def change_status(
        self, tx: Tx, request: OwnRequest, account_sid: str, body: wire.NewStatus
    ) -> wire.AccountStatus:
        return wire.AccountStatus.of(await accounts.change_status(tx, account_sid, body.status, request.at))

    async def create_main_key(
        self, tx: Tx, request: OwnRequest, account_sid: str, body: wire.NewKey
    ) -> Created[wire.MainKey]:
        made, secret = await credentials.create_main_key(tx, self._vault, account_sid, body.friendly_name, request.at)
        return wire.MainKey(made.sid, made.friendly_name, secret, request.at)


def _same(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return row
