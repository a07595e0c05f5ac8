"""The receiving side of the mail that MM4 travels by.

Theory of operation. Lines come in and replies go out; a whole mail is an event, and everything behind it waits until
the driver has said with `answer` whether it was taken. Without a greeting, a sender and a recipient there is no mail.
Only CR LF ends a line: what ends lines otherwise means two different things to two servers.

    hello -> mail -> rcpt, rcpt ... -> data -> (the driver answers) -> mail ...

Source: RFC 5321; RFC 1870 for SIZE, RFC 6152 for 8BITMIME, RFC 2920 for what comes without waiting.
"""

import re
from dataclasses import dataclass
from typing import Final

from onterms.protocols.mm4.codec import MAIL_BYTES_MAX

# RFC 5321 4.5.3.1.4 asks for 512; parameters of extensions add to that.
LINE_BYTES_MAX: Final = 2048
RECIPIENTS_MAX: Final = 100
# Ours: who says so much nonsense is no MMSC.
ERRORS_MAX: Final = 20

_PATH: Final = re.compile(r"(?:FROM|TO):\s*<([^<>\s]{0,254})>((?:\s+[^\s]+)*)$", re.IGNORECASE)
_SIZE: Final = re.compile(r"\bSIZE=(\d{1,12})\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail came whole; `answer` says what becomes of it."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes


class MailSession:
    """One connection, seen from the server."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._buffer = bytearray()
        self._out = bytearray()
        self._has_greeted = False
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._is_in_data = False
        self._waits = False
        self._errors = 0
        self.is_closed = False
        self._reply(220, f"{name} ESMTP")

    def receive_data(self, data: bytes) -> None:
        """Take what came."""
        self._buffer += data

    def data_to_send(self) -> bytes:
        """Return what is to be written, once."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def next_event(self) -> Mail | None:
        """Work off what came and return a mail that is whole, or None where more has to come."""
        while not self.is_closed and not self._waits:
            if self._is_in_data:
                mail = self._take_data()
                if mail is None:
                    return None
                self._waits = True
                return mail
            end = self._buffer.find(b"\n")
            if end < 0:
                if len(self._buffer) > LINE_BYTES_MAX:
                    self._close(500, "the line is too long")
                return None
            line = bytes(self._buffer[: end + 1])
            del self._buffer[: end + 1]
            if len(line) > LINE_BYTES_MAX or not line.endswith(b"\r\n"):
                self._close(500, "lines end with CR LF and are not long")
                return None
            self._command(line[:-2].decode("utf-8", "replace"))
        return None

    def answer(self, code: int, text: str) -> None:
        """Say what became of the mail that `next_event` returned."""
        assert self._waits, "there is a mail to answer"
        self._waits = False
        self._reply(code, text)

    def _take_data(self) -> Mail | None:
        buffer = self._buffer
        # The line break that ended DATA stands before the first line.
        if buffer.startswith(b".\r\n"):
            end, length = 0, 3
        else:
            found = buffer.find(b"\r\n.\r\n")
            end, length = found + 2, 3
            if found < 0:
                if len(buffer) > MAIL_BYTES_MAX:
                    self._close(552, "the mail is too large")
                return None
        body = bytes(buffer[:end])
        del buffer[: end + length]
        self._is_in_data = False
        sender, recipients = self._sender or "", tuple(self._recipients)
        self._sender, self._recipients = None, []
        # RFC 5321 4.5.2: a dot in front of a line was doubled.
        if body.startswith(b".."):
            body = body[1:]
        return Mail(sender, recipients, body.replace(b"\r\n..", b"\r\n."))

    def _command(self, line: str) -> None:
        verb, _, rest = line.strip().partition(" ")
        match verb.upper():
            case "EHLO":
                self._has_greeted = True
                self._sender, self._recipients = None, []
                self._lines(250, [self._name, f"SIZE {MAIL_BYTES_MAX}", "8BITMIME", "PIPELINING"])
            case "HELO":
                self._has_greeted = True
                self._sender, self._recipients = None, []
                self._reply(250, self._name)
            case "MAIL":
                self._mail(rest)
            case "RCPT":
                self._rcpt(rest)
            case "DATA":
                if not self._recipients:
                    self._refuse(503, "recipients come first")
                else:
                    self._is_in_data = True
                    self._reply(354, "end with a dot on a line of its own")
            case "RSET":
                self._sender, self._recipients = None, []
                self._reply(250, "ok")
            case "NOOP":
                self._reply(250, "ok")
            case "QUIT":
                self._close(221, "goodbye")
            case _:
                self._refuse(502, "that is not known here")

    def _mail(self, rest: str) -> None:
        path = _PATH.match(rest.strip())
        if not self._has_greeted or self._sender is not None:
            self._refuse(503, "not now")
        elif path is None or not rest.strip().upper().startswith("FROM"):
            self._refuse(501, "the sender cannot be read")
        elif (size := _SIZE.search(path[2])) is not None and int(size[1]) > MAIL_BYTES_MAX:
            self._refuse(552, "the mail is too large")
        else:
            self._sender = path[1]
            self._reply(250, "ok")

    def _rcpt(self, rest: str) -> None:
        path = _PATH.match(rest.strip())
        if self._sender is None:
            self._refuse(503, "the sender comes first")
        elif path is None or not path[1] or not rest.strip().upper().startswith("TO"):
            self._refuse(501, "the recipient cannot be read")
        elif len(self._recipients) >= RECIPIENTS_MAX:
            self._refuse(452, "these are too many recipients")
        else:
            self._recipients.append(path[1])
            self._reply(250, "ok")

    def _refuse(self, code: int, text: str) -> None:
        self._errors += 1
        if self._errors > ERRORS_MAX:
            self._close(421, "this is no conversation")
        else:
            self._reply(code, text)

    def _close(self, code: int, text: str) -> None:
        self._reply(code, text)
        self._buffer.clear()
        self.is_closed = True

    def _reply(self, code: int, text: str) -> None:
        self._lines(code, [text])

    def _lines(self, code: int, lines: list[str]) -> None:
        for number, line in enumerate(lines, 1):
            clean = "".join(each if each.isascii() and each.isprintable() else "?" for each in line)[:400]
            self._out += f"{code}{' ' if number == len(lines) else '-'}{clean}\r\n".encode()
