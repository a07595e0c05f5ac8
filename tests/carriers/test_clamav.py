"""The clamd adapter against a clamd that speaks the real protocol and answers what the test says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from onterms.carriers.clamav import ClamdScanner
from onterms.core.errors import ConfigError
from onterms.ports.malware_scanner import EICAR, ScannerDown


class Clamd:
    """Reads INSTREAM as clamd(8) describes it."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.contents: list[bytes] = []
        self.answer: Callable[[bytes], bytes] = lambda content: (
            b"stream: Eicar-Signature FOUND\0" if EICAR in content else b"stream: OK\0"
        )
        self.hangs = False
        self.gone = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.commands.append(await reader.readuntil(b"\0"))
            content = b""
            while size := int.from_bytes(await reader.readexactly(4), "big"):
                content += await reader.readexactly(size)
            self.contents.append(content)
            if self.hangs:
                # Until the other side goes.
                await reader.read()
                self.gone.set()
                return
            writer.write(self.answer(content))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def clamd() -> Clamd:
    return Clamd()


@pytest.fixture
async def tcp(clamd: Clamd) -> AsyncIterator[str]:
    async with await asyncio.start_server(clamd.serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_over_tcp_clean_content_is_let_through_and_the_test_file_is_named(clamd: Clamd, tcp: str) -> None:
    scanner = ClamdScanner(tcp)
    assert await scanner.scan(b"a picture") is None
    assert await scanner.scan(b"x" + EICAR) == "Eicar-Signature"
    assert clamd.commands == [b"zINSTREAM\0"] * 2 and clamd.contents == [b"a picture", b"x" + EICAR]


async def test_over_a_unix_socket_large_and_empty_content_arrive_whole(clamd: Clamd, tmp_path: Path) -> None:
    path = tmp_path / "clamd.sock"
    async with await asyncio.start_unix_server(clamd.serve, str(path)):
        scanner = ClamdScanner(str(path))
        large = bytes(range(256)) * 1000
        assert await scanner.scan(large) is None and await scanner.scan(b"") is None
    assert clamd.contents == [large, b""]


@pytest.mark.parametrize(
    "answer", [b"INSTREAM size limit exceeded. ERROR\0", b"UNKNOWN COMMAND\0", b"\0", b"stream: OK", b""]
)
async def test_an_answer_that_is_no_verdict_counts_as_down(clamd: Clamd, tcp: str, answer: bytes) -> None:
    clamd.answer = lambda _: answer
    with pytest.raises(ScannerDown):
        await ClamdScanner(tcp).scan(b"content")


async def test_a_clamd_that_hangs_is_left_after_the_timeout(clamd: Clamd, tcp: str) -> None:
    clamd.hangs = True
    with pytest.raises(ScannerDown, match="TimeoutError"):
        await ClamdScanner(tcp, timeout_s=0.05).scan(b"content")
    await asyncio.wait_for(clamd.gone.wait(), 5)


async def test_nobody_listening_counts_as_down(tmp_path: Path) -> None:
    with pytest.raises(ScannerDown):
        await ClamdScanner(str(tmp_path / "nobody")).scan(b"content")


async def test_content_that_clamd_would_not_take_is_not_sent(clamd: Clamd, tcp: str) -> None:
    with pytest.raises(ScannerDown):
        await ClamdScanner(tcp).scan(bytes(25 * 1024 * 1024 + 1))
    assert clamd.commands == []


@pytest.mark.parametrize("address", ["clamd", ":3310", "host:", "host:0", "host:99999", "host:x"])
async def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(ConfigError, match="clamd"):
        ClamdScanner(address)


async def test_a_crowd_is_scanned_a_few_at_a_time(clamd: Clamd, tcp: str) -> None:
    running, most = 0, 0
    scanner = ClamdScanner(tcp)
    ask = scanner._ask

    async def counted(content: bytes) -> bytes:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return await ask(content)
        finally:
            running -= 1

    scanner._ask = counted  # type: ignore[method-assign]
    assert await asyncio.gather(*(scanner.scan(b"%d" % number) for number in range(30))) == [None] * 30
    assert most <= 8 and len(clamd.contents) == 30
