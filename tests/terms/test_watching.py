"""What the watch over use sees of messages."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from onterms.business import accounts
from onterms.core.ids import new_sid
from onterms.products.messaging import spells, store
from onterms.products.messaging.model import NewMessage
from onterms.products.messaging.service.traffic import is_sequential

START = datetime.fromisoformat("2025-03-03T10:00:00+00:00")
END = START + timedelta(minutes=15)


class Booked:
    """A meter that knows by which credential each use was."""

    def __init__(self) -> None:
        self.by: dict[str, str] = {}

    async def credentials(self, tx: Any, customer_sid: str, ids: list[str]) -> dict[str, str]:
        return {sid: self.by[sid] for sid in ids if sid in self.by}


async def send(commerce: Any, to: str, at: datetime = START, status: Any = "delivered", **fields: Any) -> str:
    message = NewMessage(
        **{
            "account_sid": commerce.account,
            "sid": new_sid("MM" if fields.get("num_media") else "SM", at),
            "direction": "outbound-api",
            "sender": "+14155550100",
            "recipient": to,
            "body": "x",
            "encoding": "GSM-7",
            "num_segments": 2,
            "media_urls": (),
            "status": status,
            "status_callback": None,
            "valid_until": None,
            "at": at,
            **fields,
        }
    )
    async with commerce.database.transaction() as tx:
        await store.insert(tx, [message])
        sent_at = at + timedelta(seconds=10)
        await tx.execute("UPDATE messages SET date_sent = $2 WHERE sid = $1", message.sid, sent_at)
    return message.sid


async def seen(commerce: Any, meter: Any) -> dict[tuple[str, str], Any]:
    async with commerce.database.transaction() as tx:
        return {(each.service, each.country): each for each in await spells(tx, meter, START, END)}


async def test_2_3_b_a_window_sums_up_what_its_customer_sent_by_service_and_country(commerce: Any) -> None:
    for to in ("+14155550101", "+19075550123", "+14165550101"):
        await send(commerce, to)
    await send(commerce, "+14155550102", status="failed")
    await send(commerce, "+447400123456", num_media=1)
    for at in (START - timedelta(microseconds=1), END):
        await send(commerce, "+14155550103", at)
    await send(commerce, "+14155550100", sender="+14155550104", direction="inbound")
    found = await seen(commerce, Booked())
    assert {key: spell.units for key, spell in found.items()} == {("sms", "US"): 6, ("sms", "CA"): 2, ("mms", "GB"): 2}
    assert {spell.customer_sid for spell in found.values()} == {commerce.customer}
    async with commerce.database.transaction() as tx:
        signals = await found["sms", "US"].look_closer(tx)
    assert (signals.delivered_permille, signals.failed_permille, signals.queue_delay_s) == (666, 333, 10)
    assert not (signals.sequential_numbers or signals.premium_prefix or signals.new_credential)


async def test_2_3_b_a_range_of_premium_numbers_sent_to_by_a_new_key_shows_three_signs(commerce: Any) -> None:
    at = START - timedelta(hours=23)
    async with commerce.database.transaction() as tx:
        key, _ = await accounts.create_main_key(tx, commerce.vault, commerce.account, "new", at)
        old, _ = await accounts.create_main_key(tx, commerce.vault, commerce.account, "old", at - timedelta(hours=2))
    meter = Booked()
    for number in range(20):
        sid = await send(commerce, f"+1900555{1000 + number}", START + timedelta(seconds=number))
        meter.by[sid] = key.sid if number % 2 else old.sid
    [spell] = (await seen(commerce, meter)).values()
    async with commerce.database.transaction() as tx:
        signals = await spell.look_closer(tx)
    assert signals.sequential_numbers and signals.premium_prefix and signals.new_credential
    assert (signals.delivered_permille, signals.failed_permille) == (1000, 0)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([14155550100 + n for n in range(20)], True),
        ([14155550100 + n for n in range(19)], False),
        ([14155550100 + 2 * n for n in range(100)], False),
        ([14155550100] * 50, False),
        ([14155550100 + n + n // 2 for n in range(30)], True),
    ],
)
def test_numbers_follow_one_another_where_half_of_them_do(numbers: list[int], expected: bool) -> None:
    assert is_sequential([f"+{number}" for number in numbers]) is expected
