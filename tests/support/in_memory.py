"""A client of the app without a network: its bytes go through the real protocol, over a transport in memory."""

import asyncio
import http.client
import io
from dataclasses import dataclass
from typing import Any

from onterms.app.http1 import App, Connection, Limits, Shared


class Transport(asyncio.Transport):
    """Keeps what the server writes."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address
        self.written = bytearray()
        self.changed = asyncio.Event()
        self.is_paused = False
        self.unsent_bytes = 0
        self._is_closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self._address, 40000) if name == "peername" else default

    def write(self, data: Any) -> None:
        self.written += data
        self.changed.set()

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        self._is_closing = True
        self.changed.set()

    abort = close

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def set_protocol(self, protocol: Any) -> None:
        pass

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for known, value in self.headers if known.lower() == name), None)


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


class Client:
    """One connection that sends one request."""

    def __init__(self, app: App, address: str = "127.0.0.1", limits: Limits | None = None) -> None:
        self.transport = Transport(address)
        self.shared = Shared(app, limits or Limits())
        self.connection = Connection(self.shared, {})
        self.connection.connection_made(self.transport)

    def send(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes | None = None) -> None:
        """Send a request; without a body, its head alone."""
        self._method = method
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        if body:
            lines.append(f"content-length: {len(body)}")
        self.connection.data_received("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))

    async def written(self, mark: bytes) -> None:
        """Wait until the server has written something."""
        while mark not in self.transport.written:
            self.transport.changed.clear()
            await self.transport.changed.wait()

    def leave(self) -> None:
        """Go away."""
        self.connection.connection_lost(None)

    async def ended(self) -> None:
        """Wait until the app is done with the request."""
        await asyncio.gather(*self.shared.tasks)

    async def answer(self) -> Answer:
        """Wait for the whole response."""
        await self.ended()
        response = http.client.HTTPResponse(_Bytes(bytes(self.transport.written)), method=self._method)  # type: ignore[arg-type]
        response.begin()
        return Answer(response.status, response.getheaders(), response.read())
