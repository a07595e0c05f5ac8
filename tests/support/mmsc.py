"""An MMSC for tests: it takes SubmitReq over HTTP as a test says, and brings reports and messages.

It is made of the standard library alone and writes its XML by hand, as MMSCs of several makers do, so that what it
says does not come from the code that reads it. What it gets it takes apart with the standard library as well.
"""

import base64
import queue
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

WAIT_S = 10
RELEASES = "http://www.3gpp.org/ftp/Specs/archive/23_series/23.140/schema/"
SOAP = "http://schemas.xmlsoap.org/soap/envelope/"


@dataclass
class Part:
    """A file that came with a request."""

    content_type: str
    content_id: str
    data: bytes


@dataclass
class Submitted:
    """A SubmitReq as it came."""

    headers: dict[str, str]
    xml: ElementTree.Element
    parts: list[Part]
    number: int = 0

    def text(self, name: str) -> str | None:
        """Text of the first element of a name, whatever its namespace."""
        return next((each.text for each in self.xml.iter() if each.tag.rpartition("}")[2] == name), None)

    @property
    def transaction_id(self) -> str:
        return self.text("TransactionID") or ""

    @property
    def recipient(self) -> str:
        to = next(each for each in self.xml.iter() if each.tag.rpartition("}")[2] == "To")
        return (to[0].text or "").strip()

    @property
    def sender(self) -> str:
        found = next(each for each in self.xml.iter() if each.tag.rpartition("}")[2] == "SenderAddress")
        return ((found[0].text if len(found) else found.text) or "").strip()

    def files(self, *prefixes: str) -> list[Part]:
        """The files whose types begin so."""
        return [part for part in self.parts if part.content_type.startswith(prefixes)]


def envelope(transaction_id: str, body: str, *, release: str = "REL-5-MM7-1-2") -> str:
    """As Comverse and others write it: a prefix for the header, none for the message."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><env:Envelope xmlns:env="{SOAP}"><env:Header>'
        f'<mm7:TransactionID xmlns:mm7="{RELEASES}{release}" env:mustUnderstand="1">{transaction_id}'
        f"</mm7:TransactionID></env:Header><env:Body>{body}</env:Body></env:Envelope>"
    )


def submit_rsp(transaction_id: str, message_id: str, code: int = 1000, release: str = "REL-5-MM7-1-2") -> str:
    named = f"<MessageID>{message_id}</MessageID>" if message_id else ""
    return envelope(
        transaction_id,
        f'<SubmitRsp xmlns="{RELEASES}{release}"><MM7Version>5.3.0</MM7Version><Status><StatusCode>{code}</StatusCode>'
        f"<StatusText>As told</StatusText></Status>{named}</SubmitRsp>",
        release=release,
    )


def fault(transaction_id: str, code: int) -> str:
    """TS 23.140 8.7.8.2: RSErrorRsp as the detail of a fault."""
    return envelope(
        transaction_id,
        "<env:Fault><faultcode>env:Client</faultcode><faultstring>Client error</faultstring><detail>"
        f'<RSErrorRsp xmlns="{RELEASES}REL-5-MM7-1-2"><MM7Version>5.3.0</MM7Version><Status><StatusCode>{code}'
        "</StatusCode><StatusText>No</StatusText></Status></RSErrorRsp></detail></env:Fault>",
    )


Answer = Callable[[Submitted], "tuple[int, str] | None"]


@dataclass
class Mmsc:
    """A running MMSC. `answer` says what to reply to a request; None breaks the connection."""

    answer: Answer | None = None
    auth: tuple[str, str] | None = None
    # What it asks for where nothing is shown.
    challenge: str = ""
    submits: "queue.Queue[Submitted]" = field(default_factory=queue.Queue)
    seen: list[Submitted] = field(default_factory=list)
    url: str = ""
    _server: Any = None
    _thread: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        mmsc = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if mmsc.auth is not None:
                    wanted = "Basic " + base64.b64encode(":".join(mmsc.auth).encode()).decode()
                    if self.headers.get("Authorization") != wanted:
                        self.reply(401, "")
                        return
                if mmsc.challenge and "Authorization" not in self.headers:
                    self.reply(401, "", ("WWW-Authenticate", mmsc.challenge))
                    return
                submitted = read(dict(self.headers.items()), body)
                with mmsc._lock:
                    mmsc.seen.append(submitted)
                    submitted.number = len(mmsc.seen)
                try:
                    answer = (mmsc.answer or mmsc.take)(submitted)
                    if answer is None:
                        self.close_connection = True
                        self.connection.close()
                    else:
                        self.reply(*answer)
                finally:
                    mmsc.submits.put(submitted)

            def reply(self, status: int, text: str, *headers: tuple[str, str]) -> None:
                raw = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", 'text/xml; charset="utf-8"')
                self.send_header("Content-Length", str(len(raw)))
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (ConnectionError, ValueError, OSError):
                    # The other side went, or the test broke the connection.
                    self.close_connection = True

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/mm7"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join(WAIT_S)
        self._server.server_close()

    def take(self, submitted: Submitted) -> tuple[int, str]:
        """Take everything, by the name that `id_of` tells."""
        return 200, submit_rsp(submitted.transaction_id, id_of(submitted))

    def submit(self) -> Submitted:
        """Wait for a request."""
        return self.submits.get(timeout=WAIT_S)


def id_of(submitted: Submitted) -> str:
    """The name that this MMSC gives a message."""
    return f"mmsc-{submitted.transaction_id}"


def read(headers: dict[str, str], body: bytes) -> Submitted:
    """Take a request apart with the standard library."""
    kind = next(value for name, value in headers.items() if name.lower() == "content-type")
    message = message_from_bytes(f"Content-Type: {kind}\r\nMIME-Version: 1.0\r\n\r\n".encode() + body)
    leaves = [part for part in message.walk() if not part.is_multipart()]
    root, *rest = leaves
    return Submitted(headers, ElementTree.fromstring(_bytes(root)), [_part(part) for part in rest])


def _part(part: Message) -> Part:
    return Part(part.get_content_type(), (part["Content-ID"] or "").strip("<>"), _bytes(part))


def _bytes(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload


# ---- what it brings


def report(message_id: str, recipient: str, sender: str, mm_status: str = "Retrieved") -> str:
    return envelope(
        f"report-{message_id}",
        f'<DeliveryReportReq xmlns="{RELEASES}REL-5-MM7-1-2"><MM7Version>5.3.0</MM7Version>'
        f"<MMSRelayServerID>RELAY</MMSRelayServerID><MessageID>{message_id}</MessageID>"
        f"<Recipient><Number>{recipient}</Number></Recipient><Sender><Number>{sender}</Number></Sender>"
        f"<Date>2026-01-01T10:00:00Z</Date><MMStatus>{mm_status}</MMStatus></DeliveryReportReq>",
    )


def deliver(
    sender: str,
    recipient: str,
    files: Sequence[tuple[str, bytes]],
    *,
    transaction_id: str = "deliver-1",
    subject: str = "",
) -> tuple[str, bytes]:
    """A DeliverReq with a presentation and files, as a subscriber's handset made it; type and body."""
    root = envelope(
        transaction_id,
        f'<DeliverReq xmlns="{RELEASES}REL-5-MM7-1-2"><MM7Version>5.3.0</MM7Version><Sender><Number>{sender}</Number>'
        f"</Sender><Recipients><To><Number>{recipient}</Number></To></Recipients>"
        f"<TimeStamp>2026-01-01T10:00:00+02:00</TimeStamp><Subject>{subject}</Subject>"
        '<Content href="cid:content" allowAdaptations="true"/></DeliverReq>',
    )
    lines = [
        b"--outer\r\nContent-Type: text/xml; charset=utf-8\r\nContent-ID: <root>\r\n\r\n" + root.encode() + b"\r\n",
        b'--outer\r\nContent-Type: multipart/related; boundary="inner"; start="<smil>"\r\n',
        b"Content-ID: <content>\r\n\r\n",
        b"--inner\r\nContent-Type: application/smil; name=a.smil\r\nContent-ID: <smil>\r\n\r\n<smil/>\r\n",
    ]
    for number, (kind, data) in enumerate(files):
        head = f"--inner\r\nContent-Type: {kind}\r\nContent-ID: <{number}>\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        lines.append(head.encode() + data + b"\r\n")
    lines += [b"--inner--\r\n", b"--outer--\r\n"]
    return 'multipart/related; boundary="outer"; type="text/xml"; start="<root>"', b"".join(lines)


def bring(
    url: str, body: str | bytes, content_type: str = "text/xml; charset=utf-8", **options: Any
) -> requests.Response:
    """Bring something to the door."""
    raw = body.encode() if isinstance(body, str) else body
    headers = {"Content-Type": content_type, "SOAPAction": '""'}
    return requests.post(url, data=raw, headers=headers, timeout=WAIT_S, **options)
