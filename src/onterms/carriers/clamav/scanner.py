"""Asking clamd.

One connection a file, for clamd ends a session by itself whenever it reloads its database. INSTREAM sends the bytes
along, so clamd may run on another machine and needs to read no file of ours.

Source: clamd(8): "zINSTREAM\\0", then chunks of a length (4 bytes, network order) and data, ended by a length of zero.
The answer is "stream: OK", "stream: NAME FOUND" or "... ERROR", ended by a zero byte.
"""

import asyncio
from typing import Final

from onterms.core.errors import ConfigError
from onterms.ports.malware_scanner import ScannerDown

# Ours: a scan of some megabytes takes well under a second; a clamd that reloads its database may let others wait.
TIMEOUT_S: Final = 20.0
CONNECT_TIMEOUT_S: Final = 3.0
# clamd.conf, StreamMaxLength: 25 MB unless it is set. Files of ours have 5 MB at most.
CONTENT_BYTES_MAX: Final = 25 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_ANSWER_BYTES_MAX: Final = 4096
# clamd.conf, MaxThreads: 10 unless it is set; others wait in its queue, and longer than they would here.
_CONNECTIONS_MAX: Final = 8


class ClamdScanner:
    """Look for malicious code with clamd: a `MalwareScanner`.

    Shapes: address is the path of a unix socket or HOST:PORT.
    """

    def __init__(self, address: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._path = address if address.startswith("/") else None
        self._host, _, port = address.rpartition(":")
        if self._path is None and not (self._host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ConfigError(f"clamd is named by the path of its socket or by HOST:PORT, not by '{address}'")
        self._host = self._host.removeprefix("[").removesuffix("]")
        self._port = int(port) if self._path is None else 0
        self._turns = asyncio.Semaphore(_CONNECTIONS_MAX)

    async def scan(self, content: bytes) -> str | None:
        """Return the name of what was found, or None.

        Raises: ScannerDown, also for an answer that says neither, and for content that clamd would not take.
        """
        if len(content) > CONTENT_BYTES_MAX:
            raise ScannerDown(f"the content has more than {CONTENT_BYTES_MAX} bytes")
        async with self._turns:
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer = await self._ask(content)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                raise ScannerDown(f"clamd cannot be asked: {type(error).__name__}") from error
        return _found(answer)

    async def _ask(self, content: bytes) -> bytes:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await self._connect()
        try:
            writer.write(b"zINSTREAM\0")
            view = memoryview(content)
            for start in range(0, len(content), _CHUNK_BYTES):
                chunk = view[start : start + _CHUNK_BYTES]
                writer.write(len(chunk).to_bytes(4, "big"))
                writer.write(chunk)
                await writer.drain()
            writer.write(bytes(4))
            await writer.drain()
            return await reader.readuntil(b"\0")
        finally:
            # Whatever is still to be said interests nobody, and closing politely could wait for a clamd that hangs.
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._path is not None:
            return await asyncio.open_unix_connection(self._path, limit=_ANSWER_BYTES_MAX)
        return await asyncio.open_connection(self._host, self._port, limit=_ANSWER_BYTES_MAX)


def _found(answer: bytes) -> str | None:
    text = answer.rstrip(b"\0\n").decode("utf-8", "replace")
    said = text.removeprefix("stream: ")
    if said == "OK":
        return None
    if said.endswith(" FOUND"):
        return said.removesuffix(" FOUND")
    raise ScannerDown(f"clamd answered: {text[:200]}")
