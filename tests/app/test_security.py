"""What the edge and its files withstand that no well-meaning client does."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import in_memory
import pytest

from onterms.app import http
from onterms.app.certificates import LocalAuthority
from onterms.app.http import Edge
from onterms.core.clock import VirtualClock


def edge() -> Edge:
    """An edge before an engine that is never reached."""

    async def ready() -> bool:
        return True

    engine: Any = SimpleNamespace(router=SimpleNamespace(knows=lambda host: True))
    nothing: Any = None
    return Edge(engine, nothing, VirtualClock(), nothing, sandbox=True, ready=ready, session_valid=lambda *_: False)


class TestBodies:
    async def test_body_that_never_begins_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http, "BODY_TIMEOUT_S", 0.01)
        client = in_memory.Client(edge())
        client.send("POST", "/2010-04-01/Accounts.json", [("host", "localhost"), ("content-length", "10")])
        async with asyncio.timeout(10):
            answer = await client.answer()
        assert answer.status == 408
        assert answer.header("connection") == "close"


class TestFiles:
    def test_folder_of_the_authority_is_its_owners_to_write_under_any_umask(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            LocalAuthority(tmp_path / "tls")
        finally:
            os.umask(before)
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "tls").iterdir()}
        assert (tmp_path / "tls").stat().st_mode & 0o022 == 0
        assert modes == {"ca-key.pem": 0o600, "ca.pem": 0o644, "bundle.pem": 0o644}
