"""Which addresses a customer's URL may reach.

A customer chooses the URL and owns the name's DNS, so nothing that is known before the connection is opened can be
trusted: a name may point to us, and may point elsewhere a moment later. The check therefore sits where the socket is
made, on the very address that is connected to, and every redirect comes through it again. An address that is refused
never gets a socket.
"""

import errno
import ipaddress
import re
import socket
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from onterms.core.errors import ConfigError

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
# As getaddrinfo returns it: family, type, proto, canonical name, socket address.
AddrInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]

LOOPBACK: tuple[IPNetwork, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
# RFC 1918 and RFC 4193. Link-local is left out on purpose: clouds serve their metadata there.
PRIVATE: tuple[IPNetwork, ...] = tuple(
    ipaddress.ip_network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)

# Not globally reachable whatever this Python's table says (tables differ between patch releases), or reachable and
# still not a customer's server.
_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "192.0.0.0/24",  # RFC 6890 protocol assignments; one cloud's metadata lives here too
        "192.88.99.0/24",  # RFC 7526: the deprecated 6to4 relay
        "168.63.129.16/32",  # Azure's host agent: a public number that answers inside only
    )
)
# RFC 4291 2.4: global unicast in use is 2000::/3 alone, which leaves out NAT64 (64:ff9b::/96 and 64:ff9b:1::/48),
# IPv4-compatible, site-local, unique local, link-local and multicast addresses at one stroke.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # RFC 2928 protocol assignments, with Teredo, ORCHID and benchmarking in it
        "2001:db8::/32",  # RFC 3849 documentation
        "2002::/16",  # RFC 3056 6to4: carries any IPv4 address, also a private one
        "3fff::/20",  # RFC 9637 documentation
    )
)

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")


class AddressRefused(OSError):
    """The address that a host stands for may not be called."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Say which addresses outside the public Internet may be called.

    Shapes: `networks` holds address ranges; `hosts` lower-case names that may resolve to anything.
    """

    networks: tuple[IPNetwork, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> "AddressPolicy":
        """Read an allow-list such as `loopback, 10.1.2.0/24, hooks.internal`.

        Shapes: entries are set apart by commas or blanks: `loopback`, `private` (RFC 1918 and RFC 4193), an address,
        a network, or a host name. Empty, and `none`, allow the public Internet alone.
        Raises: ConfigError for an entry that is none of these.
        """
        networks: list[IPNetwork] = []
        hosts: set[str] = set()
        for entry in re.split(r"[,\s]+", text.strip().lower()):
            if entry in ("", "none"):
                continue
            if entry == "loopback":
                networks += LOOPBACK
                continue
            if entry == "private":
                networks += PRIVATE
                continue
            try:
                networks.append(ipaddress.ip_network(entry))
            except ValueError as bad:
                # 10.1.2.3/24 has host bits set: asking beats guessing which of the two was meant.
                if not _HOST_NAME.fullmatch(entry):
                    raise ConfigError(f"{entry!r} is no address, network or host name of an allow-list") from bad
                hosts.add(entry)
        return cls(tuple(networks), frozenset(hosts))

    def names_host(self, host: str) -> bool:
        """Tell whether the host is allowed by name, wherever it points."""
        return host.lower().rstrip(".") in self.hosts

    def allows(self, address: str) -> bool:
        """Tell whether an address may be connected to."""
        ip: IPAddress = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            # ::ffff:10.0.0.1 is dialled as 10.0.0.1, so it is judged as that.
            ip = ip.ipv4_mapped
        if any(ip in network for network in self.networks):
            return True
        if isinstance(ip, ipaddress.IPv4Address):
            # Python calls multicast global, as the registry does.
            return ip.is_global and not ip.is_multicast and not any(ip in network for network in _REFUSED_V4)
        return ip in _GLOBAL_V6 and ip.is_global and not any(ip in network for network in _REFUSED_V6)


@dataclass(slots=True)
class Dial:
    """What happened at the sockets of one request."""

    # The operator named this host, so its address is not asked about.
    host_is_named: bool = False
    refused: list[str] = field(default_factory=list)
    sockets: int = 0


def guarded_socket(policy: AddressPolicy, dial: Dial, info: AddrInfo) -> socket.socket:
    """Make a socket towards an address.

    Raises: AddressRefused for an address that the policy does not allow.
    """
    family, kind, proto, _, address = info
    if not dial.host_is_named and not policy.allows(str(address[0])):
        dial.refused.append(str(address[0]))
        raise AddressRefused(errno.EACCES, "the address is not public")
    dial.sockets += 1
    return socket.socket(family=family, type=kind, proto=proto)


# aiohttp hands its socket factory the address alone, so the request it belongs to comes by context.
current_dial: ContextVar[Dial] = ContextVar("current_dial")


def guarded_socket_factory(policy: AddressPolicy) -> Callable[[AddrInfo], socket.socket]:
    """Return a socket factory for aiohttp that makes no socket towards an address the policy does not allow."""

    def make_socket(info: AddrInfo) -> socket.socket:
        return guarded_socket(policy, current_dial.get(), info)

    return make_socket
