"""A rehearsal that dies in the middle, by itself or with its server, ends failed and leaves no copy behind."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

# Long enough to be in the middle of: every day is used and a year of it takes seconds.
YEAR = {
    "days": 366,
    "assumptions": {
        "figures": [
            {
                "account_sid": "",
                "service": "sms",
                "country": "US",
                "unit": "segment",
                "qty": 1,
                "number": f"+1907555{place:04d}",
            }
            for place in range(50)
        ]
    },
}
SIMULATIONS = "/commercial/v1/Simulations"


async def ask(install: Any) -> str:
    for figure in YEAR["assumptions"]["figures"]:  # type: ignore[index]
        figure["account_sid"] = install.account_sid
    return str((await install.own("POST", SIMULATIONS, YEAR))["sid"])


async def running(install: Any, sid: str) -> None:
    """Wait until a simulation has begun."""
    found = await install.own("GET", f"{SIMULATIONS}/{sid}?wait_s=25&known=queued")
    assert found["status"] == "running", found


async def ended(install: Any, sid: str) -> Any:
    for _ in range(5):
        found = await install.own("GET", f"{SIMULATIONS}/{sid}?wait_s=25")
        if found["status"] in ("completed", "failed"):
            return found
    raise AssertionError(found)


async def copies(install: Any) -> list[str]:
    connection = await install.database()
    try:
        rows = await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'onterms_rehearsal%'")
        return [row["datname"] for row in rows]
    finally:
        await connection.close()


def processes(install: Any) -> list[int]:
    """List the server's own processes that rehearse."""
    found = []
    for task in Path(f"/proc/{install._process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"onterms.app.rehearsal" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


@pytest.mark.asyncio(loop_scope="module")
async def test_rehearsal_whose_process_is_killed_fails_and_the_next_one_runs(install: Any) -> None:
    if not install.env:
        await install.start()
    sid = await ask(install)
    after = await install.own("POST", SIMULATIONS, {"days": 1})
    await running(install, sid)
    while not (found := processes(install)):
        await install.own("GET", f"{SIMULATIONS}/{sid}?wait_s=1&known=running")
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    killed = await ended(install, sid)
    assert (killed["status"], killed["reason"]) == ("failed", "its process ended in the middle")
    assert (await ended(install, after["sid"]))["status"] == "completed"
    assert await copies(install) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_rehearsal_whose_server_is_killed_fails_at_the_next_start_and_its_copy_is_dropped(install: Any) -> None:
    if not install.env:
        await install.start()
    sid = await ask(install)
    waiting = await install.own("POST", SIMULATIONS, {"days": 1})
    await running(install, sid)
    while not await copies(install):
        await install.own("GET", f"{SIMULATIONS}/{sid}?wait_s=1&known=running")
    install.kill()
    assert await install.ended() == -signal.SIGKILL
    await install.start()
    lost = await ended(install, sid)
    assert (lost["status"], lost["reason"]) == ("failed", "its process ended in the middle")
    # What was queued is not lost.
    assert (await ended(install, waiting["sid"]))["status"] == "completed"
    assert await copies(install) == []
    assert "Traceback" not in install.log()
