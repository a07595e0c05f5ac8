"""The first page, asked through the edge as a browser asks it."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import in_memory
import pytest

from onterms.app.http import Edge
from onterms.app.page import Page, PageFacts
from onterms.app.page.stream import stream
from onterms.core.clock import VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import AuthenticationFailed
from onterms.engines import log
from onterms.engines.api import Account, Caller, Engine, Operation, load
from onterms.engines.log import Event, Live
from onterms.products import monitor
from onterms.products.messaging import store
from onterms.products.messaging.model import Change, NewMessage

OURS = "AC" + "1" * 32
THEIRS = "AC" + "2" * 32
OPERATOR_KEY = "the-operators-own-key"
HOSTILE = "<script>alert(1)</script>'\"&\n{{ 7*7 }} 😀"
FACTS = PageFacts(
    account_sid=OURS,
    auth_token="tokenTOKENtoken",
    test_account_sid="AC" + "3" * 32,
    test_auth_token="testTESTtest",
    number="+19075550100",
    handset="+19075550123",
    base_url="http://127.0.0.1:8080",
    env_command='eval "$(onterms env)"',
    numbers=["+19075550100", "+19075550101"],
)


class Keyring:
    """Knows one operator and one account that is not the page's."""

    def known(self, authorization: bytes) -> Caller | None:
        return None

    async def authenticate(self, authorization: bytes) -> Caller:
        if authorization != b"Basic theirs":
            raise AuthenticationFailed("Authenticate")
        return Caller(Account(THEIRS, THEIRS, "active", "theirs"), "token", THEIRS)

    def known_account(self, caller: Caller, account_sid: str) -> Account | None:
        return None

    async def account_for(self, caller: Caller, account_sid: str) -> Account:
        raise AuthenticationFailed("Authenticate")

    async def is_operator(self, key: str) -> bool:
        return key == OPERATOR_KEY


@dataclass
class Answer(in_memory.Answer):
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Browser:
    """Asks the edge; on this machine unless told otherwise."""

    edge: Edge
    address: str = "127.0.0.1"
    headers: dict[str, str] = field(default_factory=lambda: {"host": "127.0.0.1:8080"})

    def client(self, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> in_memory.Client:
        client = in_memory.Client(self.edge, self.address)
        client.send(method, target, list(headers.items()), body)
        return client

    async def ask(self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        content = b"" if body is None else json.dumps(body).encode()
        all_headers = (
            self.headers | ({"content-type": "application/json"} if body is not None else {}) | (headers or {})
        )
        answer = await self.client(method, target, all_headers, content).answer()
        return Answer(answer.status, answer.headers, answer.body)

    async def get(self, target: str, headers: dict[str, str] | None = None) -> Answer:
        return await self.ask("GET", target, headers=headers)

    def elsewhere(self) -> "Browser":
        """The same from another machine."""
        return replace(self, address="203.0.113.9", headers={"host": "gateway"})


@pytest.fixture(scope="session")
def operations() -> list[Operation]:
    return load()


@dataclass
class World:
    database: Database
    clock: VirtualClock
    live: Live
    page: Page
    browser: Browser
    facts: PageFacts = FACTS


@pytest.fixture
async def world(database: Database, clock: VirtualClock, operations: list[Operation]) -> AsyncIterator[World]:
    async with database.transaction() as tx:
        await log.ensure_partitions(tx)
    live = Live(database)
    keyring = Keyring()

    async def facts(tx: Tx) -> PageFacts:
        return made.facts

    async def ready() -> bool:
        return True

    page = Page(
        database,
        clock,
        live,
        version="9.8.7",
        facts=facts,
        session_key=b"k" * 32,
        check_operator=keyring.is_operator,
    )
    engine = Engine(operations, database, clock, keyring)
    edge = Edge(engine, database, clock, keyring, sandbox=True, ready=ready, session_valid=page.session_valid)
    edge.mount(page.routes())
    made = World(database, clock, live, page, Browser(edge))
    running = asyncio.create_task(live.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def sid_of(number: int, prefix: str = "SM") -> str:
    return f"{prefix}{number:032x}"


async def put_message(world: World, number: int, **changes: Any) -> str:
    fields: dict[str, Any] = {
        "account_sid": OURS,
        "sid": sid_of(number),
        "direction": "outbound-api",
        "sender": "+19075550100",
        "recipient": "+19075550123",
        "body": f"message {number}",
        "encoding": "GSM-7",
        "num_segments": 1,
        "media_urls": (),
        "status": "delivered",
        "status_callback": None,
        "valid_until": None,
        "at": world.clock.now(),
    } | changes
    message = NewMessage(**fields)
    async with world.database.transaction() as tx:
        await store.insert(tx, [message])
        await log.append(
            tx,
            log.batched([Event("message.accepted", message.account_sid, message.sid, {"status": "queued"})]),
            world.clock.now(),
        )
    return message.sid


async def put_event(world: World, sid: str, kind: str, data: dict[str, Any], account_sid: str = OURS) -> None:
    async with world.database.transaction() as tx:
        await log.append(tx, [Event(kind, account_sid, sid, data)], world.clock.now())


async def signed_in(world: World, browser: Browser, **headers: str) -> str:
    answer = await browser.ask("POST", "/console/v1/session", {"operator_key": OPERATOR_KEY}, headers=headers)
    assert answer.status == 204
    cookie = answer.header("set-cookie")
    assert cookie is not None
    return cookie


class TestPage:
    async def test_a_visitor_on_this_machine_sees_the_page_without_any_token(self, world: World) -> None:
        answer = await world.browser.get("/")
        text = answer.body.decode()
        assert answer.status == 200
        assert answer.header("content-type") == "text/html; charset=utf-8"
        assert OURS in text
        assert "9.8.7" in text
        assert FACTS.auth_token not in text
        assert FACTS.test_auth_token not in text

    async def test_facts_are_escaped(self, world: World) -> None:
        world.facts = replace(FACTS, env_command=HOSTILE, number=HOSTILE, handset=HOSTILE, numbers=[HOSTILE])
        text = (await world.browser.get("/")).body.decode()
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        assert "{{ 7*7 }}" in text

    async def test_every_answer_forbids_inline_code_framing_and_sniffing(self, world: World) -> None:
        asset = re.search(r'href="(/console/assets/\w+/page\.css)"', (await world.browser.get("/")).body.decode())
        assert asset is not None
        for path in ("/", asset[1], "/favicon.ico", "/console/v1/messages", "/console/v1/alerts"):
            answer = await world.browser.get(path)
            policy = answer.header("content-security-policy")
            assert answer.status == 200
            assert policy is not None
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.header("x-content-type-options") == "nosniff"
            assert answer.header("x-frame-options") == "DENY"
            assert answer.header("referrer-policy") == "no-referrer"

    async def test_the_html_holds_no_inline_code_or_style_and_no_outside_address(self, world: World) -> None:
        for text in (
            (await world.browser.get("/")).body.decode(),
            (await world.browser.elsewhere().get("/")).body.decode(),
        ):
            assert not re.search(r"<script(?![^>]*\ssrc=)", text)
            assert not re.search(r"<[^>]+\s(on\w+|style)=", text)
            assert "<style" not in text
            assert not re.search(r'(src|href)="(https?:)?//', text)

    async def test_every_asset_the_page_names_is_served_and_lasts(self, world: World) -> None:
        names = set(re.findall(r'(?:src|href)="(/console/assets/[^"]+)"', (await world.browser.get("/")).body.decode()))
        assert {name.rpartition("/")[2] for name in names} >= {"page.css", "page.js", "detail.js", "logo.svg"}
        for name in names:
            answer = await world.browser.get(name)
            assert answer.status == 200
            assert "immutable" in (answer.header("cache-control") or "")

    async def test_an_asset_under_an_old_address_is_not_kept(self, world: World) -> None:
        answer = await world.browser.get("/console/assets/000000000000/page.js")
        assert answer.status == 200
        assert answer.header("cache-control") == "no-store"

    async def test_templates_and_unknown_files_are_no_assets(self, world: World) -> None:
        for name in ("index.html", "nothing.js", "..%2fpage.py", "%2e%2e%2f__init__.py"):
            assert (await world.browser.get(f"/console/assets/x/{name}")).status == 404

    async def test_without_a_simulator_there_is_no_handset(self, world: World) -> None:
        world.facts = replace(FACTS, handset="")
        text = (await world.browser.get("/")).body.decode()
        assert "Virtual handset" not in text
        assert "Virtual clock" not in text


class TestMessages:
    async def test_they_come_newest_first_in_pages(self, world: World) -> None:
        for number in range(1, 6):
            await put_message(world, number)
        first = (await world.browser.get("/console/v1/messages?limit=2")).json()
        assert [message["sid"] for message in first["messages"]] == [sid_of(5), sid_of(4)]
        assert first["has_more"] is True
        last = (await world.browser.get(f"/console/v1/messages?limit=3&before={sid_of(4)}")).json()
        assert [message["sid"] for message in last["messages"]] == [sid_of(3), sid_of(2), sid_of(1)]
        assert last["has_more"] is False

    async def test_media_messages_take_their_place_among_the_others(self, world: World) -> None:
        for number in (1, 3, 5):
            await put_message(world, number)
            await put_message(world, number + 1, sid=sid_of(number + 1, "MM"))
        numbers: list[int] = []
        before = ""
        for _ in range(3):
            page = (await world.browser.get(f"/console/v1/messages?limit=2&before={before}")).json()["messages"]
            numbers += [int(message["sid"][2:], 16) for message in page]
            before = page[-1]["sid"]
        assert numbers == [6, 5, 4, 3, 2, 1]

    async def test_a_number_is_found_on_either_side(self, world: World) -> None:
        await put_message(world, 1, recipient="+19075550199")
        await put_message(world, 2, direction="inbound", sender="+19075550199", recipient="+19075550101")
        await put_message(world, 3)
        for number, sids in (("%2B19075550199", [2, 1]), ("%2B19075550101", [2]), ("%2B19075550100", [3, 1])):
            found = (await world.browser.get(f"/console/v1/messages?number={number}")).json()["messages"]
            assert [message["sid"] for message in found] == [sid_of(number) for number in sids]

    async def test_a_status_narrows_the_list(self, world: World) -> None:
        await put_message(world, 1, status="failed")
        await put_message(world, 2)
        found = (await world.browser.get("/console/v1/messages?status=failed")).json()["messages"]
        assert [message["sid"] for message in found] == [sid_of(1)]

    @pytest.mark.parametrize("query", ["status=gone", "before=SM1", "limit=0", "limit=x", "number=" + "1" * 65])
    async def test_filters_that_mean_nothing_are_refused(self, world: World, query: str) -> None:
        assert (await world.browser.get(f"/console/v1/messages?{query}")).status == 400

    async def test_messages_of_other_accounts_are_not_listed(self, world: World) -> None:
        await put_message(world, 1, account_sid=THEIRS)
        assert (await world.browser.get("/console/v1/messages")).json()["messages"] == []

    async def test_a_caller_with_own_credentials_sees_the_own_account_only(self, world: World) -> None:
        await put_message(world, 1)
        await put_message(world, 2, account_sid=THEIRS)
        browser = world.browser.elsewhere()
        theirs = {"authorization": "Basic theirs"}
        found = (await browser.get("/console/v1/messages", theirs)).json()["messages"]
        assert [message["sid"] for message in found] == [sid_of(2)]
        assert (await browser.get(f"/console/v1/messages/{sid_of(1)}", theirs)).status == 404
        assert (await browser.ask("POST", "/console/v1/credentials", {}, theirs)).status == 403

    async def test_a_stranger_gets_nothing(self, world: World) -> None:
        sid = await put_message(world, 1)
        browser = world.browser.elsewhere()
        for path in ("messages", f"messages/{sid}", f"messages/{sid}/media/{sid_of(1, 'ME')}", "alerts", "events"):
            assert (await browser.get(f"/console/v1/{path}")).status == 401
        assert (await browser.ask("POST", "/console/v1/credentials", {})).status == 401

    async def test_a_page_of_another_site_in_a_browser_here_gets_nothing(self, world: World) -> None:
        for headers in (
            {"origin": "https://evil.example"},
            {"sec-fetch-site": "cross-site"},
            {"host": "evil.example:8080"},
        ):
            answer = await world.browser.ask("POST", "/console/v1/credentials", {}, headers)
            assert answer.status in (401, 404)
            assert FACTS.auth_token.encode() not in answer.body


class TestMessage:
    async def test_its_timeline_tells_statuses_and_webhook_attempts_with_meanings(self, world: World) -> None:
        sid = await put_message(world, 1, status="sent")
        ended = Change(OURS, sid, "undelivered", error_code=30003, carrier="simulator")
        async with world.database.transaction() as tx:
            await store.advance(tx, [ended], world.clock.now())
        attempt = {
            "purpose": "status undelivered",
            "url": "http://127.0.0.1:5000/status",
            "method": "POST",
            "duration_ms": 12,
            "status": 500,
            "error_code": 11200,
            "error": "HTTP 500",
            "request_body": "MessageSid=" + sid,
            "response_body": HOSTILE,
        }
        await put_event(world, sid, "message.webhook_called", attempt)
        shown = (await world.browser.get(f"/console/v1/messages/{sid}")).json()
        assert shown["message"]["status"] == "undelivered"
        accepted, changed, called = shown["timeline"]
        assert accepted["type"] == "message.accepted"
        assert changed["data"]["error_code"] == 30003
        assert "nreachable" in changed["data"]["error_meaning"]
        assert {name: called["data"][name] for name in attempt} == attempt

    async def test_the_code_repeats_the_message_exactly(self, world: World) -> None:
        sid = await put_message(world, 1, body=HOSTILE, media_urls=("https://example.com/a.png",))
        code = (await world.browser.get(f"/console/v1/messages/{sid}")).json()["snippets"]
        calls: list[dict[str, Any]] = []

        class Client:
            def __init__(self) -> None:
                self.messages = self

            def create(self, **fields: Any) -> "Client":
                calls.append(fields)
                return self

            sid = status = ""

        source = code["python"].replace("from twilio.rest import Client", "")
        exec(compile(source, "snippet", "exec"), {"Client": Client, "print": lambda *_: None})
        assert calls == [
            {
                "to": "+19075550123",
                "from_": "+19075550100",
                "body": HOSTILE,
                "media_url": ["https://example.com/a.png"],
            }
        ]
        assert FACTS.auth_token not in json.dumps(code)

    async def test_the_curl_line_gives_the_shell_every_character(self, world: World) -> None:
        sid = await put_message(world, 1, body=HOSTILE)
        code = (await world.browser.get(f"/console/v1/messages/{sid}")).json()["snippets"]
        # A function in curl's place shows what the shell made of the line.
        script = "curl() { printf '%s\\0' \"$@\"; }\n" + code["curl"]
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            script,
            stdout=asyncio.subprocess.PIPE,
            env={"TWILIO_ACCOUNT_SID": "s", "TWILIO_AUTH_TOKEN": "t"},
        )
        out, _ = await process.communicate()
        words = out.decode().split("\0")
        assert words[0] == f"http://127.0.0.1:8080/2010-04-01/Accounts/{OURS}/Messages.json"
        assert words[1:3] == ["-u", "s:t"]
        assert f"Body={HOSTILE}" in words

    async def test_the_code_of_a_received_message_speaks_to_the_handset(self, world: World) -> None:
        sid = await put_message(
            world, 1, direction="inbound", sender="+19075550123", recipient="+19075550100", status="received"
        )
        code = (await world.browser.get(f"/console/v1/messages/{sid}")).json()["snippets"]
        assert "/simulator/v1/handsets/+19075550123/messages" in code["curl"]

    async def test_of_a_deleted_message_the_timeline_stays(self, world: World) -> None:
        await put_event(world, sid_of(7), "message.deleted", {})
        shown = (await world.browser.get(f"/console/v1/messages/{sid_of(7)}")).json()
        assert shown["message"] is None
        assert [event["type"] for event in shown["timeline"]] == ["message.deleted"]

    async def test_another_tenants_message_does_not_exist(self, world: World) -> None:
        sid = await put_message(world, 1, account_sid=THEIRS)
        answer = await world.browser.get(f"/console/v1/messages/{sid}")
        assert answer.status == 404
        assert (await world.browser.get("/console/v1/messages/nonsense")).status == 404

    @pytest.mark.parametrize(
        ("content_type", "served_as", "disposition"),
        [
            ("image/png", "image/png", None),
            ("image/svg+xml", "application/octet-stream", "attachment"),
            ("text/html", "application/octet-stream", "attachment"),
        ],
    )
    async def test_only_plain_images_are_served_as_what_they_are(
        self, world: World, content_type: str, served_as: str, disposition: str | None
    ) -> None:
        sid = await put_message(world, 1)
        file_sid = sid_of(1, "ME")
        async with world.database.transaction() as tx:
            await store.insert_media(tx, OURS, sid, [(file_sid, content_type, b"bytes")], world.clock.now())
        answer = await world.browser.get(f"/console/v1/messages/{sid}/media/{file_sid}")
        assert (answer.status, answer.body) == (200, b"bytes")
        assert answer.header("content-type") == served_as
        assert answer.header("content-disposition") == disposition
        assert "sandbox" in (answer.header("content-security-policy") or "")
        assert (await world.browser.get(f"/console/v1/messages/{sid}/media/{sid_of(2, 'ME')}")).status == 404


class TestAlerts:
    async def test_the_newest_come_first_with_what_they_mean(self, world: World) -> None:
        alert = monitor.NewAlert(
            account_sid=OURS, error_code=11200, text="the server answered 500", resource_sid=sid_of(1)
        )
        async with world.database.transaction() as tx:
            await monitor.record(tx, [alert, replace(alert, error_code=12100)], world.clock.now())
            await monitor.record(tx, [replace(alert, account_sid=THEIRS)], world.clock.now())
        alerts = (await world.browser.get("/console/v1/alerts")).json()["alerts"]
        assert [shown["code"] for shown in alerts] == [12100, 11200]
        assert alerts[1]["text"] == "the server answered 500"
        assert alerts[1]["resource_sid"] == sid_of(1)
        assert alerts[1]["meaning"]


class TestCredentials:
    async def test_tokens_are_given_to_this_machine_and_never_kept(self, world: World) -> None:
        answer = await world.browser.ask("POST", "/console/v1/credentials", {})
        assert answer.json() == {"auth_token": FACTS.auth_token, "test_auth_token": FACTS.test_auth_token}
        assert answer.header("cache-control") == "no-store"

    async def test_a_link_cannot_fetch_them(self, world: World) -> None:
        assert (await world.browser.get("/console/v1/credentials")).status == 405


class TestSession:
    async def test_a_stranger_is_asked_for_the_operator_key(self, world: World) -> None:
        text = (await world.browser.elsewhere().get("/")).body.decode()
        assert "Operator key" in text
        assert OURS not in text

    async def test_the_key_opens_page_and_routes_for_twelve_hours_of_the_clock(self, world: World) -> None:
        browser = world.browser.elsewhere()
        cookie = await signed_in(world, browser)
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Secure" not in cookie
        assert "Max-Age=43200" in cookie
        session = {"cookie": "other=1; " + cookie.partition(";")[0]}
        world.clock.hold(world.clock.now() + timedelta(hours=11, minutes=59))
        assert OURS in (await browser.get("/", session)).body.decode()
        assert (await browser.get("/console/v1/messages", session)).status == 200
        assert (await browser.ask("POST", "/console/v1/credentials", {}, session)).status == 200
        world.clock.hold(world.clock.now() + timedelta(minutes=2))
        assert OURS not in (await browser.get("/", session)).body.decode()
        assert (await browser.get("/console/v1/messages", session)).status == 401

    async def test_over_https_the_cookie_is_secure(self, world: World) -> None:
        cookie = await signed_in(world, world.browser.elsewhere(), origin="https://gateway")
        assert cookie.endswith("; Secure")

    async def test_a_changed_cookie_is_worth_nothing(self, world: World) -> None:
        browser = world.browser.elsewhere()
        value = (await signed_in(world, browser)).partition(";")[0].partition("=")[2]
        expires, nonce, mac = value.split(".")
        forged = [
            f"{int(expires) + 60}.{nonce}.{mac}",
            f"{expires}.{nonce}.{'0' * 64}",
            f"{expires}.{nonce}.",
            f"{expires}.{nonce}",
            "",
            "..",
            "é.é.é",
        ]
        for one in forged:
            answer = await browser.get("/console/v1/messages", {"cookie": f"onterms_session={one}"})
            assert answer.status == 401, one

    async def test_a_session_of_another_key_is_worth_nothing(self, world: World) -> None:
        value = (await signed_in(world, world.browser.elsewhere())).partition(";")[0]

        async def refuse(key: str) -> bool:
            return False

        async def facts(tx: Tx) -> PageFacts:
            return FACTS

        other = Page(
            world.database,
            world.clock,
            world.live,
            version="1",
            facts=facts,
            session_key=b"other",
            check_operator=refuse,
        )
        headers = {b"cookie": value.encode(), b"host": b"gateway"}
        assert world.page.session_valid(headers)
        assert not other.session_valid(headers)

    @pytest.mark.parametrize(
        "headers",
        [
            {"origin": "https://sub.gateway"},
            {"origin": "http://gateway:9999"},
            {"origin": "null"},
            {"sec-fetch-site": "same-site"},
            {"sec-fetch-site": "cross-site"},
        ],
    )
    async def test_the_cookie_does_not_serve_other_origins(self, world: World, headers: dict[str, str]) -> None:
        browser = world.browser.elsewhere()
        session = {"cookie": (await signed_in(world, browser)).partition(";")[0]}
        assert (await browser.ask("POST", "/console/v1/credentials", {}, session | headers)).status == 401

    async def test_a_form_of_another_site_cannot_sign_in(self, world: World) -> None:
        browser = world.browser.elsewhere()
        body = {"operator_key": OPERATOR_KEY}
        plain = await browser.ask("POST", "/console/v1/session", body, {"content-type": "text/plain"})
        foreign = await browser.ask("POST", "/console/v1/session", body, {"origin": "https://evil.example"})
        assert (plain.status, foreign.status) == (400, 403)
        assert plain.header("set-cookie") is None and foreign.header("set-cookie") is None

    async def test_guessing_is_stopped_after_ten_attempts(self, world: World) -> None:
        browser = world.browser.elsewhere()
        guesses = [browser.ask("POST", "/console/v1/session", {"operator_key": str(guess)}) for guess in range(12)]
        statuses = [answer.status for answer in await asyncio.gather(*guesses)]
        assert statuses.count(401) == 10
        assert statuses.count(429) == 2
        stopped = await browser.ask("POST", "/console/v1/session", {"operator_key": "13"})
        assert stopped.status == 429
        assert int(stopped.header("retry-after") or 0) > 0

    async def test_guessing_does_not_lock_the_operator_out(self, world: World) -> None:
        browser = world.browser.elsewhere()
        for guess in range(12):
            await browser.ask("POST", "/console/v1/session", {"operator_key": str(guess)})
        answer = await browser.ask("POST", "/console/v1/session", {"operator_key": OPERATOR_KEY})
        assert answer.status == 204

    async def test_signing_out_takes_the_cookie_back(self, world: World) -> None:
        answer = await world.browser.elsewhere().ask("DELETE", "/console/v1/session")
        assert answer.status == 204
        assert "onterms_session=; " in (answer.header("set-cookie") or "")
        assert "Max-Age=0" in (answer.header("set-cookie") or "")


@asynccontextmanager
async def closing(chunks: Any) -> AsyncIterator[Any]:
    try:
        yield chunks
    finally:
        await chunks.aclose()


class Listener:
    """A browser that listens to the events until it leaves or the server ends them."""

    def __init__(self, browser: Browser) -> None:
        self._client = browser.client("GET", "/console/v1/events", browser.headers)

    @classmethod
    async def connect(cls, browser: Browser) -> "Listener":
        """Listen, and return when the server has begun to tell."""
        listener = cls(browser)
        await listener._client.written(b"event: ready")
        return listener

    async def ended(self) -> None:
        """Wait until the server is done with it."""
        await self._client.ended()

    async def leave(self) -> None:
        """Go away, and wait until the server is done with it."""
        self._client.leave()
        await self.ended()


class TestEvents:
    async def test_what_happens_to_the_account_arrives_and_nothing_of_others(self, world: World) -> None:
        async with asyncio.timeout(20), closing(stream(world.live, OURS, world.clock)) as chunks:
            assert b"event: ready\n" in await anext(chunks)
            await put_message(world, 1, account_sid=THEIRS)
            sid = await put_message(world, 2)
            frame = await anext(chunks)
        event, data = frame.decode().strip().split("\n")
        assert event == "event: changes"
        told = json.loads(data.removeprefix("data: "))
        assert told == {
            "events": [{"type": "message.accepted", "sid": sid, "status": "queued"}],
            "gap": False,
        }

    async def test_silence_is_broken_by_a_comment(self, world: World) -> None:
        async with asyncio.timeout(20), closing(stream(world.live, OURS, world.clock, heartbeat_s=0)) as chunks:
            await anext(chunks)
            assert await anext(chunks) == b":\n\n"

    async def test_a_stream_ends_by_itself_for_the_browser_to_come_back(self, world: World) -> None:
        async with asyncio.timeout(20):
            frames = [frame async for frame in stream(world.live, OURS, world.clock, life_s=0)]
        assert len(frames) == 1

    async def test_open_streams_end_when_the_server_stops(self, world: World) -> None:
        async with asyncio.timeout(20):
            listener = await Listener.connect(world.browser)
            world.page.end_streams()
            await listener.ended()
        assert (await world.browser.get("/console/v1/events")).status == 503

    async def test_a_client_that_goes_leaves_no_subscription(self, world: World) -> None:
        async with asyncio.timeout(20):
            listener = await Listener.connect(world.browser)
            assert len(world.live._subscriptions) == 1
            await listener.leave()
        assert len(world.live._subscriptions) == 0

    async def test_no_more_pages_listen_than_the_server_bears(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("onterms.app.page.page.STREAMS_MAX", 1)
        async with asyncio.timeout(20):
            listener = await Listener.connect(world.browser)
            assert (await world.browser.get("/console/v1/events")).status == 503
            await listener.leave()
            again = await Listener.connect(world.browser)
            await again.leave()
