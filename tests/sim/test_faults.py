"""What goes wrong outside stays where it happens: webhooks, bodies, races, and a database that hangs up."""

import asyncio
import io
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import aiohttp.web
import pytest
import pytest_asyncio
from twilio.request_validator import RequestValidator

pytestmark = pytest.mark.asyncio(loop_scope="module")

HANDSET = "+19075550142"
ACCOUNTS = "/2010-04-01/Accounts"
Serve = Callable[[Any], Awaitable[str]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(install: Any) -> Any:
    """Start the program once for the tests of this module."""
    await install.start()
    return install


class TestWebhooks:
    async def test_one_that_never_answers_holds_up_nobody_else(self, house: Any, serve: Serve) -> None:
        customer = await house.customer("Silent webhook")
        let_go = asyncio.Event()
        heard: list[str] = []

        async def silent(request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
            await let_go.wait()
            return aiohttp.web.Response()

        async def answering(request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
            heard.append(str((await request.post())["MessageStatus"]))
            return aiohttp.web.Response()

        # 100 ms for an answer and no second attempt.
        _, stuck = await customer.send(HANDSET, "stuck", StatusCallback=await serve(silent) + "/#rt=100&rc=0")
        _, free = await customer.send(HANDSET, "free", StatusCallback=await serve(answering))
        await house.settle(60)
        let_go.set()
        assert heard == ["sent", "delivered"]
        assert {message["sid"]: message["status"] for message in await customer.messages()} == {
            stuck["sid"]: "delivered",
            free["sid"]: "delivered",
        }
        assert await customer.alerts() == [(11205, stuck["sid"])] * 2

    async def test_one_that_redirects_to_a_private_address_is_not_followed(self, house: Any, serve: Serve) -> None:
        customer = await house.customer("Redirecting webhook")
        asked: list[str] = []

        async def redirecting(request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
            asked.append(request.path)
            return aiohttp.web.Response(status=307, headers={"Location": "http://169.254.169.254/latest/meta-data"})

        _, sent = await customer.send(HANDSET, "redirected", StatusCallback=await serve(redirecting) + "/#rc=0")
        await house.settle(60)
        assert asked == ["/", "/"]
        assert await customer.alerts() == [(11205, sent["sid"])] * 2

    async def test_an_answer_that_is_too_big_or_no_xml_is_reported_and_says_nothing(
        self, house: Any, serve: Serve
    ) -> None:
        customer = await house.customer("Odd answers")
        bodies = {"big": b"<Response>" + b" " * 70_000 + b"</Response>", "html": b"Hello"}

        async def odd(request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
            return aiohttp.web.Response(body=bodies[str((await request.post())["Body"])], content_type="text/xml")

        status, body = await customer.call(
            "POST", f"IncomingPhoneNumbers/{customer.number_sid}", {"SmsUrl": await serve(odd)}
        )
        assert status == 200, body
        for text in bodies:
            await house.own(
                "POST", "/simulator/v1/handsets/+19075550143/messages", {"to": customer.number, "body": text}
            )
            await house.settle(60)
        assert [code for code, _ in await customer.alerts()] == [12100, 11750]
        assert [message["direction"] for message in await customer.messages()] == ["inbound", "inbound"]


class TestRequests:
    @pytest.mark.parametrize("chunked", [False, True])
    async def test_a_body_that_is_too_big_is_refused_with_413_and_the_next_is_served(
        self, house: Any, chunked: bool
    ) -> None:
        async def chunks() -> Any:
            for _ in range(40):
                yield b"Body=" + b"x" * 65_536

        data: Any = chunks() if chunked else io.BytesIO(b"Body=" + b"x" * (2 << 20))
        headers = {"Authorization": house.auth, "Content-Type": "application/x-www-form-urlencoded"}
        url = f"{house.url}{ACCOUNTS}/{house.account_sid}/Messages.json"
        async with house.http.post(url, data=data, headers=headers) as answer:
            body = await answer.json()
        assert (answer.status, body["code"], body["status"]) == (413, 20413, 413)
        status, _ = await house.send(To=HANDSET, From=house.env["ONTERMS_NUMBER"], Body="small")
        assert status == 201

    async def test_of_many_who_buy_one_number_at_once_one_gets_it(self, house: Any) -> None:
        customers = [await house.customer(f"Buyer {place}") for place in range(4)]
        _, found = await customers[0].call("GET", "AvailablePhoneNumbers/US/Local")
        wanted = found["available_phone_numbers"][0]["phone_number"]
        answers = await asyncio.gather(
            *(buyer.call("POST", "IncomingPhoneNumbers", {"PhoneNumber": wanted}) for buyer in customers * 3)
        )
        assert Counter(status for status, _ in answers) == {201: 1, 400: 11}
        assert {body["code"] for status, body in answers if status == 400} == {21422}
        [bought] = [body for status, body in answers if status == 201]
        holders = []
        for buyer in customers:
            _, body = await buyer.call("GET", "IncomingPhoneNumbers")
            holders += [row["account_sid"] for row in body["incoming_phone_numbers"] if row["phone_number"] == wanted]
        assert holders == [bought["account_sid"]]


async def test_accounts_that_send_at_once_see_and_hear_only_their_own(house: Any, serve: Serve) -> None:
    customers = [await house.customer(f"Crowd {place}") for place in range(3)]
    validators = {customer.sid: RequestValidator(customer.token) for customer in customers}
    heard: dict[str, list[tuple[str, str]]] = defaultdict(list)
    forged: list[str] = []
    base = ""

    async def hear(request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        # The path names the account that gave the URL.
        owner = request.path[1:]
        if not validators[owner].validate(base + request.path, form, request.headers["X-Twilio-Signature"]):
            forged.append(owner)
        assert form["AccountSid"] == owner
        heard[owner].append((form["MessageSid"], form["MessageStatus"]))
        return aiohttp.web.Response()

    base = await serve(hear)
    turns = [(customer, f"{customer.sid} {count}") for count in range(67) for customer in customers][:200]
    gate = asyncio.Semaphore(32)

    async def send(customer: Any, body: str) -> tuple[Any, Any]:
        async with gate:
            status, answer = await customer.send(HANDSET, body, StatusCallback=f"{base}/{customer.sid}")
        assert status == 201, answer
        return customer, answer

    sent = await asyncio.gather(*(send(customer, body) for customer, body in turns))
    await house.settle(60)
    assert forged == []
    received = await house.own("GET", f"/simulator/v1/handsets/{HANDSET}/messages")
    for customer in customers:
        mine = {answer["sid"]: answer["body"] for owner, answer in sent if owner is customer}
        listed = await customer.messages()
        assert {message["sid"]: message["body"] for message in listed} == mine
        assert {(message["account_sid"], message["from"], message["status"]) for message in listed} == {
            (customer.sid, customer.number, "delivered")
        }
        assert all(body.startswith(customer.sid) for body in mine.values())
        assert sorted(heard[customer.sid]) == sorted((sid, status) for sid in mine for status in ("sent", "delivered"))
        from_it = [message["body"] for message in received if message["from"] == customer.number]
        assert sorted(from_it) == sorted(mine.values())


async def test_connections_to_the_database_that_break_lose_and_double_nothing(house: Any) -> None:
    customer = await house.customer("Broken connections")
    admin = await house.database()
    gate = asyncio.Semaphore(24)
    accepted: dict[str, str] = {}
    refused: list[tuple[int, Any]] = []
    answered = asyncio.Event()

    async def send(count: int) -> None:
        body = f"broken {count}"
        async with gate:
            status, answer = await customer.send(HANDSET, body)
        if status == 201:
            accepted[answer["sid"]] = body
        else:
            refused.append((status, answer))
        answered.set()

    async def break_connections() -> int:
        broken = 0
        for _ in range(12):
            # Each time some messages have been answered, so that it strikes in the middle of others.
            answered.clear()
            await answered.wait()
            broken += await admin.fetchval(
                """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""
            )
        return broken

    sending = asyncio.gather(*(send(count) for count in range(400)))
    assert await break_connections() > 12
    await sending
    await admin.close()
    assert accepted
    for status, answer in refused:
        assert (status, answer["status"]) in ((500, 500), (503, 503)), answer
        assert answer["code"] in (20500, 20503) and answer["message"] and answer["more_info"]

    for count in range(400, 420):
        status, answer = await customer.send(HANDSET, f"broken {count}")
        if status == 201:
            accepted[answer["sid"]] = f"broken {count}"
    # What the pool still holds of broken connections is found out by who gets it; those behind are served.
    assert status == 201
    await house.settle(120)
    messages = await customer.messages()
    assert {sid: body for sid, body in accepted.items()}.items() <= {m["sid"]: m["body"] for m in messages}.items()
    assert {message["status"] for message in messages} == {"delivered"}
    assert max(Counter(message["body"] for message in messages).values()) == 1
    received = await house.own("GET", f"/simulator/v1/handsets/{HANDSET}/messages")
    mine = Counter(message["sid"] for message in received if message["from"] == customer.number)
    assert mine == Counter(message["sid"] for message in messages)
