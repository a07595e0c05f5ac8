"""An SMSC whose behaviour a test scripts: what it answers, when, and what it brings by itself."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from onterms.protocols.smpp import Bound, Command, MessageState, Requested, Session, Status
from onterms.protocols.smpp.codes import ESM_RECEIPT
from onterms.protocols.smpp.pdu import Address, DeliverSm
from onterms.protocols.smpp.receipt import write

AT = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
WAIT_S = 10


@dataclass(eq=False)
class Connection(asyncio.Protocol):
    """One client."""

    smsc: "Smsc"
    session: Session = field(init=False)
    transport: Any = None
    is_bound: bool = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.session = Session("smsc", asyncio.get_running_loop().time(), window=10_000)
        self.smsc.connections.append(self)

    def data_received(self, data: bytes) -> None:
        for event in self.session.receive(data, asyncio.get_running_loop().time()):
            if isinstance(event, Requested):
                self.smsc.handle(self, event.pdu)
            elif not isinstance(event, Bound) and hasattr(event, "pdu"):
                self.smsc.replies.put_nowait(event.pdu)
                if self.smsc.on_reply is not None:
                    self.smsc.on_reply(self, event.pdu)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.smsc.connections.remove(self)
        self.smsc.gone.set()

    def flush(self) -> None:
        out = self.session.output()
        if not out or self.transport.is_closing():
            return
        if self.smsc.torn:
            for at in range(len(out)):
                self.transport.write(out[at : at + 1])
        else:
            self.transport.write(out)


@dataclass
class Smsc:
    """The server.

    Shapes: `on_submit` takes (connection, submit_sm) and answers itself, or not; None answers with a new id.
    """

    on_submit: Callable[[Connection, Any], None] | None = None
    # Hears of each answer to what was brought.
    on_reply: Callable[[Connection, Any], None] | None = None
    password: str = "secret"
    torn: bool = False
    # Whether each message that is taken gets a receipt at once.
    receipts: bool = False
    connections: list[Connection] = field(default_factory=list)
    binds: list[Any] = field(default_factory=list)
    port: int = 0
    queries: dict[str, MessageState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.submits: asyncio.Queue[Any] = asyncio.Queue()
        self.replies: asyncio.Queue[Any] = asyncio.Queue()
        self.bound: asyncio.Queue[Connection] = asyncio.Queue()
        self.gone = asyncio.Event()
        self._ids = 1000
        self._server: asyncio.Server | None = None

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", self.port, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.transport.abort()

    def handle(self, connection: Connection, pdu: Any) -> None:
        session = connection.session
        if pdu.command in (Command.BIND_TRANSCEIVER, Command.BIND_TRANSMITTER, Command.BIND_RECEIVER):
            self.binds.append(pdu)
            status = 0 if pdu.password == self.password else int(Status.RINVPASWD)
            session.reply(pdu, status, system_id="smsc")
            if not status:
                connection.is_bound = True
                self.bound.put_nowait(connection)
        elif pdu.command == Command.SUBMIT_SM:
            if self.on_submit is not None:
                self.on_submit(connection, pdu)
            else:
                self.take(connection, pdu)
            self.submits.put_nowait(pdu)
        elif pdu.command == Command.QUERY_SM:
            state = self.queries.get(pdu.message_id, MessageState.ENROUTE)
            session.reply(pdu, message_id=pdu.message_id, message_state=int(state))

    def new_id(self) -> str:
        self._ids += 1
        return f"{self._ids}"

    def take(self, connection: Connection, pdu: Any, message_id: str | None = None) -> str:
        """Answer that a message is taken."""
        message_id = message_id or self.new_id()
        connection.session.reply(pdu, message_id=message_id)
        if self.receipts:
            self.receipt(connection, pdu, message_id)
        connection.flush()
        return message_id

    def receipt(
        self,
        connection: Connection,
        pdu: Any,
        message_id: str,
        state: MessageState = MessageState.DELIVERED,
        error: str = "000",
        *,
        bare: bool = False,
    ) -> None:
        """Bring a receipt; `bare` leaves the exact parameters out, as old SMSCs do."""
        text, tlvs = write(message_id, state, error, AT, AT, "")
        self.bring(
            connection,
            DeliverSm(
                source=pdu.destination,
                destination=pdu.source,
                esm_class=ESM_RECEIPT,
                short_message=text,
                tlvs=() if bare else tlvs,
            ),
        )

    def bring(self, connection: Connection, pdu: DeliverSm) -> None:
        """Send a deliver_sm."""
        connection.session.request(pdu, asyncio.get_running_loop().time())
        connection.flush()

    def message(self, sender: str, recipient: str, text: bytes, **fields: Any) -> DeliverSm:
        """Make a subscriber's message."""
        return DeliverSm(
            source=Address(1, 1, sender), destination=Address(1, 1, recipient), short_message=text, **fields
        )

    async def next_submit(self) -> Any:
        """Wait for a submit_sm."""
        async with asyncio.timeout(WAIT_S):
            return await self.submits.get()

    async def next_bound(self) -> Connection:
        """Wait for a client to be bound."""
        async with asyncio.timeout(WAIT_S):
            return await self.bound.get()

    async def next_reply(self) -> Any:
        """Wait for the answer to something that was brought."""
        async with asyncio.timeout(WAIT_S):
            return await self.replies.get()
