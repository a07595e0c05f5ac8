"""From the URL a customer configured to the one request target that is signed and sent.

The signature covers the URL as the receiving server sees it, so a URL is brought into shape once, here, and from then
on the same characters are signed and written to the wire: nothing downstream may quote, decode or reorder them again.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote, urljoin, urlsplit

from yarl import URL

from onterms.carriers.webhook.form import encoded

# Underscores are refused, as Twilio refuses them (Twilio docs: error 21609).
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,254}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
# 2130706433, 0x7f.1 and 127.1 are addresses to a resolver and names to a reader; only the dotted quad is both.
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")
# RFC 3986 3.2.1
_USERINFO = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Every printable ASCII character that servers take unquoted in a request line; existing escapes stay as they are.
_SAFE = "!$%&'()*+,-./:;=?@[]_~"


class BadUrl(ValueError):
    """The URL cannot be called; the text says why, without the URL."""


@dataclass(frozen=True, slots=True)
class Target:
    """One URL to request.

    Shapes: `url` is what is signed and sent: no fragment, no credentials. `authority` is host and port as written.
    """

    url: str
    scheme: str
    host: str
    port: int
    authority: str
    fragment: str = ""
    user: str | None = None
    password: str = ""
    # Scheme, host and port: what connections, credentials and cookies are bound to.
    origin: tuple[str, str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "origin", (self.scheme, self.host.lower(), self.port))

    def resource(self, url: str) -> str:
        """Return what a request line names of the URL, which is this target's own but for the query."""
        return url[len(self.scheme) + len("://") + len(self.authority) :]


def parse_target(text: str) -> Target:
    """Take a URL apart and bring it into shape.

    Raises: BadUrl.
    """
    text = text.strip(" ")
    if _CONTROL.search(text):
        raise BadUrl("the URL has control characters")
    try:
        parts = urlsplit(text)
    except ValueError as bad:
        raise BadUrl("the URL is malformed") from bad
    if parts.scheme not in ("http", "https"):
        raise BadUrl("the URL's scheme is neither http nor https")
    userinfo, at, place = parts.netloc.rpartition("@")
    if not _USERINFO.fullmatch(userinfo):
        raise BadUrl("the URL's user name or password has characters that must be escaped")
    host, port = _host_and_port(place)
    shown_host = f"[{host}]" if ":" in host else host
    authority = shown_host if port is None else f"{shown_host}:{port}"
    user, _, password = userinfo.partition(":")

    resource = _quoted(parts.path) or "/"
    if parts.query:
        resource += "?" + _quoted(parts.query)
    return Target(
        url=f"{parts.scheme}://{authority}{resource}",
        scheme=parts.scheme,
        host=host,
        port=port or (443 if parts.scheme == "https" else 80),
        authority=authority,
        fragment=parts.fragment,
        user=unquote(user) if at else None,
        password=unquote(password),
    )


def with_query(target: Target, params: Sequence[tuple[str, str]]) -> Target:
    """Return the target with parameters added behind the query it has."""
    if not params:
        return target
    mark = "&" if "?" in target.url else "?"
    return replace(target, url=f"{target.url}{mark}{encoded(params)}")


def redirected(target: Target, location: str) -> Target:
    """Return where a Location header leads; credentials go along within the same origin only.

    Raises: BadUrl.
    """
    try:
        absolute = urljoin(target.url, location.strip())
    except ValueError as bad:
        raise BadUrl("the redirect leads to a malformed URL") from bad
    following = parse_target(absolute)
    if following.user is None and following.origin == target.origin:
        return replace(following, user=target.user, password=target.password)
    return following


def _host_and_port(place: str) -> tuple[str, int | None]:
    if place.startswith("["):
        literal, bracket, rest = place[1:].partition("]")
        try:
            # No zone: which of our interfaces a packet leaves by is not a customer's choice.
            host = ipaddress.IPv6Address(literal).compressed if bracket and "%" not in literal else ""
        except ValueError:
            host = ""
        if not host or (rest and not rest.startswith(":")):
            raise BadUrl("the URL's IPv6 address is malformed")
        return host, _port(rest[1:])
    name, _, port = place.partition(":")
    if not name.isascii():
        try:
            name = URL(f"http://{name}/").raw_host or ""
        except ValueError:
            name = ""
    if not _HOST.fullmatch(name) or (_ENDS_IN_NUMBER.fullmatch(name) and not _is_dotted_quad(name)):
        raise BadUrl("the URL's host name is not valid")
    return name, _port(port)


def _is_dotted_quad(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def _port(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 5 or not 1 <= int(text) <= 65535:
        raise BadUrl("the URL's port is not valid")
    return int(text)


def _quoted(text: str) -> str:
    try:
        # Bytes that came undecodable in a Location header arrive as surrogates and leave as the bytes they were.
        return quote(text.encode("utf-8", "surrogateescape"), safe=_SAFE)
    except UnicodeEncodeError as bad:
        raise BadUrl("the URL has characters that no encoding has") from bad
