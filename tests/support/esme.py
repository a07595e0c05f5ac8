"""Clients of an SMPP server, for tests over the wire: smpplib's, and one of bare PDUs."""

import itertools
import socket
from collections.abc import Callable
from typing import Any

import requests
import smpplib.client
import smpplib.gsm

from onterms.protocols.smpp import Session, codec, pdu

WAIT_S = 15
ROK, RINVBNDSTS, RINVCMDID, RINVSRCADR, RINVDSTADR = 0x00, 0x04, 0x03, 0x0A, 0x0B
RINVMSGID, RBINDFAIL, RINVPASWD, RINVSYSID, RCANCELFAIL, RREPLACEFAIL = 0x0C, 0x0D, 0x0E, 0x0F, 0x11, 0x13
RTHROTTLED, RINVSCHED, RINVEXPIRY, RX_P_APPN = 0x58, 0x61, 0x62, 0x65
_names = itertools.count(1)


def place(server: Any, name: str = "ONTERMS_SMPP") -> tuple[str, int]:
    host, _, port = server.env[name].rpartition(":")
    return host, int(port)


def make_user(account: Any, **fields: Any) -> dict[str, Any]:
    """Make an SMPP user; its password is in it."""
    wanted = {"system_id": f"esme{next(_names)}-{account.sid[-4:]}"} | fields
    answer = requests.post(
        f"{account.server.url}/commercial/v1/SmppUsers", json=wanted, auth=account.auth, timeout=WAIT_S
    )
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


class Esme:
    """A client of smpplib that keeps what it is told."""

    def __init__(self, server: Any, user: dict[str, Any], kind: str = "transceiver", **options: Any) -> None:
        options = {"allow_unknown_opt_params": True, "timeout": WAIT_S} | options
        self.client = smpplib.client.Client(*options.pop("at", place(server)), **options)
        self.answers: list[Any] = []
        self.delivered: list[Any] = []
        self.client.set_message_sent_handler(lambda pdu: self.answers.append(pdu))
        self.client.set_error_pdu_handler(lambda answer: None)

        def received(pdu: Any) -> int:
            self.delivered.append(pdu)
            return self.answer

        self.answer = 0
        self.client.set_message_received_handler(received)
        self.client.connect()
        try:
            bind = getattr(self.client, f"bind_{kind}")
            bind(system_id=user["system_id"], password=user["password"])
        except Exception:
            self.close()
            raise

    def __enter__(self) -> "Esme":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.client._socket is not None:
            self.client.disconnect()

    def until(self, done: Callable[[], bool]) -> None:
        while not done():
            self.client.read_once(auto_send_enquire_link=False)

    def send(self, sender: str, recipient: str, text: str, **fields: Any) -> list[Any]:
        """Send a text in as many parts as it takes; return the answers."""
        pieces, coding, esm_class = smpplib.gsm.make_parts(text)
        before = len(self.answers)
        for piece in pieces:
            self.client.send_message(
                **{
                    "source_addr_ton": 1,
                    "source_addr_npi": 1,
                    "source_addr": sender.removeprefix("+"),
                    "dest_addr_ton": 1,
                    "dest_addr_npi": 1,
                    "destination_addr": recipient.removeprefix("+"),
                    "short_message": piece,
                    "data_coding": coding,
                    "esm_class": esm_class,
                    "registered_delivery": 0,
                }
                | fields
            )
        self.until(lambda: len(self.answers) == before + len(pieces))
        return self.answers[before:]

    def receipts(self, count: int = 1) -> list[Any]:
        """Wait for receipts."""
        self.until(lambda: len(self.delivered) >= count)
        return [each for each in self.delivered if each.esm_class == 0x04]


class Plain:
    """A client of bytes, for what smpplib does not know or would not send."""

    def __init__(self, server: Any, peer: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(place(server), timeout=WAIT_S, source_address=(peer, 0))
        self.session = Session("esme", 0.0)
        self.frames = codec.Reader()
        self.got: list[Any] = []
        self._sequences = itertools.count(1)

    def __enter__(self) -> "Plain":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def write(self, request: Any) -> int:
        request.sequence = next(self._sequences)
        self.socket.sendall(codec.encode(request))
        return int(request.sequence)

    def next(self) -> Any:
        while not self.got:
            data = self.socket.recv(65536)
            if not data:
                return None
            self.got += [codec.decode(frame) for frame in self.frames.feed(data)]
        return self.got.pop(0)

    def ask(self, request: Any) -> Any:
        self.write(request)
        return self.next()

    def bind(self, system_id: str, password: str, version: int = 0x34, kind: Any = pdu.BindTransceiver) -> Any:
        return self.ask(kind(system_id=system_id, password=password, interface_version=version))


def submit(account: Any, recipient: str, text: str = "Hello", **fields: Any) -> pdu.SubmitSm:
    given: dict[str, Any] = {
        "source": pdu.Address(1, 1, account.number[1:]),
        "destination": pdu.Address(1, 1, recipient[1:]),
        "short_message": text.encode(),
    }
    return pdu.SubmitSm(**given | fields)
