"""What was answered 201 outlives kill -9, and ends once.

The real program is killed in the middle of its work again and again, at moments counted in its own answers and
callbacks and drawn from a seed, and started again on the same data folder. Nobody sends anything a second time.
"""

import asyncio
import random
import signal
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import aiohttp.web
import pytest

SEED = 20_261_123
CONNECTIONS = 24
# So many messages a life at most: the rest of it, callbacks and receipts have the program to themselves.
MESSAGES_A_LIFE = 100
# Each life of the program ends by a kill: after so many of these. The last one is left alone.
LIVES = ("accepted", "called back", "database", "accepted", "called back", "accepted")
# How each handset treats what it gets: setting, and the status in which its messages end.
HANDSETS: dict[str, tuple[dict[str, Any] | None, str]] = {
    "+19075550101": (None, "delivered"),
    "+19075550102": ({"outcome": "undelivered", "error_code": 30005}, "undelivered"),
    "+19075550103": ({"outcome": "delivered", "delay_s": 2}, "delivered"),
    "+19075550104": ({"outcome": "lost_receipt"}, "sent"),
    "+19075550105": ({"outcome": "failed", "delay_s": 0.2}, "failed"),
    "+19075550106": ({"outcome": "reject", "error_code": 30007}, "failed"),
    "+19075550107": (None, "delivered"),
}
RECEIVING = {"delivered", "sent"}
PLACE = {"sent": 0, "delivered": 1, "undelivered": 1, "failed": 1}
TERMINAL = ("delivered", "undelivered", "failed", "read", "canceled")


@dataclass
class Sink:
    """The customer's side of status callbacks: counts them, keeps them, and tells the test."""

    # (status, idempotency token) of each message, in the order of arrival.
    seen: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    count: int = 0
    tell: Callable[[], None] = lambda: None

    async def answer(self, request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
        form = await request.post()
        self.seen[str(form["MessageSid"])].append(
            (str(form["MessageStatus"]), request.headers["I-Twilio-Idempotency-Token"])
        )
        self.count += 1
        self.tell()
        return aiohttp.web.Response(status=204)


class Customer:
    """Sends without a pause over many connections, and remembers what was answered."""

    def __init__(self, callback_url: str, chance: random.Random) -> None:
        self.callback_url = callback_url
        # SID of each message that was answered 201, with what it said and to whom.
        self.accepted: dict[str, tuple[str, str]] = {}
        self.refused: list[Any] = []
        self.left = 0
        self.tell: Callable[[], None] = lambda: None
        self._chance = chance
        self._sent = 0

    async def send_until_cut_off(self, install: Any) -> None:
        while self.left > 0:
            self.left -= 1
            self._sent += 1
            body, recipient = f"message {self._sent}", self._chance.choice(list(HANDSETS))
            try:
                status, answer = await install.send(
                    To=recipient, From=install.env["ONTERMS_NUMBER"], Body=body, StatusCallback=self.callback_url
                )
            except (aiohttp.ClientError, ConnectionError):
                return
            if status == 201:
                self.accepted[answer["sid"]] = (body, recipient)
                self.tell()
            else:
                self.refused.append((status, answer))
                # The program is about to end, because its database is gone.
                if status in (500, 503):
                    return


async def live_and_die(install: Any, customer: Customer, sink: Sink, life: str, moment: int) -> None:
    """Let the customer send, and kill the program after so many answers or callbacks."""
    left = moment
    ends = install.kill_database if life == "database" else install.kill

    def count_down() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            ends()

    customer.left = MESSAGES_A_LIFE
    customer.tell = count_down if life != "called back" else lambda: None
    sink.tell = count_down if life == "called back" else lambda: None
    await asyncio.gather(*(customer.send_until_cut_off(install) for _ in range(CONNECTIONS)))
    status = await asyncio.wait_for(install.ended(), 20)
    # Without its database the program ends by itself, and says so to whoever watches it.
    assert status == (1 if life == "database" else -signal.SIGKILL)
    customer.tell = sink.tell = lambda: None


@pytest.mark.asyncio(loop_scope="module")
async def test_every_accepted_message_reaches_one_terminal_status(
    install: Any, serve: Callable[[Any], Awaitable[str]]
) -> None:
    chance = random.Random(SEED)
    sink = Sink()
    customer = Customer(await serve(sink.answer), chance)
    await install.start()
    for number, (setting, _) in HANDSETS.items():
        if setting is not None:
            await install.own("POST", f"/simulator/v1/handsets/{number}", setting)
    # The first words to this handset do not get through, and wait in the queue over a death or two.
    unreachable = {"kind": "unreachable", "to": "+19075550107", "count": 30}
    await install.own("POST", "/simulator/v1/faults", unreachable)

    for life in LIVES:
        await live_and_die(install, customer, sink, life, chance.randint(20, 80))
        await install.start()
    await install.settle(3600)

    accepted = customer.accepted
    assert len(accepted) >= 20 * LIVES.count("accepted")
    # Only the database's own death answers with an error, and never with another one.
    assert {status for status, _ in customer.refused} <= {500, 503}
    messages = {message["sid"]: message for message in await install.messages()}
    assert accepted.keys() - messages.keys() == set()
    # A message whose answer was cut off may be there as well; it ends as the others do.
    ends = {sid: (message["to"], message["status"]) for sid, message in messages.items()}
    assert ends == {sid: (number, HANDSETS[number][1]) for sid, (number, _) in ends.items()}
    assert {sid: (messages[sid]["body"], messages[sid]["to"]) for sid in accepted} == accepted

    await handsets_have_each_message_once(install, messages)
    callbacks_are_in_order_and_repeat_their_token(sink, messages)
    await the_log_has_one_end_each(install, messages)
    assert await jobs_left(install) == []


async def handsets_have_each_message_once(install: Any, messages: dict[str, Any]) -> None:
    received: Counter[str] = Counter()
    for number in HANDSETS:
        kept = await install.own("GET", f"/simulator/v1/handsets/{number}/messages")
        received.update(message["sid"] for message in kept)
    assert received == Counter(sid for sid, message in messages.items() if message["status"] in RECEIVING)


def callbacks_are_in_order_and_repeat_their_token(sink: Sink, messages: dict[str, Any]) -> None:
    assert sink.seen.keys() <= messages.keys()
    for sid, message in messages.items():
        seen = sink.seen[sid]
        statuses = [status for status, _ in seen]
        assert statuses == sorted(statuses, key=PLACE.__getitem__), (sid, seen, message["to"])
        assert statuses and statuses[-1] == message["status"], sid
        # One token a status: equal over repeats, and no two statuses share one.
        assert len(set(seen)) == len(set(statuses)) == len({token for _, token in seen}), sid


async def the_log_has_one_end_each(install: Any, messages: dict[str, Any]) -> None:
    connection = await install.database()
    try:
        rows = await connection.fetch(
            """SELECT told->>0 AS subject_sid, count(*) FILTER (WHERE type = 'message.accepted') AS beginnings,
                      array_agg(told->1->>'status') FILTER (WHERE told->1->>'status' = ANY($1::text[])) AS ends
               FROM events, jsonb_array_elements(data->'batch') AS told
               WHERE subject_sid = '' AND type IN ('message.accepted', 'message.status_changed')
               GROUP BY 1""",
            list(TERMINAL),
        )
    finally:
        await connection.close()
    assert {row["subject_sid"]: row["beginnings"] for row in rows} == dict.fromkeys(messages, 1)
    assert {row["subject_sid"]: row["ends"] or [] for row in rows} == {
        sid: [message["status"]] if message["status"] in TERMINAL else [] for sid, message in messages.items()
    }


async def jobs_left(install: Any) -> list[Any]:
    connection = await install.database()
    try:
        # Timers of the terms (a sweep in six hours, an attestation in a year) are none of the messages' work.
        rows = await connection.fetch(
            "SELECT task, state, payload, error FROM jobs "
            "WHERE state = 'dead' OR due_at < created_at + interval '1 hour'"
        )
        return [tuple(row) for row in rows]
    finally:
        await connection.close()
