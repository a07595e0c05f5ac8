"""From a host's name to addresses, and no verdict on them: that is the guard's, at the socket."""

import asyncio
import ipaddress
import socket
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

from onterms.carriers.webhook.connection import ExchangeFailed
from onterms.carriers.webhook.guard import AddrInfo

# A name server that never answers holds a thread for seconds, and any customer can own one.
RESOLVER_THREADS: Final = 32
# How long addresses are taken for true. The system's resolver tells no times to live; this is short beside any that a
# customer who moves a server has to wait for.
NAMES_KEPT_S: Final = 10.0
NAMES_KEPT_MAX: Final = 1024


class Unresolved(ExchangeFailed):
    """The name has no addresses."""


class ThreadedResolver(AbstractResolver):
    """Resolve in threads of its own, so that slow name servers hold up webhooks only."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="webhook-resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        def look_up() -> list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str | int, ...]]]:
            found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            return found  # type: ignore[return-value]  # typeshed lists an address form that only Windows pipes have

        infos = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=found_family,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, _, proto, _, address in infos
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Names:
    """The addresses of names, asked once for all who want them and kept for a moment."""

    def __init__(self, resolver: AbstractResolver, kept_s: float = NAMES_KEPT_S) -> None:
        self._resolver = resolver
        self._kept_s = kept_s
        self._kept: dict[tuple[str, int], tuple[float, deque[AddrInfo]]] = {}
        self._asking: dict[tuple[str, int], asyncio.Task[deque[AddrInfo]]] = {}

    async def addresses(self, host: str, port: int) -> list[AddrInfo]:
        """Return where a host is to be reached, each time beginning with another of its addresses.

        Raises: Unresolved.
        """
        literal = _literal(host, port)
        if literal is not None:
            return [literal]
        place = (host, port)
        kept = self._kept.get(place)
        if kept is not None and asyncio.get_running_loop().time() < kept[0]:
            found = kept[1]
        else:
            asking = self._asking.get(place)
            if asking is None:
                asking = self._asking[place] = asyncio.create_task(self._ask(host, port))
                asking.add_done_callback(lambda _: self._asking.pop(place, None))
            # Shielded, for others may wait for it too.
            found = await asyncio.shield(asking)
        if not found:
            raise Unresolved
        ordered = _interleaved(found)
        found.rotate(-1)
        return ordered

    def forget(self, host: str, port: int) -> None:
        """Ask anew the next time: the addresses led nowhere."""
        self._kept.pop((host, port), None)

    async def close(self) -> None:
        """Ask no more; whoever waits gets no addresses."""
        for asking in list(self._asking.values()):
            asking.cancel()
        self._kept.clear()

    async def _ask(self, host: str, port: int) -> deque[AddrInfo]:
        try:
            results = await self._resolver.resolve(host, port, socket.AF_UNSPEC)
        except (OSError, UnicodeError, asyncio.CancelledError):
            # The task is ours alone, so a cancelled one means `close`, and its callers end with what they have.
            return deque()
        found: deque[AddrInfo] = deque(
            (result["family"], socket.SOCK_STREAM, result["proto"], "", (result["host"], result["port"]))
            for result in results
        )
        if len(self._kept) >= NAMES_KEPT_MAX:
            self._kept.clear()
        if found:
            self._kept[(host, port)] = (asyncio.get_running_loop().time() + self._kept_s, found)
        return found


def _literal(host: str, port: int) -> AddrInfo | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))


def _interleaved(infos: deque[AddrInfo]) -> list[AddrInfo]:
    """RFC 8305 4: families take turns, the first one's first."""
    first = infos[0][0]
    mine = deque(info for info in infos if info[0] == first)
    others = deque(info for info in infos if info[0] != first)
    ordered: list[AddrInfo] = []
    while mine or others:
        for family in (mine, others):
            if family:
                ordered.append(family.popleft())
    return ordered
