"""MM4 over mail, inwards: the door for what peers' MMSCs send.

A peer is known by the address it connects from. What it sends is answered at the end of its data, after the commit: one
that cannot be taken now is asked to come again.
"""

import asyncio
import contextlib
import logging
import re
from typing import Final

import asyncpg

from onterms.carriers.mms.client import Answered
from onterms.carriers.mms.door import MmsDoor
from onterms.carriers.mms.mailing import send
from onterms.carriers.mms.model import CarrierRow
from onterms.core.clock import Clock
from onterms.protocols import mm4

_log = logging.getLogger("onterms.mms")

# RFC 5321 4.5.3.2: a server waits five minutes for the next command.
IDLE_S: Final = 300.0
# Ours: peers are few, and keep a handful of connections each.
CONNECTIONS_MAX: Final = 200
_CHUNK: Final = 65_536
# What may stand between the brackets of a command.
_is_address = re.compile(r"[!-;=?-~]{3,254}").fullmatch
_OUTAGES: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class MmsMailDoor:
    """Take what peers send by mail."""

    def __init__(self, door: MmsDoor, clock: Clock, name: str) -> None:
        self._door = door
        self._clock = clock
        self._name = name
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self._answers: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=_CHUNK)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Listen no more; what was not answered comes again."""
        if self._server is not None:
            self._server.close()
        tasks = [*self._links, *self._answers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        try:
            if len(self._links) <= CONNECTIONS_MAX:
                await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            # It went, said nothing for long, or we stop.
            pass
        except Exception:
            # One peer's conversation ends, and the others go on.
            _log.exception("a conversation by mail failed")
        finally:
            self._links.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = (writer.get_extra_info("peername") or ("",))[0]
        carrier = await self._door.peer(address)
        if carrier is None:
            writer.write(b"554 this address is not one of a carrier's\r\n")
            await writer.drain()
            return
        session = mm4.MailSession(self._name)
        while True:
            while (mail := session.next_event()) is not None:
                code, text = await self._take(carrier, mail)
                session.answer(code, text)
            writer.write(session.data_to_send())
            await writer.drain()
            if session.is_closed:
                return
            async with asyncio.timeout(IDLE_S):
                data = await reader.read(_CHUNK)
            if not data:
                return
            session.receive_data(data)

    async def _take(self, carrier: CarrierRow, mail: mm4.Mail) -> tuple[int, str]:
        try:
            message = mm4.decode(mail.data)
        except mm4.MM4Error as error:
            # RFC 5321 4.2.2: wrong, and wrong the next time as well.
            return 554, error.reason
        try:
            answer, is_busy = await self._door.take_mail(carrier, message)
        except _OUTAGES as error:
            _log.warning("%s: a mail has to come again: %s", carrier.name, type(error).__name__)
            return 451, "come again later"
        if is_busy:
            return 451, "come again later"
        if answer is not None and isinstance(message, mm4.Request) and message.wants_response:
            # TS 23.140 8.4.4: responses go to the system that asked.
            to = message.originator_system or mail.sender
            if _is_address(to):
                task = asyncio.create_task(self._answer(carrier, answer, to))
                self._answers.add(task)
                task.add_done_callback(self._answers.discard)
        return 250, "taken"

    async def _answer(self, carrier: CarrierRow, answer: mm4.Message, to: str) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            result = await send(carrier, answer, to, self._clock.now())
            if not isinstance(result, Answered):
                # It was taken all the same; a peer that wants to know asks again, and is recognised.
                _log.warning("%s: a response did not get there", carrier.name)
