"""A rehearsal through the running server: what it foretells comes true, and nothing live moves while it is made."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
import requests
from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

DAY_S = 86_400
# 1,530 characters are ten segments.
LONG = "x" * 1530
# What is about no business of an install: the simulations themselves, leases that follow real time, and what the
# server counts of these tests' own requests.
NOT_COMPARED = ("simulations", "job_workers", "smpp_nodes", "service_minutes", "endpoint_uses")


class Operator:
    """The operator's side of a server."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.base = f"{server.url}/commercial/v1"
        self.headers = {"Authorization": f"Bearer {server.operator_key}"}

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.base + path, headers=self.headers, timeout=60, **options)

    def rehearse(self, **asked: Any) -> dict[str, Any]:
        """Ask for a rehearsal and return it once it has ended."""
        made = self.ask("POST", "/Simulations", json=asked)
        assert made.status_code == 201, made.text
        assert made.json()["status"] == "queued"
        return self.ended(made.json()["sid"])

    def ended(self, sid: str) -> dict[str, Any]:
        """Wait for a rehearsal to end and return it."""
        for _ in range(10):
            found = self.ask("GET", f"/Simulations/{sid}", params={"wait_s": "25"}).json()
            if found["status"] in ("completed", "failed"):
                return found
        raise AssertionError(f"it does not end: {found}")

    def now(self) -> datetime:
        return datetime.fromisoformat(requests.get(f"{self.server.url}/simulator/v1/clock", timeout=10).json()["now"])

    def move_to(self, at: datetime) -> None:
        """Live until then, for real."""
        for _ in range(20):
            if self.server.clock(to=at.isoformat())["stopped_by"] is None:
                return
        raise AssertionError("the clock does not get there")

    def query(self, run: Callable[[Any], Any]) -> Any:
        """Look into the server's database."""

        async def look() -> Any:
            connection = await asyncpg.connect((self.server.folder / "data" / "dsn").read_text())
            try:
                return await run(connection)
            finally:
                await connection.close()

        return asyncio.run(look())

    def digests(self) -> dict[str, str]:
        """Digest every row of every table."""

        async def digest(connection: Any) -> dict[str, str]:
            tables = await connection.fetch(
                "SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND c.relname <> ALL($1::text[])",
                list(NOT_COMPARED),
            )
            return {
                row["name"]: await connection.fetchval(
                    "SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') "
                    f"FROM {row['name']} t"
                )
                for row in tables
            }

        return self.query(digest)

    def databases(self) -> list[str]:
        """List the databases of the server."""

        async def names(connection: Any) -> list[str]:
            rows = await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'onterms_rehearsal%'")
            return [row["datname"] for row in rows]

        return self.query(names)

    def happened(self, customer_sid: str, since: datetime, until: datetime) -> list[tuple[str, str]]:
        """List day and type of what the live log says of a customer, once each."""

        async def events(connection: Any) -> list[tuple[str, str]]:
            rows = await connection.fetch(
                """
                SELECT DISTINCT ON (at, type, data) at, type, data::text FROM events
                WHERE at > $2 AND at <= $3 AND (account_sid = $1 OR account_sid IN (
                    SELECT account_sid FROM customer_accounts WHERE customer_sid = $1))
                """,
                customer_sid,
                since,
                until,
            )
            return sorted((row["at"].date().isoformat(), row["type"]) for row in rows)

        return self.query(events)


@pytest.fixture
def operator(clock_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    """The operator of a server whose clock may be moved, which acts by itself on late payment."""
    for name, value in clock_server.env.items():
        monkeypatch.setenv(name, value)
    made = Operator(clock_server)
    before = made.ask("GET", "/Collections/Policy").json()
    made.ask("POST", "/Collections/Policy", json={"notice": "auto", "late_fee": "auto", "suspension": "auto"})
    yield made
    clock_server.clock(release=True)
    made.ask("POST", "/Collections/Policy", json=before)


def told(found: dict[str, Any], *types: str) -> list[tuple[str, str]]:
    """List day and type of what was foretold, of some types or all."""
    events = [(event["day"], event["type"]) for event in found["result"]["events"]]
    return sorted(event for event in events if not types or event[1] in types)


@pytest.fixture(scope="module")
def invoiced_before() -> list[dict[str, Any]]:
    """What `invoiced` made: rehearsals leave a customer as it is, so the next test may have it too."""
    return []


@pytest.fixture
def invoiced(operator: Operator, invoiced_before: list[dict[str, Any]]) -> dict[str, Any]:
    """A customer on account, with an invoice that is not due for weeks."""
    for made in invoiced_before:
        if operator.now().date() + timedelta(days=20) < date.fromisoformat(made["invoice"]["due_on"]):
            return made
    invoiced_before.append(make_invoiced(operator))
    return invoiced_before[-1]


@pytest.fixture
def freshly_invoiced(operator: Operator) -> dict[str, Any]:
    """A customer on account of this test's own."""
    return make_invoiced(operator)


def make_invoiced(operator: Operator) -> dict[str, Any]:
    """Make a customer on account, with last month's invoice open."""
    server = operator.server
    auth = server.sign_up()
    [customer] = requests.get(f"{operator.base}/Customers", auth=auth, timeout=10).json()["items"]
    contact = {"kind": "billing", "name": "Accounts payable", "address": f"{customer['sid'].lower()}@northwind.example"}
    assert requests.post(f"{operator.base}/Contacts", json=contact, auth=auth, timeout=10).status_code == 201
    applied = requests.post(f"{operator.base}/InvoicingApplications", json={}, auth=auth, timeout=10).json()
    decided = operator.ask(
        "POST",
        f"/InvoicingApplications/{applied['sid']}/Decision",
        params={"customer_sid": customer["sid"]},
        json={"decision": "approve", "credit_limit": "500.00"},
    )
    assert decided.status_code == 200, decided.text
    chosen = requests.post(f"{operator.base}/PaymentMethods", json={"kind": "invoice"}, auth=auth, timeout=10)
    assert chosen.status_code in (200, 201), chosen.text
    client = Client(*auth)
    number = buy_number(client)
    handset = server.make_handset()
    for _ in range(10):
        client.messages.create(to=handset.number, from_=number, body=LONG)
    server.settle()
    first = (operator.now().replace(day=1) + timedelta(days=32)).replace(day=2, hour=6)
    operator.move_to(first)
    [invoice] = requests.get(f"{operator.base}/Invoices", auth=auth, timeout=10).json()["items"]
    assert invoice["state"] == "sent"
    return {"sid": customer["sid"], "account_sid": auth[0], "invoice": invoice}


@pytest.fixture
def prepaid(operator: Operator) -> dict[str, Any]:
    """A customer that signed itself up, has ten dollars less what its number costs, and sends from that number."""
    server = operator.server
    auth = server.sign_up()
    server.top_up(auth, "10.00")
    client = Client(*auth)
    number = buy_number(client)
    [customer] = requests.get(f"{operator.base}/Customers", auth=auth, timeout=10).json()["items"]
    return {"sid": customer["sid"], "account_sid": auth[0], "auth": auth, "client": client, "number": number}


def buy_number(client: Client) -> str:
    """Buy a number of the stock."""
    found: str = client.available_phone_numbers("US").local.list(limit=1)[0].phone_number
    client.incoming_phone_numbers.create(phone_number=found)
    return found


class TestInvoicedCustomer:
    def test_who_never_pays_is_noticed_suspended_and_charged_on_the_days_that_then_come(
        self, operator: Operator, freshly_invoiced: dict[str, Any]
    ) -> None:
        invoiced = freshly_invoiced
        found = operator.rehearse(scope=invoiced["sid"], days=90, assumptions={"usage": "none"})
        assert found["status"] == "completed", found["reason"]
        result = found["result"]
        assert (result["truncated"], result["jobs_failed"]) == (False, {})
        issued = date.fromisoformat(invoiced["invoice"]["issued_on"])
        noticed = issued + timedelta(days=31)
        breached = noticed + timedelta(days=16)
        assert told(found, "collections.late_notice_sent")[0] == (noticed.isoformat(), "collections.late_notice_sent")
        [given, *_] = [each for each in result["events"] if each["type"] == "notice.given" and each["day"] > str(issued)
                       and each["data"]["kind"] == "late_payment"]  # fmt: skip
        assert given["day"] == noticed.isoformat()
        walked = [
            (event["day"], event["data"]["to"])
            for event in result["events"]
            if event["type"] == "collections.dunning_moved"
        ]
        assert [step for step in walked if step[1] in ("breached", "suspended")] == [
            (breached.isoformat(), "breached"),
            (breached.isoformat(), "suspended"),
        ]
        suspensions = [each for each in result["events"] if each["type"] == "standing.blocked"]
        assert [each["day"] for each in suspensions if each["data"]["kind"] == "everything"] == [breached.isoformat()]
        [fee, *_] = [each for each in result["events"] if each["type"] == "collections.late_fee_assessed"]
        # It begins the day after the cure and is looked at when a month of it is over, or another invoice is late.
        assert breached < date.fromisoformat(fee["day"]) <= add_month(breached)
        [change] = result["diff"]
        assert change["customer_sid"] == invoiced["sid"]
        assert (change["before"]["standing"]["dunning"], change["after"]["standing"]["dunning"]) == (
            "clear",
            "suspended",
        )
        assert change["after"]["accounts"][invoiced["account_sid"]]["can_send"] is False

        began, until = (datetime.fromisoformat(result[name]) for name in ("began_at", "until"))
        operator.move_to(until)
        assert told(found) == operator.happened(invoiced["sid"], began, until)

    def test_who_pays_in_time_is_left_alone(self, operator: Operator, invoiced: dict[str, Any]) -> None:
        assumed = {"usage": "none", "paid_after_days": 10}
        found = operator.rehearse(scope=invoiced["sid"], days=60, assumptions=assumed)
        paid = date.fromisoformat(invoiced["invoice"]["issued_on"]) + timedelta(days=10)
        assert told(found, "payment.recorded")[0] == (paid.isoformat(), "payment.recorded")
        assert told(found, "collections.late_notice_sent", "standing.blocked") == []
        exposure = {day["day"]: day["exposure"] for day in found["result"]["days"]}
        assert exposure[str(paid - timedelta(days=1))] != exposure[str(paid)]

    def test_mail_that_nobody_takes_begins_no_cure(self, operator: Operator, invoiced: dict[str, Any]) -> None:
        found = operator.rehearse(scope=invoiced["sid"], days=90, assumptions={"usage": "none", "mail": "refused"})
        assert told(found, "collections.late_notice_sent")
        assert told(found, "collections.late_fee_assessed", "notice.given") == []
        assert found["result"]["diff"][0]["after"]["standing"]["dunning"] == "past_due"


class TestPrepaidCustomer:
    def test_funds_run_out_on_the_day_that_was_foretold(self, operator: Operator, prepaid: dict[str, Any]) -> None:
        server = operator.server
        operator.move_to((operator.now() + timedelta(days=1)).replace(hour=6, minute=0))
        figure = {"account_sid": prepaid["account_sid"], "service": "sms", "country": "US", "unit": "segment"}
        assumed = {"figures": [{**figure, "qty": 200}]}
        found = operator.rehearse(scope=prepaid["sid"], days=20, assumptions=assumed)
        assert found["status"] == "completed", found["reason"]
        [refused] = [each for each in found["result"]["events"] if each["type"] == "usage.refused"]
        assert (refused["data"]["code"], refused["data"]["clause"]) == (20005, "3.3.1")
        handset = server.make_handset()
        ran_out = None
        while ran_out is None and operator.now() < datetime.fromisoformat(found["result"]["until"]):
            noon = operator.now().replace(hour=12, minute=0, second=0, microsecond=0)
            operator.move_to(noon if noon > operator.now() else noon + timedelta(days=1))
            try:
                for _ in range(20):
                    prepaid["client"].messages.create(to=handset.number, from_=prepaid["number"], body=LONG)
            except TwilioRestException as error:
                assert error.code == 20005
                ran_out = operator.now().date().isoformat()
            server.settle()
        assert refused["day"] == ran_out

    def test_card_that_pays_keeps_the_balance_up_and_is_not_charged(
        self, operator: Operator, prepaid: dict[str, Any]
    ) -> None:
        recharge = {"threshold": "5.00", "amount": "20.00", "cap_per_day": "100.00"}
        kept = requests.post(f"{operator.base}/AutoRecharge", json=recharge, auth=prepaid["auth"], timeout=10)
        assert kept.status_code in (200, 201), kept.text
        figure = {"account_sid": prepaid["account_sid"], "service": "sms", "country": "US", "unit": "segment"}
        figures = [{**figure, "qty": 400}]
        found = operator.rehearse(scope=prepaid["sid"], days=10, assumptions={"figures": figures})
        assert told(found, "payment.top_up_succeeded")
        assert told(found, "usage.refused") == []
        assert found["result"]["recorded"]["payments"] == len(told(found, "payment.top_up_succeeded"))
        top_ups = requests.get(f"{operator.base}/TopUps", auth=prepaid["auth"], timeout=10).json()["items"]
        assert [each["origin"] for each in top_ups] == ["manual"]
        declined = operator.rehearse(
            scope=prepaid["sid"], days=10, assumptions={"figures": figures, "payments": "declined"}
        )
        assert told(declined, "payment.top_up_failed")
        assert told(declined, "usage.refused")

    def test_usage_of_the_last_four_weeks_is_repeated(self, operator: Operator, prepaid: dict[str, Any]) -> None:
        handset = operator.server.make_handset()
        prepaid["client"].messages.create(to=handset.number, from_=prepaid["number"], body=LONG)
        operator.server.settle()
        used_on = operator.now().date()
        operator.server.clock(advance_s=DAY_S)
        found = operator.rehearse(scope=prepaid["sid"], days=29)
        quiet = operator.rehearse(scope=prepaid["sid"], days=29, assumptions={"usage": "none"})
        repeated, unused = (
            {day["day"]: Decimal(day["revenue"]) for day in each["result"]["days"]} for each in (found, quiet)
        )
        # Its number is charged by the month in either.
        more = {day: repeated[day] - unused.get(day, 0) for day in repeated if repeated[day] != unused.get(day, 0)}
        assert list(more) == [str(used_on + timedelta(days=28))]
        assert more.popitem()[1] > 0


class TestLiveInstall:
    def test_invariant_21_no_row_of_the_live_tables_moves_and_the_same_question_has_the_same_answer(
        self, operator: Operator, invoiced: dict[str, Any]
    ) -> None:
        server = operator.server
        # Funds that a worker keeps for quick holds go back by themselves once nobody sends.
        server.clock(advance_s=60)
        while operator.query(lambda connection: connection.fetchval("SELECT count(*) FROM ledger_leases")):
            server.settle()
        server.clock(hold=True)
        before = operator.digests()
        first = operator.rehearse(scope="all", days=90)
        assert first["status"] == "completed", first["reason"]
        assert told(first, "standing.blocked")
        assert operator.digests() == before
        assert operator.databases() == []
        again = operator.rehearse(scope="all", days=90)
        assert again["result"] == first["result"]

    def test_limit_on_events_ends_it_early_and_says_so(self, operator: Operator, invoiced: dict[str, Any]) -> None:
        found = operator.rehearse(scope=invoiced["sid"], days=90, limits={"events": 3}, assumptions={"usage": "none"})
        result = found["result"]
        assert (found["status"], result["truncated"], result["truncated_by"]) == ("completed", True, "events")
        assert len(result["events"]) <= 3
        assert result["reached"] < result["until"]

    def test_live_mailboxes_and_timers_stay_as_they_were(self, operator: Operator, invoiced: dict[str, Any]) -> None:
        timers = operator.ask("GET", "/Timers", params={"customer_sid": invoiced["sid"]}).json()["items"]
        review = [timer for timer in timers if timer["kind"] == "collections.review"]
        due = date.fromisoformat(invoiced["invoice"]["issued_on"]) + timedelta(days=31)
        assert [timer["due_at"][:10] for timer in review] == [due.isoformat()]
        assert "late fee" in review[0]["what"]
        box = f"{operator.server.url}/simulator/v1/mailboxes/{invoiced['sid'].lower()}@northwind.example/messages"
        mails = requests.get(box, timeout=10).json()
        found = operator.rehearse(scope=invoiced["sid"], days=60)
        assert found["result"]["recorded"]["mails"] > 0
        assert requests.get(box, timeout=10).json() == mails
        again = operator.ask("GET", "/Timers", params={"customer_sid": invoiced["sid"]}).json()["items"]
        assert again == timers


class TestAsking:
    @pytest.mark.parametrize(
        ("asked", "status"),
        [
            ({"days": 0}, 400),
            ({"days": 367}, 400),
            ({"from": "2001-01-01T00:00:00Z"}, 400),
            ({"from": "tomorrow"}, 400),
            ({"scope": "everybody"}, 400),
            ({"scope": "OR" + "0" * 32}, 404),
            ({"assumptions": {"usage": "given"}}, 400),
            ({"assumptions": {"weather": "fine"}}, 400),
            ({"limits": {"wall_s": 601}}, 400),
            ({"horizon": 90}, 400),
        ],
    )
    def test_what_cannot_be_rehearsed_is_refused(self, operator: Operator, asked: dict[str, Any], status: int) -> None:
        assert operator.ask("POST", "/Simulations", json=asked).status_code == status

    def test_customers_neither_ask_nor_see(self, operator: Operator) -> None:
        account = operator.server.make_account("Curious", with_number=False)
        for method, path in (("POST", "/Simulations"), ("GET", "/Simulations"), ("GET", "/Timers")):
            answer = requests.request(method, operator.base + path, auth=account.auth, json={}, timeout=10)
            assert answer.status_code == 403

    def test_later_beginning_tells_only_what_comes_after_it(self, operator: Operator, invoiced: dict[str, Any]) -> None:
        # After the notice of late payment, and before its cure is over.
        due_on = date.fromisoformat(invoiced["invoice"]["due_on"])
        start = datetime.combine(due_on + timedelta(days=10), time(), UTC)
        found = operator.rehearse(scope=invoiced["sid"], days=30, **{"from": start.isoformat()})
        days = [event["day"] for event in found["result"]["events"]]
        assert days and min(days) >= start.date().isoformat()
        assert told(found, "standing.blocked")
        assert found["result"]["days"][0]["day"] == start.date().isoformat()

    def test_ended_one_is_listed_without_its_result_and_can_be_deleted(self, operator: Operator) -> None:
        found = operator.rehearse(days=1)
        listed = operator.ask("GET", "/Simulations").json()["items"][0]
        assert listed["sid"] == found["sid"] and "result" not in listed
        assert operator.ask("DELETE", f"/Simulations/{found['sid']}").status_code == 204
        assert operator.ask("GET", f"/Simulations/{found['sid']}").status_code == 404

    def test_second_one_waits_for_the_first(self, operator: Operator) -> None:
        first = operator.ask("POST", "/Simulations", json={"days": 30}).json()
        second = operator.ask("POST", "/Simulations", json={"days": 1}).json()
        ended = operator.ended(second["sid"])
        before = operator.ask("GET", f"/Simulations/{first['sid']}").json()
        assert (before["status"], ended["status"]) == ("completed", "completed")
        assert before["ended_at"] <= ended["started_at"]


def add_month(day: date) -> date:
    year, month = divmod(day.year * 12 + day.month, 12)
    return date(year, month + 1, day.day)
