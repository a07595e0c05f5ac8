"""Connections to customers' servers: opened with care, kept for a while, used again.

A connection belongs to an origin. Its address was judged by the guard when its socket was made, and stays what it was
however the name is answered afterwards; a new connection is judged anew. How many there are at once is the lanes'
matter, so here only the idle ones are counted.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections import deque
from typing import Final

from onterms.carriers.webhook.connection import Connection, ExchangeFailed
from onterms.carriers.webhook.guard import AddressPolicy, AddressRefused, AddrInfo, Dial, guarded_socket
from onterms.carriers.webhook.resolver import Names
from onterms.carriers.webhook.target import Target

# Shorter than the 5 s of Node and uvicorn, so that we close an idle connection before the server does.
KEEP_ALIVE_S: Final = 4.0
# A server that names its own time (Keep-Alive: timeout=) counts it from when it wrote; ours begins when we have read.
KEEP_ALIVE_MARGIN_S: Final = 1.0
IDLE_MAX: Final = 512
SWEEP_S: Final = 1.0
# Aborted connections are gone within a turn of the loop; what is not is not waited for.
CLOSE_S: Final = 1.0
# RFC 8305 5: 250 ms is the recommended delay between the attempts at one address and at the next.
ATTEMPT_DELAY_S: Final = 0.25

Origin = tuple[str, str, int]


class NoConnection(ExchangeFailed):
    """There was no connection within the time for connecting."""


class ConnectFailed(ExchangeFailed):
    """The system could not connect; the text is its own, and names no address."""


class HandshakeFailed(ExchangeFailed):
    """TLS could not be agreed upon; the text is OpenSSL's reason."""


class BadCertificate(ExchangeFailed):
    """The server's certificate is not to be trusted; `verify_code` is OpenSSL's X509_V_ERR_ number."""

    def __init__(self, verify_code: int) -> None:
        super().__init__(verify_code)
        self.verify_code = verify_code


class PoolClosed(ExchangeFailed):
    """The pool was closed meanwhile."""


class Pool:
    """Hold the connections. `close` inside the running loop."""

    def __init__(self, policy: AddressPolicy, names: Names, tls: ssl.SSLContext, keep_alive_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._policy = policy
        self._names = names
        self._tls = tls
        self._keep_alive_s = keep_alive_s
        self._sweep_s = min(SWEEP_S, keep_alive_s)
        self._idle: dict[Origin, list[Connection]] = {}
        self._idle_count = 0
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self.is_closed = False
        self._all_gone = asyncio.Event()

    def take(self, origin: Origin) -> Connection | None:
        """Take the idle connection that was used last, if there is one."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            self._idle_count -= 1
            if connection.is_usable and self._loop.time() < connection.idle_since + self._keeps_s(connection):
                return connection
            connection.abort()
        return None

    def give_back(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection for whoever comes next, unless it has ended with its answer."""
        if not connection.is_usable:
            return
        if self.is_closed or self._idle_count >= IDLE_MAX:
            connection.abort()
            return
        idle = self._idle.get(origin)
        if idle is None:
            idle = self._idle[origin] = []
        idle.append(connection)
        self._idle_count += 1
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._sweep_s, self._look_after)

    async def dial(self, target: Target, dial: Dial, connect_s: float) -> Connection:
        """Open a connection; whatever the timer of the call leaves for the name, `connect_s` is for the rest.

        Raises: Unresolved, AddressRefused, NoConnection, ConnectFailed, HandshakeFailed, BadCertificate, PoolClosed.
        """
        if self.is_closed:
            raise PoolClosed
        infos = await self._names.addresses(target.host, target.port)
        try:
            async with asyncio.timeout(connect_s):
                connection = await self._open_one(target, dial, deque(infos))
        except BaseException as error:
            # What the name stands for may have moved.
            self._names.forget(target.host, target.port)
            if isinstance(error, TimeoutError):
                raise NoConnection from None
            raise
        return connection

    async def close(self) -> None:
        """End all connections; who waits on one is told."""
        self.is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._idle.clear()
        self._idle_count = 0
        if self._open:
            for connection in list(self._open):
                connection.abort()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_gone.wait(), CLOSE_S)

    # ---- opening

    async def _open_one(self, target: Target, dial: Dial, infos: deque[AddrInfo]) -> Connection:
        tls = self._tls if target.scheme == "https" else None
        failure: Exception | None = None
        while True:
            try:
                found = await self._connect(dial, infos)
            except (ConnectFailed, AddressRefused):
                # A server that was there and not in order says more.
                if failure is not None:
                    raise failure from None
                raise
            try:
                return await self._begin(found, target, tls)
            except (ConnectFailed, HandshakeFailed, BadCertificate) as error:
                # Behind another address may stand a server that is in order.
                if not infos:
                    raise
                failure = error

    async def _begin(self, found: socket.socket, target: Target, tls: ssl.SSLContext | None) -> Connection:
        connection = Connection(self._loop, self._lost)
        try:
            await self._loop.create_connection(
                lambda: connection,
                sock=found,
                ssl=tls,
                # Certificates name no trailing dot.
                server_hostname=target.host.rstrip(".") if tls is not None else None,
            )
        except BaseException as error:
            found.close()
            if isinstance(error, ssl.SSLCertVerificationError):
                raise BadCertificate(error.verify_code) from error
            if isinstance(error, ssl.SSLError):
                raise HandshakeFailed(error.reason or "closed") from error
            if isinstance(error, OSError):
                raise _connect_failed(error) from error
            raise
        if self.is_closed:
            connection.abort()
            raise PoolClosed
        if connection.is_usable:
            self._open.add(connection)
        return connection

    async def _connect(self, dial: Dial, infos: deque[AddrInfo]) -> socket.socket:
        """Connect to one of the addresses and take those that were tried from the row (RFC 8305 5).

        Raises: AddressRefused where there are none but such; ConnectFailed of the last that failed.
        """
        under_way: set[asyncio.Task[socket.socket]] = set()
        failure: Exception | None = None
        found: socket.socket | None = None
        try:
            while infos or under_way:
                if infos:
                    info = infos.popleft()
                    try:
                        candidate = guarded_socket(self._policy, dial, info)
                    except AddressRefused as refused:
                        failure = failure or refused
                        continue
                    except OSError as error:
                        # An address family that this machine lacks, or no file that is left.
                        failure = _connect_failed(error)
                        continue
                    if not infos and not under_way:
                        # Nothing else to go on with meanwhile, as for most servers.
                        return await self._connect_to(candidate, info[4])
                    under_way.add(asyncio.create_task(self._connect_to(candidate, info[4])))
                done, under_way = await asyncio.wait(
                    under_way,
                    timeout=ATTEMPT_DELAY_S if infos else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    if task.exception() is not None:
                        failure = task.exception()  # type: ignore[assignment]  # nobody cancelled it
                    elif found is None:
                        found = task.result()
                    else:
                        under_way.add(task)
                if found is not None:
                    return found
        finally:
            for task in under_way:
                task.cancel()
                task.add_done_callback(_close)
        assert failure is not None, "there is an address at least"
        raise failure

    async def _connect_to(self, candidate: socket.socket, address: tuple[object, ...]) -> socket.socket:
        try:
            candidate.setblocking(False)
            await self._loop.sock_connect(candidate, address)
        except BaseException as error:
            candidate.close()
            if isinstance(error, OSError):
                raise _connect_failed(error) from None
            raise
        return candidate

    # ---- looking after

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if not self._open and self.is_closed:
            self._all_gone.set()

    def _look_after(self) -> None:
        self._sweep = None
        now = self._loop.time()
        for origin, idle in list(self._idle.items()):
            kept = []
            for connection in idle:
                if connection.is_usable and now < connection.idle_since + self._keeps_s(connection):
                    kept.append(connection)
                else:
                    connection.abort()
            self._idle_count -= len(idle) - len(kept)
            if kept:
                # In place, for nothing else may hold on to another list of the origin's.
                idle[:] = kept
            else:
                del self._idle[origin]
        if self._idle:
            self._sweep = self._loop.call_later(self._sweep_s, self._look_after)

    def _keeps_s(self, connection: Connection) -> float:
        if connection.keep_s is None:
            return self._keep_alive_s
        return min(self._keep_alive_s, connection.keep_s - KEEP_ALIVE_MARGIN_S)


def _connect_failed(error: OSError) -> ConnectFailed:
    # The loop's own words name the address, which may be an inside one.
    return ConnectFailed(os.strerror(error.errno) if error.errno else "no reason given")


def _close(connected: "asyncio.Task[socket.socket]") -> None:
    if not connected.cancelled() and connected.exception() is None:
        connected.result().close()
