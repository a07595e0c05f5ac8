"""The debugger: alerts recorded by rooms, shown as Notifications and as Alerts."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.engines.api import Account, Page, catalogue
from onterms.products import monitor
from onterms.products.monitor import NewAlert

CALL = "CA" + "c" * 32
MESSAGE = "SM" + "d" * 32


@pytest.fixture
def debugger(door: Callable[..., Any]) -> Any:
    return door(monitor.bindings())


@pytest.fixture
def record(database: Database, clock: VirtualClock) -> Callable[..., Any]:
    async def record(*alerts: NewAlert, at: datetime | None = None) -> list[str]:
        async with database.transaction() as tx:
            return await monitor.record(tx, alerts, at or clock.now())

    return record


class TestRecord:
    async def test_recorded_alert_is_a_notification_with_request_and_response(
        self, debugger: Any, record: Any, account: Account, clock: VirtualClock
    ) -> None:
        [sid] = await record(
            NewAlert(
                account.sid,
                11200,
                resource_sid=MESSAGE,
                request_method="POST",
                request_url="https://example.com/sms",
                request_variables="Body=hi",
                response_headers="Content-Type: text/html",
                response_body="oops",
            )
        )
        row = await debugger("api_v2010:FetchNotification", account, Sid=sid)
        assert row["error_code"] == "11200"
        assert row["log"] == "0"
        assert row["message_text"] == catalogue.meaning(11200) == "HTTP retrieval failure"
        assert row["more_info"] == "https://www.twilio.com/docs/errors/11200"
        assert row["request_variables"] == "Body=hi"
        assert row["response_body"] == "oops"
        assert row["call_sid"] is None
        assert row["message_date"] == "Tue, 01 Jan 2030 12:00:00 +0000"
        assert row["uri"] == f"/2010-04-01/Accounts/{account.sid}/Notifications/{sid}.json"

    async def test_recorded_alert_is_an_alert_with_its_resource(
        self, debugger: Any, record: Any, account: Account
    ) -> None:
        [sid] = await record(
            NewAlert(account.sid, 12200, resource_sid=MESSAGE, service_sid="MG" + "0" * 32, request_headers="A: b")
        )
        row = await debugger("monitor_v1:FetchAlert", account, Sid=sid)
        assert (row["log_level"], row["alert_text"]) == (catalogue.level(12200), catalogue.meaning(12200))
        assert (row["resource_sid"], row["service_sid"]) == (MESSAGE, "MG" + "0" * 32)
        assert row["request_headers"] == "A: b"
        assert row["date_generated"] == "2030-01-01T12:00:00Z"
        assert row["url"] == f"https://monitor.twilio.com/v1/Alerts/{sid}"

    async def test_bytes_that_text_cannot_hold_are_replaced_and_long_answers_are_cut(
        self, debugger: Any, record: Any, account: Account
    ) -> None:
        [sid] = await record(NewAlert(account.sid, 12100, response_body="\x00<\ud800>" + "x" * 100_000))
        row = await debugger("monitor_v1:FetchAlert", account, Sid=sid)
        assert row["response_body"].startswith("\ufffd<?>x")
        assert len(row["response_body"]) == 16_384

    async def test_alerts_of_several_accounts_go_together_and_stay_apart(
        self, debugger: Any, record: Any, account: Account, stranger: Account
    ) -> None:
        sids = await record(NewAlert(account.sid, 11200), NewAlert(stranger.sid, 12100), NewAlert(account.sid, 12300))
        assert [row["sid"] for row in await debugger("monitor_v1:ListAlert", account)] == [sids[2], sids[0]]
        assert [row["sid"] for row in await debugger("monitor_v1:ListAlert", stranger)] == [sids[1]]

    async def test_no_alerts_is_nothing_to_do(self, record: Any) -> None:
        assert await record() == []


class TestFetch:
    @pytest.mark.parametrize("operation", ["api_v2010:FetchNotification", "monitor_v1:FetchAlert"])
    async def test_another_tenants_sid_is_refused_with_20404(
        self, debugger: Any, record: Any, account: Account, stranger: Account, operation: str
    ) -> None:
        [sid] = await record(NewAlert(stranger.sid, 11200))
        refusal = await debugger.refused(operation, account, Sid=sid)
        assert (refusal.code, refusal.status) == (20404, 404)

    async def test_notification_of_another_call_is_refused_with_20404(
        self, debugger: Any, record: Any, account: Account
    ) -> None:
        [mine, other] = await record(
            NewAlert(account.sid, 11200, resource_sid=CALL), NewAlert(account.sid, 11200, resource_sid=MESSAGE)
        )
        row = await debugger("api_v2010:FetchCallNotification", account, CallSid=CALL, Sid=mine)
        assert row["call_sid"] == CALL
        refusal = await debugger.refused("api_v2010:FetchCallNotification", account, CallSid=CALL, Sid=other)
        assert refusal.code == 20404


class TestLists:
    async def test_call_list_holds_only_that_calls_notifications(
        self, debugger: Any, record: Any, account: Account
    ) -> None:
        [mine, _] = await record(
            NewAlert(account.sid, 11200, resource_sid=CALL), NewAlert(account.sid, 11200, resource_sid=MESSAGE)
        )
        rows = await debugger("api_v2010:ListCallNotification", account, CallSid=CALL)
        assert [row["sid"] for row in rows] == [mine]

    async def test_log_and_log_level_choose_the_level(self, debugger: Any, record: Any, account: Account) -> None:
        error, warning = await record(NewAlert(account.sid, 11200), NewAlert(account.sid, 99999, level="warning"))
        for params, wanted in (({"Log": "0"}, error), ({"Log": "1"}, warning)):
            assert [row["sid"] for row in await debugger("api_v2010:ListNotification", account, params)] == [wanted]
        for params, wanted in (({"LogLevel": "error"}, error), ({"LogLevel": "Warning"}, warning)):
            assert [row["sid"] for row in await debugger("monitor_v1:ListAlert", account, params)] == [wanted]

    @pytest.mark.parametrize(
        ("operation", "params"),
        [("api_v2010:ListNotification", {"Log": "7"}), ("monitor_v1:ListAlert", {"LogLevel": "fatal"})],
    )
    async def test_unknown_level_is_refused(
        self, debugger: Any, account: Account, operation: str, params: dict[str, str]
    ) -> None:
        refusal = await debugger.refused(operation, account, params)
        assert (refusal.code, refusal.status) == (20001, 400)

    @pytest.mark.parametrize(
        ("params", "days"),
        [
            ({"MessageDate": "2030-01-02"}, [2]),
            ({"MessageDate<": "2030-01-02"}, [2, 1]),
            ({"MessageDate>": "2030-01-02"}, [3, 2]),
            ({"MessageDate>": "2030-01-02", "MessageDate<": "2030-01-02"}, [2]),
            ({"MessageDate<": "9999-12-31"}, [3, 2, 1]),
        ],
    )
    async def test_message_date_bounds_include_their_day(
        self, debugger: Any, record: Any, account: Account, params: dict[str, str], days: list[int]
    ) -> None:
        for day in (1, 2, 3):
            await record(NewAlert(account.sid, 11200), at=datetime(2030, 1, day, 23, 59, tzinfo=UTC))
        rows = await debugger("api_v2010:ListNotification", account, params)
        assert [int(row["message_date"][5:7]) for row in rows] == days

    async def test_start_and_end_date_include_their_moment(
        self, debugger: Any, record: Any, account: Account, clock: VirtualClock
    ) -> None:
        start = clock.now()
        for minute in range(4):
            await record(NewAlert(account.sid, 11200), at=start + timedelta(minutes=minute))
        params = {"StartDate": "2030-01-01T12:01:00Z", "EndDate": "2030-01-01T12:02:00Z"}
        rows = await debugger("monitor_v1:ListAlert", account, params)
        assert [row["date_generated"] for row in rows] == ["2030-01-01T12:02:00Z", "2030-01-01T12:01:00Z"]

    async def test_pages_neither_repeat_nor_lose_rows_while_alerts_arrive(
        self, debugger: Any, record: Any, account: Account
    ) -> None:
        sids = await record(*[NewAlert(account.sid, 11200) for _ in range(5)])
        seen: list[str] = []
        params: dict[str, Any] = {"PageSize": 2}
        while True:
            page: Page = await debugger.raw("monitor_v1:ListAlert", account, params)
            seen += [row["sid"] for row in page.rows]
            await record(NewAlert(account.sid, 12100))
            if page.next_token is None:
                break
            params["PageToken"] = page.next_token
        assert seen == sids[::-1]


class TestCatalogue:
    def test_codes_have_meaning_and_level(self) -> None:
        assert (catalogue.level(11200), catalogue.level(12200)) == ("error", "warning")
        assert catalogue.known(21211)

    def test_code_outside_the_catalogue_is_named_by_its_number(self) -> None:
        assert not catalogue.known(1)
        assert (catalogue.meaning(1), catalogue.level(1)) == ("Error 1", "error")
