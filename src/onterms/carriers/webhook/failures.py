"""What went wrong with a request, in the debugger's codes.

    11100  the URL cannot be called at all
    11200  the server answered with a 4xx or 5xx
    11205  no connection, or no answer in time; also an address that may not be called
    11206  an answer that is not HTTP, or breaks off
    11210  the host name does not resolve
    11215  too many redirects         11216  a 3xx that leads nowhere
    11220  TLS handshake              11235  certificate of another host
    11236  certificate out of date    11237  certificate of an unknown issuer
    11750  TwiML larger than 64 kB

Source: Twilio docs, the error pages of these codes. 11205 names both timers and private addresses as its causes; 11206
a connection that breaks before the answer is whole.
"""

from dataclasses import dataclass
from typing import Literal

from onterms.carriers.webhook.connection import BrokenOff, Disconnected, NothingReceived, NotHttp
from onterms.carriers.webhook.guard import AddressRefused, Dial
from onterms.carriers.webhook.overrides import Overrides
from onterms.carriers.webhook.pool import BadCertificate, ConnectFailed, HandshakeFailed, NoConnection
from onterms.carriers.webhook.reading import BadBody
from onterms.carriers.webhook.resolver import Unresolved

# `final` is never tried again: the same thing would happen again.
Kind = Literal["ct", "rt", "4xx", "5xx", "final"]

# OpenSSL's X509_V_ERR_ numbers (x509_vfy.h).
_NOT_YET_VALID, _EXPIRED = 9, 10
_HOST_MISMATCH, _ADDRESS_MISMATCH = 62, 64


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an exchange failed, in words that may be shown to the customer."""

    code: int
    text: str
    kind: Kind


def failure_of_status(status: int) -> Failure | None:
    """Judge a final status: anything of the 200s is success."""
    if 200 <= status < 300:
        return None
    if status >= 400:
        return Failure(11200, f"the server answered with status {status}", "4xx" if status < 500 else "5xx")
    if status >= 300:
        return Failure(11216, f"status {status} is no redirect that can be followed", "final")
    return Failure(11206, f"the server answered with status {status}", "final")


def failure_of_exception(error: Exception, dial: Dial, limits: Overrides, remaining_s: float) -> Failure:
    """Judge what a connection, the guard or a timer raised. No address is named: it may be an inside one."""
    if isinstance(error, NoConnection):
        return Failure(11205, f"no connection within {_ms(limits.connect_s)} ms", "ct")
    if isinstance(error, NothingReceived):
        return Failure(11205, f"nothing was received for {_ms(limits.read_s)} ms", "rt")
    if isinstance(error, Unresolved):
        return Failure(11210, "the host name cannot be resolved", "ct")
    if isinstance(error, BadCertificate):
        return _failure_of_certificate(error.verify_code)
    if isinstance(error, HandshakeFailed):
        return Failure(11220, f"the TLS handshake failed: {error}", "ct")
    if isinstance(error, AddressRefused) and not dial.sockets:
        return Failure(11205, "the host is at an address that may not be called", "final")
    if isinstance(error, ConnectFailed):
        return Failure(11205, f"the connection failed: {error}"[:200], "ct")
    if isinstance(error, Disconnected):
        return Failure(11206, "the connection broke before an answer came", "rt")
    if isinstance(error, BrokenOff):
        return Failure(11206, "the answer broke off or is malformed", "rt")
    if isinstance(error, BadBody | NotHttp):
        return Failure(11206, str(error), "final")
    if isinstance(error, TimeoutError):
        # The total time covers all retries, so there is none left for another one.
        return Failure(11205, f"no complete answer within {_ms(remaining_s)} ms", "final")
    return Failure(11205, "the connection failed", "ct")


def _failure_of_certificate(number: int) -> Failure:
    if number in (_HOST_MISMATCH, _ADDRESS_MISMATCH):
        return Failure(11235, "the certificate is for another host", "final")
    if number in (_NOT_YET_VALID, _EXPIRED):
        return Failure(11236, "the certificate is expired or not yet valid", "final")
    return Failure(11237, "the certificate's issuer is not trusted", "final")


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
