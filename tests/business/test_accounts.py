"""Accounts, credentials and who is calling, through the door."""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest

from onterms.business import accounts
from onterms.business.accounts import Authenticator, CredentialCache, FirstCredentials
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import AuthenticationFailed, NotFound, Refusal, TooManyRequests
from onterms.core.vault import Vault
from onterms.engines.api.calls import Binding, Call, Caller
from onterms.engines.api.contract import Operation, documents
from onterms.engines.api.own import OwnRequest
from onterms.engines.api.paging import Page, PageRequest
from onterms.engines.log import timeline

OPERATOR_KEY = "operatorkeyoperatorkeyoperatorke"


async def nobody_told(tx: Any, made: Any, request: Any) -> None:
    """Other rooms follow what the operator makes; here there are none."""


class SteppedClock(VirtualClock):
    """A clock whose real seconds move only when the test says so."""

    def __init__(self) -> None:
        super().__init__(held_at=datetime(2030, 1, 1, 12, 0, tzinfo=UTC))
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class House:
    """The room with a database, as the edge would hold it."""

    database: Database
    vault: Vault
    clock: SteppedClock
    cache: CredentialCache
    gate: Authenticator
    first: FirstCredentials
    bindings: Mapping[str, Binding]
    reads: list[str] = field(default_factory=list)

    async def call(
        self, operation_id: str, caller: Caller, path: Mapping[str, str] | None = None, /, **params: Any
    ) -> Any:
        """Run an operation in a transaction of its own, with the account the engine would find."""
        path = path or {}
        account = await self.gate.account_for(caller, path.get("AccountSid", caller.account.sid))
        paging = PageRequest(params.pop("page_size", 50), after=params.pop("after", None))
        call = Call(cast(Operation, None), caller, account, path, params, self.clock.now(), "RQ0", paging)
        handler = self.bindings[operation_id].handler
        assert handler is not None
        async with self.database.transaction() as tx:
            return await handler(tx, call)

    async def login(self, username: str, secret: str) -> Caller:
        return await self.gate.authenticate(basic(username, secret))

    async def main(self) -> Caller:
        return await self.login(self.first.account_sid, self.first.auth_token)

    async def subaccount(self, name: str = "Sub") -> dict[str, Any]:
        row: dict[str, Any] = await self.call("api_v2010:CreateAccount", await self.main(), FriendlyName=name)
        return row

    async def operator(self, pattern: str, body: dict[str, Any], **path: str) -> Any:
        route = next(r for r in accounts.own_routes(self.vault, nobody_told) if r.pattern == pattern)
        assert route.access == "operator" and route.handler is not None
        async with self.database.transaction() as tx:
            request = OwnRequest("POST", path, {}, body, self.clock.now(), operator=True)
            return (await route.handler(tx, request)).body

    async def set_status(self, sid: str, status: str) -> None:
        async with self.database.transaction() as tx:
            await accounts.change_status(tx, sid, status, self.clock.now())

    async def events(self, sid: str) -> list[str]:
        async with self.database.snapshot() as tx:
            return [event.type for event in await timeline(tx, sid, sid)]


def basic(username: str, secret: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{username}:{secret}".encode())


def rows(page: Page) -> list[str]:
    return [row["sid"] for row in page.rows]


async def refused(awaitable: Any) -> tuple[int, int]:
    with pytest.raises(Refusal) as caught:
        await awaitable
    return caught.value.code, caught.value.status


@pytest.fixture
async def house(database: Database) -> House:
    clock = SteppedClock()
    vault = Vault(bytes(range(32)))
    async with database.transaction() as tx:
        first = await accounts.ensure_first(tx, vault, OPERATOR_KEY, clock.now())
    assert first is not None
    return make_house(database, vault, clock, first)


def make_house(database: Database, vault: Vault, clock: SteppedClock, first: FirstCredentials) -> House:
    cache = CredentialCache(clock)
    reads: list[str] = []

    def counted() -> Any:
        reads.append("read")
        return database.snapshot()

    gate = Authenticator(counted, vault, cache, clock)
    bound = {binding.operation_id: binding for binding in accounts.bindings(vault, gate)}
    return House(database, vault, clock, cache, gate, first, bound, reads)


class TestFirstStart:
    async def test_two_processes_at_once_make_one_first_account(self, database: Database, clock: VirtualClock) -> None:
        vault = Vault(bytes(32))

        async def start() -> FirstCredentials | None:
            async with database.transaction() as tx:
                return await accounts.ensure_first(tx, vault, OPERATOR_KEY, clock.now())

        made = await asyncio.gather(*(start() for _ in range(5)))
        assert sum(one is not None for one in made) == 1
        async with database.snapshot() as tx:
            assert await tx.fetchval("SELECT count(*) FROM accounts WHERE NOT test") == 1
            assert await accounts.first_credentials(tx, vault) == next(one for one in made if one)

    async def test_before_the_first_start_there_are_no_credentials(self, database: Database) -> None:
        async with database.snapshot() as tx:
            assert await accounts.first_credentials(tx, Vault(bytes(32))) is None

    async def test_credentials_are_what_every_sdk_accepts(self, house: House) -> None:
        first = house.first
        for secret in (first.auth_token, first.test_auth_token):
            assert len(secret) == 32 and secret.isascii() and secret.isalnum()
        caller = await house.main()
        assert caller.account.sid == caller.account.owner_sid == first.account_sid
        row = await house.call("api_v2010:FetchAccount", caller, {"Sid": first.account_sid})
        assert (row["status"], row["type"], row["auth_token"]) == ("active", "Full", first.auth_token)
        assert await house.events(first.account_sid) == ["account.created"]

    async def test_no_secret_is_stored_in_the_clear(self, house: House) -> None:
        caller = await house.main()
        key = await house.call("api_v2010:CreateNewKey", caller, {"AccountSid": caller.account.sid})
        app = await house.call("iam_v1:CreateOauthAppAccount", caller)
        async with house.database.snapshot() as tx:
            tables = ("accounts", "api_keys", "oauth_apps", "operator_keys", "events")
            stored = repr([await tx.fetch(f"SELECT * FROM {table}") for table in tables])
        for secret in (house.first.auth_token, house.first.test_auth_token, key["secret"], app["secret"], OPERATOR_KEY):
            assert secret not in stored

    async def test_operator_key_of_the_file_replaces_the_former(self, house: House) -> None:
        assert await house.gate.is_operator(OPERATOR_KEY)
        assert not await house.gate.is_operator("another")
        async with house.database.transaction() as tx:
            assert await accounts.ensure_first(tx, house.vault, "another", house.clock.now()) is None
        house.clock.seconds += 5
        assert await house.gate.is_operator("another")
        assert not await house.gate.is_operator(OPERATOR_KEY)
        async with house.database.snapshot() as tx:
            assert await accounts.is_operator(tx, "another")
            assert not await accounts.is_operator(tx, OPERATOR_KEY)

    async def test_without_operator_key_nobody_is_the_operator(self, database: Database) -> None:
        async with database.snapshot() as tx:
            assert not await accounts.is_operator(tx, "")


class TestAuthentication:
    async def test_account_sid_with_its_token_is_the_account(self, house: House) -> None:
        caller = await house.main()
        assert (caller.credential, caller.credential_sid) == ("token", house.first.account_sid)

    async def test_test_credentials_are_an_account_of_their_own(self, house: House) -> None:
        caller = await house.login(house.first.test_account_sid, house.first.test_auth_token)
        assert caller.account.test and caller.account.owner_sid == house.first.account_sid
        assert not (await house.main()).account.test

    @pytest.mark.parametrize(
        "header",
        [
            b"",
            b"Basic",
            b"Basic !!!",
            b"Basic \xff\xfe",
            b"Basic " + base64.b64encode(b"\xff\xfe:x"),
            b"Basic " + base64.b64encode(b"no colon"),
            b"Basic " + base64.b64encode(b"root:toor"),
            b"Bearer",
            b"Bearer x.y.z",
            b"Bearer \xe9.\xe9.\xe9",
            b"Digest username=x",
            b"Basic " + b"A" * 5000,
        ],
    )
    async def test_header_that_identifies_nobody_is_refused_with_20003_and_no_query(
        self, house: House, header: bytes
    ) -> None:
        assert await refused(house.gate.authenticate(header)) == (20003, 401)
        assert house.reads == []

    async def test_refusal_challenges_for_basic(self, house: House) -> None:
        with pytest.raises(AuthenticationFailed) as caught:
            await house.login(house.first.account_sid, "wrong")
        assert dict(caught.value.headers)["WWW-Authenticate"].startswith("Basic")

    async def test_wrong_secret_or_unknown_name_is_nobody(self, house: House) -> None:
        first = house.first
        async with house.database.snapshot() as tx:
            assert await accounts.authenticate(tx, first.account_sid, first.auth_token) is not None
            for username, secret in (
                (first.account_sid, first.test_auth_token),
                (first.account_sid, ""),
                ("AC" + "0" * 32, first.auth_token),
                ("SK" + "0" * 32, first.auth_token),
                ("", first.auth_token),
            ):
                assert await accounts.authenticate(tx, username, secret) is None

    async def test_standard_key_opens_its_account_and_no_subaccount(self, house: House) -> None:
        sub = await house.subaccount()
        main = await house.main()
        key = await house.call("api_v2010:CreateNewKey", main, {"AccountSid": main.account.sid})
        caller = await house.login(key["sid"], key["secret"])
        assert (caller.credential, caller.account.sid) == ("standard_key", main.account.sid)
        assert await refused(house.gate.account_for(caller, sub["sid"])) == (20404, 404)

    async def test_main_key_reaches_subaccounts(self, house: House) -> None:
        sub = await house.subaccount()
        sid = house.first.account_sid
        key = await house.operator("/operator/v1/accounts/{account_sid}/main_keys", {}, account_sid=sid)
        caller = await house.login(key["sid"], key["secret"])
        assert caller.credential == "main_key"
        assert (await house.gate.account_for(caller, sub["sid"])).sid == sub["sid"]

    async def test_main_key_of_test_credentials_is_refused(self, house: House) -> None:
        route, sid = "/operator/v1/accounts/{account_sid}/main_keys", house.first.test_account_sid
        assert await refused(house.operator(route, {}, account_sid=sid)) == (20404, 404)

    async def test_closed_account_is_nobody(self, house: House) -> None:
        sub = await house.subaccount()
        await house.login(sub["sid"], sub["auth_token"])
        await house.set_status(sub["sid"], "closed")
        assert await refused(house.login(sub["sid"], sub["auth_token"])) == (20003, 401)

    async def test_suspended_account_may_identify_itself(self, house: House) -> None:
        sub = await house.subaccount()
        await house.set_status(sub["sid"], "suspended")
        assert (await house.login(sub["sid"], sub["auth_token"])).account.status == "suspended"

    async def test_caller_reaches_itself_and_its_subaccounts_only(self, house: House) -> None:
        sub, sibling = await house.subaccount("a"), await house.subaccount("b")
        other = await house.operator("/operator/v1/accounts", {"friendly_name": "Other"})
        main, child = await house.main(), await house.login(sub["sid"], sub["auth_token"])
        stranger = await house.login(other["sid"], other["auth_token"])
        assert (await house.gate.account_for(main, sub["sid"])).owner_sid == main.account.sid
        unreachable = [
            (main, other["sid"]),
            (main, house.first.test_account_sid),
            (main, "AC" + "f" * 32),
            (child, main.account.sid),
            (child, sibling["sid"]),
            (stranger, sub["sid"]),
        ]
        async with house.database.snapshot() as tx:
            assert (await accounts.account_for(tx, main, sub["sid"])).sid == sub["sid"]
            for caller, sid in unreachable:
                assert await refused(house.gate.account_for(caller, sid)) == (20404, 404)
                assert await refused(accounts.account_for(tx, caller, sid)) == (20404, 404)


class TestMemory:
    async def test_known_header_costs_no_query(self, house: House) -> None:
        caller = await house.main()
        sub = await house.subaccount()
        await house.gate.account_for(caller, sub["sid"])
        await house.gate.signing_token(sub["sid"])
        house.reads.clear()
        assert house.gate.known(basic(house.first.account_sid, house.first.auth_token)) == caller
        assert house.gate.known_account(caller, sub["sid"]) is not None
        assert await house.gate.signing_token(sub["sid"]) == sub["auth_token"]
        assert house.reads == []

    async def test_after_five_seconds_the_database_is_asked_again(self, house: House) -> None:
        header = basic(house.first.account_sid, house.first.auth_token)
        await house.main()
        house.clock.seconds += 4.9
        assert house.gate.known(header) is not None
        house.clock.seconds += 0.1
        assert house.gate.known(header) is None

    async def test_wrong_secrets_of_one_name_share_one_query(self, house: House) -> None:
        for number in range(5):
            with pytest.raises(AuthenticationFailed):
                await house.login(house.first.account_sid, f"wrong{number}")
        assert house.reads == ["read"]

    async def test_closing_ends_a_remembered_credential_at_once(self, house: House) -> None:
        sub = await house.subaccount()
        header = basic(sub["sid"], sub["auth_token"])
        await house.gate.authenticate(header)
        await house.call("api_v2010:UpdateAccount", await house.main(), {"Sid": sub["sid"]}, Status="closed")
        assert house.gate.known(header) is None
        assert await refused(house.gate.authenticate(header)) == (20003, 401)

    async def test_change_of_the_parent_is_seen_at_the_subaccount(self, house: House) -> None:
        sub = await house.subaccount()
        header = basic(sub["sid"], sub["auth_token"])
        await house.gate.authenticate(header)
        await house.set_status(house.first.account_sid, "suspended")
        assert house.gate.known(header) is None
        assert (await house.gate.authenticate(header)).account.status == "suspended"

    async def test_change_rolled_back_is_not_forgotten_for(self, house: House) -> None:
        header = basic(house.first.account_sid, house.first.auth_token)
        await house.main()
        with pytest.raises(ZeroDivisionError):
            async with house.database.transaction() as tx:
                await accounts.change_status(tx, house.first.account_sid, "closed", house.clock.now())
                raise ZeroDivisionError
        assert house.gate.known(header) is not None

    async def test_other_processes_hear_of_a_change(self, house: House) -> None:
        elsewhere = make_house(house.database, house.vault, house.clock, house.first)
        sub = await house.subaccount()
        heard = asyncio.Event()
        connection = await house.database.connect_alone()
        try:
            await elsewhere.cache.follow(connection)
            await connection.add_listener(accounts.CHANNEL, lambda *_: heard.set())
            header = basic(sub["sid"], sub["auth_token"])
            await elsewhere.gate.authenticate(header)
            async with connection.transaction():
                # The effects of this transaction never run here, as if another process had committed it.
                tx = Tx(connection, house.database)
                await accounts.change_status(tx, sub["sid"], "closed", house.clock.now())
            await asyncio.wait_for(heard.wait(), 10)
            assert elsewhere.gate.known(header) is None
        finally:
            await connection.close()


class TestThrottle:
    async def test_many_failures_answer_20429_while_the_right_secret_still_enters(self, house: House) -> None:
        first = house.first
        answers = []
        for number in range(25):
            with pytest.raises(Refusal) as caught:
                await house.login(first.account_sid, f"wrong{number}")
            answers.append(caught.value.code)
        assert answers == [20003] * 20 + [20429] * 5
        assert isinstance(caught.value, TooManyRequests) and dict(caught.value.headers)["Retry-After"] == "2"
        assert (await house.main()).account.sid == first.account_sid


class TestSubaccounts:
    async def test_new_subaccount_is_complete(self, house: House) -> None:
        sub = await house.subaccount("Branch")
        assert sub["owner_account_sid"] == house.first.account_sid
        assert (sub["friendly_name"], sub["status"], sub["type"]) == ("Branch", "active", "Full")
        assert sub["uri"] == f"/2010-04-01/Accounts/{sub['sid']}.json"
        assert sub["subresource_uris"]["short_codes"] == f"/2010-04-01/Accounts/{sub['sid']}/SMS/ShortCodes.json"
        assert len(sub["subresource_uris"]) == 20
        caller = await house.login(sub["sid"], sub["auth_token"])
        assert caller.account.owner_sid == house.first.account_sid
        assert await house.events(sub["sid"]) == ["account.created"]

    async def test_name_defaults_to_the_moment(self, house: House) -> None:
        row = await house.call("api_v2010:CreateAccount", await house.main())
        assert row["friendly_name"] == "SubAccount Created at 2030-01-01 12:00 pm"

    async def test_name_over_64_characters_is_refused_with_20002(self, house: House) -> None:
        main = await house.main()
        path = {"Sid": main.account.sid}
        create = house.call("api_v2010:CreateAccount", main, FriendlyName="x" * 65)
        assert await refused(create) == (20002, 400)
        update = house.call("api_v2010:UpdateAccount", main, path, FriendlyName="x" * 65)
        assert await refused(update) == (20002, 400)
        row = await house.call("api_v2010:UpdateAccount", main, path, FriendlyName="x" * 64)
        assert row["friendly_name"] == "x" * 64

    async def test_subaccount_cannot_have_subaccounts(self, house: House) -> None:
        sub = await house.subaccount()
        child = await house.login(sub["sid"], sub["auth_token"])
        assert await refused(house.call("api_v2010:CreateAccount", child)) == (20003, 403)

    async def test_list_shows_the_family_newest_first_without_test_credentials(self, house: House) -> None:
        one, two = await house.subaccount("one"), await house.subaccount("two")
        await house.operator("/operator/v1/accounts", {"friendly_name": "Other"})
        main = await house.main()
        family = [two["sid"], one["sid"], main.account.sid]
        assert rows(await house.call("api_v2010:ListAccount", main)) == family
        child = await house.login(one["sid"], one["auth_token"])
        assert rows(await house.call("api_v2010:ListAccount", child)) == [one["sid"]]

    async def test_list_pages_and_filters(self, house: House) -> None:
        one, two = await house.subaccount("one"), await house.subaccount("two")
        await house.set_status(one["sid"], "suspended")
        main = await house.main()
        page = await house.call("api_v2010:ListAccount", main, page_size=2)
        assert rows(page) == [two["sid"], one["sid"]] and page.next_token == f"PA{one['sid']}"
        last = await house.call("api_v2010:ListAccount", main, page_size=2, after=one["sid"])
        assert rows(last) == [main.account.sid] and last.next_token is None
        assert rows(await house.call("api_v2010:ListAccount", main, FriendlyName="two")) == [two["sid"]]
        assert rows(await house.call("api_v2010:ListAccount", main, Status="suspended")) == [one["sid"]]

    async def test_fetch_of_another_tenant_is_not_found(self, house: House) -> None:
        other = await house.operator("/operator/v1/accounts", {"friendly_name": "Other"})
        for operation in ("FetchAccount", "UpdateAccount"):
            call = house.call(f"api_v2010:{operation}", await house.main(), {"Sid": other["sid"]}, FriendlyName="mine")
            assert await refused(call) == (20404, 404)


class TestStatus:
    async def update(self, house: House, caller: Caller, sid: str, **params: Any) -> Any:
        return await house.call("api_v2010:UpdateAccount", caller, {"Sid": sid}, **params)

    async def test_parent_suspends_restores_and_closes_its_subaccount(self, house: House) -> None:
        sub, main = await house.subaccount(), await house.main()
        for status in ("suspended", "suspended", "active", "closed"):
            assert (await self.update(house, main, sub["sid"], Status=status))["status"] == status
        assert await house.events(sub["sid"]) == [
            "account.created",
            "account.suspended",
            "account.activated",
            "account.closed",
        ]

    async def test_closed_stays_closed_with_21479(self, house: House) -> None:
        sub, main = await house.subaccount(), await house.main()
        await self.update(house, main, sub["sid"], Status="closed")
        for status in ("active", "suspended"):
            assert await refused(self.update(house, main, sub["sid"], Status=status)) == (21479, 400)

    async def test_own_status_of_a_parent_is_refused_with_21477(self, house: House) -> None:
        main = await house.main()
        assert await refused(self.update(house, main, main.account.sid, Status="closed")) == (21477, 400)

    async def test_subaccount_cannot_change_its_own_status(self, house: House) -> None:
        sub = await house.subaccount()
        child = await house.login(sub["sid"], sub["auth_token"])
        assert await refused(self.update(house, child, sub["sid"], Status="active")) == (20003, 403)
        assert (await self.update(house, child, sub["sid"], FriendlyName="Mine"))["friendly_name"] == "Mine"

    async def test_unknown_status_is_refused_with_21475(self, house: House) -> None:
        sub = await house.subaccount()
        assert await refused(self.update(house, await house.main(), sub["sid"], Status="gone")) == (21475, 400)
        assert house.bindings["api_v2010:UpdateAccount"].refusals["Status"][0] == 21475

    async def test_parent_cannot_lift_what_the_operator_suspended(self, house: House) -> None:
        sub, main = await house.subaccount(), await house.main()
        await self.update(house, main, sub["sid"], Status="suspended")
        await house.set_status(sub["sid"], "suspended")
        assert await refused(self.update(house, main, sub["sid"], Status="active")) == (21478, 400)
        await house.set_status(sub["sid"], "active")
        assert (await self.update(house, main, sub["sid"], Status="suspended"))["status"] == "suspended"

    async def test_suspended_parent_suspends_its_subaccounts_until_it_is_restored(self, house: House) -> None:
        sub, sid = await house.subaccount(), house.first.account_sid
        await house.set_status(sid, "suspended")
        main = await house.main()
        assert (await house.call("api_v2010:FetchAccount", main, {"Sid": sub["sid"]}))["status"] == "suspended"
        assert len(rows(await house.call("api_v2010:ListAccount", main, Status="suspended"))) == 2
        test = await house.login(house.first.test_account_sid, house.first.test_auth_token)
        assert test.account.status == "suspended"
        assert await refused(self.update(house, main, sub["sid"], Status="active")) == (21476, 400)
        assert await refused(self.update(house, main, sub["sid"], FriendlyName="x")) == (20005, 403)
        assert await refused(house.call("api_v2010:CreateAccount", main)) == (20005, 403)
        await house.set_status(sid, "active")
        assert (await house.login(sub["sid"], sub["auth_token"])).account.status == "active"

    async def test_restored_parent_does_not_restore_what_was_suspended_itself(self, house: House) -> None:
        sub, sid = await house.subaccount(), house.first.account_sid
        await house.set_status(sub["sid"], "suspended")
        await house.set_status(sid, "suspended")
        await house.set_status(sid, "active")
        assert (await house.gate.account_for(await house.main(), sub["sid"])).status == "suspended"

    async def test_closed_parent_closes_its_whole_family(self, house: House) -> None:
        sub = await house.subaccount()
        await house.set_status(house.first.account_sid, "closed")
        assert await refused(house.login(sub["sid"], sub["auth_token"])) == (20003, 401)
        test = house.login(house.first.test_account_sid, house.first.test_auth_token)
        assert await refused(test) == (20003, 401)

    async def test_operator_sees_status_and_who_set_it(self, house: House) -> None:
        sub = await house.subaccount()
        pattern = "/operator/v1/accounts/{account_sid}/status"
        row = await house.operator(pattern, {"status": "suspended"}, account_sid=sub["sid"])
        assert (row["status"], row["suspended_by"]) == ("suspended", "operator")
        test_sid = house.first.test_account_sid
        assert await refused(house.operator(pattern, {"status": "closed"}, account_sid=test_sid)) == (20404, 404)


class TestKeys:
    @pytest.mark.parametrize("noun", ["Key", "SigningKey"])
    async def test_key_is_made_listed_renamed_and_deleted(self, house: House, noun: str) -> None:
        main = await house.main()
        path = {"AccountSid": main.account.sid}
        key = await house.call(f"api_v2010:CreateNew{noun}", main, path, FriendlyName="ci")
        assert len(key["secret"]) == 32 and key["secret"].isalnum() and key["sid"].startswith("SK")
        one = {**path, "Sid": key["sid"]}
        listed = await house.call(f"api_v2010:List{noun}", main, path)
        assert rows(listed) == [key["sid"]] and "secret" not in listed.rows[0]
        renamed = await house.call(f"api_v2010:Update{noun}", main, one, FriendlyName="cd")
        assert renamed["friendly_name"] == "cd"
        assert await house.call(f"api_v2010:Fetch{noun}", main, one) == renamed
        header = basic(key["sid"], key["secret"])
        await house.gate.authenticate(header)
        await house.call(f"api_v2010:Delete{noun}", main, one)
        assert await refused(house.gate.authenticate(header)) == (20003, 401)
        for operation in ("Fetch", "Update", "Delete"):
            assert await refused(house.call(f"api_v2010:{operation}{noun}", main, one)) == (20404, 404)

    async def test_key_of_a_subaccount_is_not_found_under_the_parent(self, house: House) -> None:
        sub, main = await house.subaccount(), await house.main()
        key = await house.call("api_v2010:CreateNewKey", main, {"AccountSid": sub["sid"]})
        wrong = {"AccountSid": main.account.sid, "Sid": key["sid"]}
        for operation in ("FetchKey", "UpdateKey", "DeleteKey"):
            assert await refused(house.call(f"api_v2010:{operation}", main, wrong)) == (20404, 404)
        assert (await house.login(key["sid"], key["secret"])).account.sid == sub["sid"]

    async def test_iam_key_serves_own_and_subaccounts_and_no_stranger(self, house: House) -> None:
        sub, main = await house.subaccount(), await house.main()
        other = await house.operator("/operator/v1/accounts", {"friendly_name": "Other"})
        stranger = await house.login(other["sid"], other["auth_token"])
        key = await house.call("iam_v1:CreateNewKey", main, AccountSid=sub["sid"], FriendlyName="iam")
        assert key["policy"] is None
        path = {"Sid": key["sid"]}
        listed = await house.call("iam_v1:ListGetKeys", main, AccountSid=sub["sid"])
        assert rows(listed) == [key["sid"]] and listed.rows[0]["flags"] == ["rest_api", "signing"]
        for operation in ("FetchKey", "UpdateKey", "DeleteKey"):
            assert await refused(house.call(f"iam_v1:{operation}", stranger, path)) == (20404, 404)
        for operation in ("ListGetKeys", "CreateNewKey"):
            call = house.call(f"iam_v1:{operation}", stranger, AccountSid=sub["sid"])
            assert await refused(call) == (20404, 404)
        assert (await house.call("iam_v1:UpdateKey", main, path, FriendlyName="new"))["friendly_name"] == "new"
        assert (await house.call("iam_v1:FetchKey", main, path))["friendly_name"] == "new"
        await house.call("iam_v1:DeleteKey", main, path)
        assert await refused(house.call("iam_v1:FetchKey", main, path)) == (20404, 404)

    async def test_restricted_key_is_refused_rather_than_made_unrestricted(self, house: House) -> None:
        main = await house.main()
        policy = {"allow": ["/twilio/messaging/messages/read"]}
        params: dict[str, Any] = {"AccountSid": main.account.sid, "Policy": policy}
        call = house.call("iam_v1:CreateNewKey", main, None, KeyType="restricted", **params)
        assert await refused(call) == (20501, 501)
        assert await refused(house.call("iam_v1:CreateNewKey", main, None, **params)) == (20001, 400)

    async def test_closed_subaccount_gets_no_key(self, house: House) -> None:
        sub, main = await house.subaccount(), await house.main()
        await house.set_status(sub["sid"], "closed")
        assert await refused(house.call("iam_v1:CreateNewKey", main, AccountSid=sub["sid"])) == (20005, 403)

    async def test_secret_can_be_read_again_to_sign(self, house: House) -> None:
        main = await house.main()
        key = await house.call("api_v2010:CreateNewKey", main, {"AccountSid": main.account.sid})
        async with house.database.snapshot() as tx:
            assert await accounts.key_secret(tx, house.vault, main.account.sid, key["sid"]) == key["secret"]
            with pytest.raises(NotFound):
                await accounts.key_secret(tx, house.vault, house.first.test_account_sid, key["sid"])

    async def test_name_over_64_characters_is_refused_with_20002(self, house: House) -> None:
        main = await house.main()
        call = house.call("api_v2010:CreateNewKey", main, {"AccountSid": main.account.sid}, FriendlyName="x" * 65)
        assert await refused(call) == (20002, 400)


class TestAuthTokens:
    async def test_secondary_token_works_beside_the_first_until_it_replaces_it(self, house: House) -> None:
        main, sid = await house.main(), house.first.account_sid
        made = await house.call("accounts_v1:CreateSecondaryAuthToken", main)
        assert made["account_sid"] == sid and made["date_created"] == house.clock.now()
        assert (await house.login(sid, made["secondary_auth_token"])).credential == "secondary_token"
        assert (await house.main()).credential == "token"
        assert await house.gate.signing_token(sid) == house.first.auth_token
        promoted = await house.call("accounts_v1:UpdateAuthTokenPromotion", main)
        assert promoted["auth_token"] == made["secondary_auth_token"]
        assert await refused(house.main()) == (20003, 401)
        assert (await house.login(sid, promoted["auth_token"])).credential == "token"
        assert await house.gate.signing_token(sid) == promoted["auth_token"]
        async with house.database.snapshot() as tx:
            assert await accounts.signing_token(tx, house.vault, sid) == promoted["auth_token"]
            first = await accounts.first_credentials(tx, house.vault)
        assert first is not None and first.auth_token == promoted["auth_token"]
        assert (await house.events(sid))[-1] == "account.auth_token_promoted"

    async def test_deleted_secondary_token_ends_at_once(self, house: House) -> None:
        main = await house.main()
        made = await house.call("accounts_v1:CreateSecondaryAuthToken", main)
        header = basic(main.account.sid, made["secondary_auth_token"])
        await house.gate.authenticate(header)
        await house.call("accounts_v1:DeleteSecondaryAuthToken", main)
        assert await refused(house.gate.authenticate(header)) == (20003, 401)

    @pytest.mark.parametrize("operation", ["UpdateAuthTokenPromotion", "DeleteSecondaryAuthToken"])
    async def test_without_secondary_token_there_is_nothing_to_act_on(self, house: House, operation: str) -> None:
        assert await refused(house.call(f"accounts_v1:{operation}", await house.main())) == (20404, 404)

    async def test_second_secondary_token_is_refused(self, house: House) -> None:
        main = await house.main()
        await house.call("accounts_v1:CreateSecondaryAuthToken", main)
        assert await refused(house.call("accounts_v1:CreateSecondaryAuthToken", main)) == (20001, 400)

    async def test_signing_token_of_nobody_is_not_found(self, house: House) -> None:
        assert await refused(house.gate.signing_token("AC" + "0" * 32)) == (20404, 404)


class TestOAuth:
    async def app(self, house: House, **params: Any) -> dict[str, Any]:
        row: dict[str, Any] = await house.call("iam_v1:CreateOauthAppAccount", await house.main(), **params)
        return row

    async def token(self, house: House, app: Mapping[str, Any], operation: str = "oauth_v2:CreateOauth2Token") -> Any:
        params = {"grant_type": "client_credentials", "client_id": app["sid"], "client_secret": app["secret"]}
        return await house.call(operation, await house.main(), **params)

    async def test_client_credentials_open_the_account_for_an_hour(self, house: House) -> None:
        sub = await house.subaccount()
        app = await self.app(house, friendly_name="ci")
        issued = await self.token(house, app)
        assert (issued["token_type"], issued["expires_in"]) == ("Bearer", 3600)
        header = b"Bearer " + issued["access_token"].encode()
        caller = await house.gate.authenticate(header)
        assert (caller.credential, caller.credential_sid) == ("bearer", app["sid"])
        assert caller.account.sid == house.first.account_sid
        assert await refused(house.gate.account_for(caller, sub["sid"])) == (20404, 404)
        start = house.clock.now()
        house.clock.hold(start + timedelta(seconds=3599))
        assert house.gate.known(header) is not None
        house.clock.hold(start + timedelta(seconds=3600))
        assert house.gate.known(header) is None
        assert await refused(house.gate.authenticate(header)) == (20003, 401)
        async with house.database.snapshot() as tx:
            token = issued["access_token"]
            assert await accounts.authenticate_bearer(tx, house.vault, token, start) == caller
            assert await accounts.authenticate_bearer(tx, house.vault, token, house.clock.now()) is None

    async def test_token_tells_sdks_when_it_expires_and_is_stored_as_a_digest(self, house: House) -> None:
        issued = await self.token(house, await self.app(house, access_token_ttl=60))
        payload = issued["access_token"].split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        assert claims["exp"] == int(house.clock.now().timestamp()) + 60
        async with house.database.snapshot() as tx:
            assert issued["access_token"] not in repr(await tx.fetch("SELECT * FROM oauth_access_tokens"))

    async def test_forged_token_is_refused_without_a_query_for_it(self, house: House) -> None:
        issued = await self.token(house, await self.app(house))
        header, payload, signature = issued["access_token"].split(".")
        foreign = await self.token_of_another_installation(house)
        house.reads.clear()
        for token in (
            f"{header}.{payload}.{'A' * len(signature)}",
            f"{header}.{payload}x.{signature}",
            f"{header}..{signature}",
            foreign,
        ):
            assert await refused(house.gate.authenticate(b"Bearer " + token.encode())) == (20003, 401)
        assert house.reads == []

    async def token_of_another_installation(self, house: House) -> str:
        app = await self.app(house)
        elsewhere = make_house(house.database, Vault(bytes(32)), house.clock, house.first)
        handler = elsewhere.bindings["oauth_v2:CreateOauth2Token"].handler
        assert handler is not None
        params = {"grant_type": "client_credentials", "client_id": app["sid"], "client_secret": app["secret"]}
        main = await house.main()
        call = Call(cast(Operation, None), main, main.account, {}, params, house.clock.now(), "RQ0", PageRequest())
        async with house.database.transaction() as tx:
            token: str = (await handler(tx, call))["access_token"]
            return token

    @pytest.mark.parametrize(
        "operation", ["oauth_v1:CreateToken", "iam_v1:CreateToken", "iam_organizations:CreateToken"]
    )
    async def test_every_token_endpoint_serves(self, house: House, operation: str) -> None:
        assert (await self.token(house, await self.app(house), operation))["access_token"]

    async def test_first_version_spells_its_fields_in_camel_case(self, house: House) -> None:
        app = await self.app(house)
        params = {"GrantType": "client_credentials", "ClientId": app["sid"], "ClientSecret": app["secret"]}
        assert (await house.call("oauth_v1:CreateToken", await house.main(), **params))["expires_in"] == 3600

    async def test_wrong_requests_have_the_endpoints_own_codes(self, house: House) -> None:
        app = await self.app(house)
        good = {"grant_type": "client_credentials", "client_id": app["sid"], "client_secret": app["secret"]}
        for change, expected in (
            ({"client_id": ""}, (321402, 400)),
            ({"grant_type": "authorization_code"}, (321403, 400)),
            ({"grant_type": "refresh_token"}, (321403, 400)),
            ({"client_secret": None}, (322403, 400)),
            ({"client_secret": "wrong"}, (322402, 401)),
            ({"client_id": "OQ" + "0" * 32}, (322402, 401)),
            ({"account_sid": house.first.test_account_sid}, (322403, 400)),
        ):
            call = house.call("oauth_v2:CreateOauth2Token", await house.main(), **{**good, **change})
            assert await refused(call) == expected

    async def test_guessing_a_clients_secret_is_throttled(self, house: House) -> None:
        app = await self.app(house)
        codes = [(await refused(self.token(house, {**app, "secret": f"wrong{n}"})))[0] for n in range(22)]
        assert codes == [322402] * 20 + [20429] * 2
        assert (await self.token(house, app))["access_token"]

    async def test_deleted_app_ends_its_tokens_at_once(self, house: House) -> None:
        app = await self.app(house)
        header = b"Bearer " + (await self.token(house, app))["access_token"].encode()
        await house.gate.authenticate(header)
        await house.call("iam_v1:DeleteOauthAppAccount", await house.main(), {"sid": app["sid"]})
        assert await refused(house.gate.authenticate(header)) == (20003, 401)
        assert await refused(self.token(house, app)) == (322402, 401)

    async def test_closed_account_gets_no_token(self, house: House) -> None:
        sub = await house.subaccount()
        child = await house.login(sub["sid"], sub["auth_token"])
        app = await house.call("iam_v1:CreateOauthAppAccount", child)
        header = b"Bearer " + (await self.token(house, app))["access_token"].encode()
        await house.gate.authenticate(header)
        await house.set_status(sub["sid"], "closed")
        assert await refused(self.token(house, app)) == (322402, 401)
        assert await refused(house.gate.authenticate(header)) == (20003, 401)

    async def test_app_is_changed_by_its_account_only_and_keeps_its_secret_to_itself(self, house: House) -> None:
        app, main = await self.app(house, friendly_name="a", description="b", type="account"), await house.main()
        sub = await house.subaccount()
        path = {"sid": app["sid"]}
        changed = await house.call("iam_v1:UpdateOauthAppAccount", main, path, friendly_name="c", description=None)
        assert (changed["friendly_name"], changed["description"], changed["secret"]) == ("c", "b", "")
        child = await house.login(sub["sid"], sub["auth_token"])
        assert await refused(house.call("iam_v1:UpdateOauthAppAccount", child, path)) == (20404, 404)
        assert await refused(house.call("iam_v1:DeleteOauthAppAccount", child, path)) == (20404, 404)
        create = house.call("iam_v1:CreateOauthAppAccount", child, owner_sid=main.account.sid)
        assert await refused(create) == (20404, 404)

    @pytest.mark.parametrize(
        ("params", "code"),
        [
            ({"policy": {"allow": ["/twilio/messaging/messages/read"]}}, 20501),
            ({"policy": "all"}, 20001),
            ({"access_token_ttl": 59}, 20001),
            ({"access_token_ttl": 2592001}, 20001),
            ({"access_token_ttl": "3600"}, 20001),
            ({"access_token_ttl": True}, 20001),
            ({"friendly_name": 5}, 20001),
            ({"friendly_name": "x" * 65}, 20002),
            ({"description": "x" * 1025}, 20001),
            ({"type": "x" * 65}, 20001),
            ({"owner_sid": []}, 20001),
            ({"description": "a\0b"}, 20001),
            ({"client_sid": "OQ" + "0" * 32}, 20001),
        ],
    )
    async def test_bad_app_is_refused(self, house: House, params: dict[str, Any], code: int) -> None:
        assert (await refused(self.app(house, **params)))[0] == code


class TestBindings:
    def test_every_operation_bound_is_one_of_the_contract(self, house: House) -> None:
        known = set()
        for name, document in documents():
            for item in document["paths"].values():
                known |= {f"{name}:{entry['operationId']}" for entry in item.values() if "operationId" in entry}
        assert set(house.bindings) <= known
        assert len(house.bindings) == 29

    def test_accounts_keys_and_tokens_need_more_than_a_standard_key(self, house: House) -> None:
        open_ones = {name for name, binding in house.bindings.items() if not binding.main_credential_only}
        assert open_ones == {name for name, binding in house.bindings.items() if binding.open_to_all}
        assert not any(binding.test_credentials for binding in house.bindings.values())
