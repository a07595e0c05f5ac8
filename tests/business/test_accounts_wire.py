"""The accounts room behind the contract's routing, parsing and rendering."""

import base64
from functools import cache
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from onterms.business import accounts
from onterms.business.accounts import Authenticator, CredentialCache, FirstCredentials
from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.core.vault import Vault
from onterms.engines.api.contract import Operation, load
from onterms.engines.api.engine import Engine, Request

VAULT = Vault(bytes(32))


@cache
def operations() -> list[Operation]:
    return load()


def basic(username: str, secret: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{username}:{secret}".encode())


@pytest.fixture
async def first(database: Database, clock: VirtualClock) -> FirstCredentials:
    async with database.transaction() as tx:
        made = await accounts.ensure_first(tx, VAULT, "operator", clock.now())
    assert made is not None
    return made


@pytest.fixture
def engine(database: Database, clock: VirtualClock) -> Engine:
    gate = Authenticator(database.snapshot, VAULT, CredentialCache(clock), clock)
    engine = Engine(operations(), database, clock, gate)
    engine.bind(accounts.bindings(VAULT, gate))
    return engine


async def send(
    engine: Engine, method: str, url: str, authorization: bytes | None = None, body: Any = None
) -> tuple[int, Any]:
    host, _, rest = url.partition("/")
    path, _, query = rest.partition("?")
    headers = {b"content-type": b"application/x-www-form-urlencoded"}
    sent = urlencode(body or {}).encode()
    if "OAuthApps" in path:
        headers, sent = {b"content-type": b"application/json"}, msgspec.json.encode(body or {})
    if authorization is not None:
        headers[b"authorization"] = authorization
    response = await engine.handle(Request(method, host, f"/{path}", query.encode(), headers, sent))
    return response.status, msgspec.json.decode(response.body) if response.body else None


class TestThroughEngine:
    async def test_accounts_and_keys_answer_in_the_contracts_shapes(
        self, first: FirstCredentials, engine: Engine
    ) -> None:
        me = basic(first.account_sid, first.auth_token)
        accounts_url = "api.twilio.com/2010-04-01/Accounts"
        status, sub = await send(engine, "POST", f"{accounts_url}.json", me, {"FriendlyName": "Sub"})
        assert (status, sub["date_created"]) == (201, "Tue, 01 Jan 2030 12:00:00 +0000")
        status, page = await send(engine, "GET", f"{accounts_url}.json?PageSize=1", me)
        assert [row["sid"] for row in page["accounts"]] == [sub["sid"]]
        status, page = await send(engine, "GET", "api.twilio.com" + page["next_page_uri"], me)
        assert [row["sid"] for row in page["accounts"]] == [first.account_sid]
        one = f"{accounts_url}/{sub['sid']}.json"
        status, refusal = await send(engine, "POST", one, me, {"Status": "asleep"})
        assert (status, refusal["code"]) == (400, 21475)
        for wanted in ("suspended", "active"):
            status, row = await send(engine, "POST", one, me, {"Status": wanted})
            assert (status, row["status"]) == (200, wanted)
        keys = f"{accounts_url}/{sub['sid']}/Keys"
        status, key = await send(engine, "POST", f"{keys}.json", me)
        assert status == 201
        as_key = basic(key["sid"], key["secret"])
        status, refusal = await send(engine, "GET", f"{keys}.json", as_key)
        assert (status, refusal["code"]) == (403, 20003)
        assert (await send(engine, "DELETE", f"{keys}/{key['sid']}.json", me)) == (204, None)
        assert (await send(engine, "GET", f"{keys}.json", as_key))[0] == 401

    async def test_test_credentials_reach_no_account(self, first: FirstCredentials, engine: Engine) -> None:
        me = basic(first.test_account_sid, first.test_auth_token)
        status, refusal = await send(engine, "GET", "api.twilio.com/2010-04-01/Accounts.json", me)
        assert (status, refusal["code"]) == (403, 20008)

    async def test_oauth_app_gets_a_token_without_authentication(self, first: FirstCredentials, engine: Engine) -> None:
        me = basic(first.account_sid, first.auth_token)
        apps = "iam.twilio.com/v1/Account/OAuthApps"
        status, app = await send(engine, "POST", apps, me, {"friendly_name": "ci", "access_token_ttl": 120})
        assert (status, app["date_created"]) == (201, "2030-01-01T12:00:00Z")
        status, app_after = await send(engine, "PUT", f"{apps}/{app['sid']}", me, {"description": "d"})
        assert (status, app_after["description"]) == (200, "d")
        form = {"grant_type": "client_credentials", "client_id": app["sid"], "client_secret": app["secret"]}
        status, token = await send(engine, "POST", "oauth.twilio.com/v2/token", None, form)
        assert (status, token["expires_in"]) == (200, 120)
        camel = {"GrantType": "client_credentials", "ClientId": app["sid"], "ClientSecret": app["secret"]}
        assert (await send(engine, "POST", "oauth.twilio.com/v1/token", None, camel))[0] == 201
        del camel["ClientId"]
        status, refusal = await send(engine, "POST", "oauth.twilio.com/v1/token", None, camel)
        assert (status, refusal["code"]) == (400, 321402)
        assert (await send(engine, "DELETE", f"{apps}/{app['sid']}", me)) == (204, None)

    async def test_tokens_rotate(self, first: FirstCredentials, engine: Engine) -> None:
        me = basic(first.account_sid, first.auth_token)
        url = "accounts.twilio.com/v1/AuthTokens"
        status, made = await send(engine, "POST", f"{url}/Secondary", me)
        assert (status, made["date_created"]) == (201, "2030-01-01T12:00:00Z")
        status, promoted = await send(engine, "POST", f"{url}/Promote", me)
        assert (status, promoted["auth_token"]) == (200, made["secondary_auth_token"])
        status, refusal = await send(engine, "POST", f"{url}/Promote", me)
        assert (status, refusal["code"]) == (401, 20003)
