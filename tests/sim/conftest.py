"""The real program, started as a process of its own with its embedded PostgreSQL, to be hurt and started again."""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import asyncpg
import pytest
import pytest_asyncio

SOURCE = Path(__file__).parents[2] / "src"
GREETED = b"runs at http://"
ACCOUNTS = "/2010-04-01/Accounts"


class Install:
    """One data folder and the process that runs on it."""

    def __init__(self, data: Path, http: aiohttp.ClientSession) -> None:
        self.data = data
        self.http = http
        self.env: dict[str, str] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._errors = data.parent / "server.log"

    async def start(self) -> None:
        """Start the program on ports of the system's choice and return when it says that it runs."""
        settings = {name: value for name, value in os.environ.items() if not name.startswith("ONTERMS_")}
        settings |= {"ONTERMS_DATA": str(self.data), "ONTERMS_PORT": "0", "PYTHONPATH": str(SOURCE)}
        with self._errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "onterms.app.cli", "up"),
                env=settings,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if GREETED in line:
                break
        else:
            raise AssertionError(f"the program ended at its start:\n{self.log()[-4000:]}")
        self.env = json.loads((self.data / "env.json").read_text())

    def kill(self) -> None:
        """Send SIGKILL to the program."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()

    def kill_database(self) -> None:
        """Send SIGKILL to the database server."""
        pid_file = self.data / "postgres" / "data" / "postmaster.pid"
        os.kill(int(pid_file.read_text().split("\n", 1)[0]), signal.SIGKILL)

    async def ended(self) -> int:
        """Wait until the process has ended and return its status."""
        assert self._process is not None
        # What it prints must not fill the pipe.
        await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode

    async def stop(self) -> None:
        """End the program as an operator does."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self.ended(), 20)
            except TimeoutError:
                self.kill()
                await self.ended()
                raise

    def log(self) -> str:
        """Return what the program logged in all its lives."""
        return self._errors.read_text()

    @property
    def url(self) -> str:
        return self.env["ONTERMS_URL"]

    @property
    def account_sid(self) -> str:
        return self.env["TWILIO_ACCOUNT_SID"]

    @property
    def auth(self) -> str:
        return aiohttp.encode_basic_auth(self.account_sid, self.env["TWILIO_AUTH_TOKEN"])

    async def call(
        self,
        method: str,
        path: str,
        form: Mapping[str, Any] | None = None,
        *,
        auth: str | None = None,
        host: str = "api.twilio.com",
    ) -> tuple[int, Any]:
        """Call an operation of the contract and return status and decoded body."""
        async with self.http.request(
            method,
            self.url + path,
            data=form,
            headers={"Host": host, "Authorization": auth or self.auth},
        ) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else None

    async def customer(self, name: str) -> "Customer":
        """Make an account with a number of its own."""
        made = await self.own("POST", "/operator/v1/accounts", {"friendly_name": name})
        customer = Customer(self, made["sid"], made["auth_token"])
        _, found = await customer.call("GET", "AvailablePhoneNumbers/US/Local")
        wanted = found["available_phone_numbers"][0]["phone_number"]
        status, bought = await customer.call("POST", "IncomingPhoneNumbers", {"PhoneNumber": wanted})
        assert status == 201, bought
        customer.number, customer.number_sid = bought["phone_number"], bought["sid"]
        return customer

    async def send(self, **form: str) -> tuple[int, Any]:
        """Create a message for the first account."""
        return await self.call("POST", f"{ACCOUNTS}/{self.account_sid}/Messages.json", form)

    async def messages(self, account_sid: str | None = None, auth: str | None = None) -> list[Any]:
        """Walk the whole list of an account's messages."""
        path: str | None = f"{ACCOUNTS}/{account_sid or self.account_sid}/Messages.json?PageSize=500"
        found: list[Any] = []
        while path is not None:
            status, body = await self.call("GET", path, auth=auth)
            assert status == 200, body
            found += body["messages"]
            path = body["next_page_uri"]
        return found

    async def own(self, method: str, path: str, body: Any = None) -> Any:
        """Call a route of our own and return its decoded body."""
        headers = {"Authorization": f"Bearer {self.env['ONTERMS_OPERATOR_KEY']}"}
        async with self.http.request(method, self.url + path, json=body, headers=headers) as answer:
            text = await answer.text()
            assert answer.status < 300, text
            return json.loads(text) if text else None

    async def settle(self, advance_s: float) -> None:
        """Move the sandbox's clock forward, which returns once nothing is left to do until then."""
        # On a busy machine a move may reach the longest time it takes at once.
        for _ in range(5):
            moved = await self.own("POST", "/simulator/v1/clock", {"advance_s": advance_s})
            if moved["stopped_by"] is None:
                return
        raise AssertionError(f"it does not come to rest: {moved}")

    async def database(self) -> Any:
        """Open a connection to the install's database; it is a superuser's, as the program's own."""
        return await asyncpg.connect(host=str(self.data / "postgres" / "socket"), user="onterms", database="onterms")


class Customer:
    """An account of its own."""

    def __init__(self, install: Install, sid: str, token: str) -> None:
        self.sid = sid
        self.token = token
        self.number = self.number_sid = ""
        self._install = install

    async def call(self, method: str, resource: str, form: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """Call `/Accounts/{sid}/{resource}.json`."""
        auth = aiohttp.encode_basic_auth(self.sid, self.token)
        return await self._install.call(method, f"{ACCOUNTS}/{self.sid}/{resource}.json", form, auth=auth)

    async def send(self, recipient: str, body: str, **form: str) -> tuple[int, Any]:
        """Create a message."""
        return await self.call("POST", "Messages", {"To": recipient, "From": self.number, "Body": body, **form})

    async def messages(self) -> list[Any]:
        """List all messages."""
        return await self._install.messages(self.sid, aiohttp.encode_basic_auth(self.sid, self.token))

    async def alerts(self) -> list[tuple[int, str]]:
        """List code and resource of each entry of the debugger."""
        status, body = await self.call("GET", "Notifications")
        assert status == 200, body
        found = []
        for row in body["notifications"]:
            auth = aiohttp.encode_basic_auth(self.sid, self.token)
            status, alert = await self._install.call(
                "GET", f"/v1/Alerts/{row['sid']}", auth=auth, host="monitor.twilio.com"
            )
            assert status == 200, alert
            found.append((int(alert["error_code"]), alert["resource_sid"]))
        return found


@pytest.fixture(scope="module")
def data_folder() -> Iterator[Path]:
    """Make a data folder on a disk, in reach of the account that PostgreSQL runs under."""
    base = Path(tempfile.mkdtemp(prefix="onterms-sim-"))
    base.chmod(0o711)
    yield base / "data"
    # Processes of a server that was just killed may still be on their way out.
    shutil.rmtree(base, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def install(data_folder: Path) -> AsyncIterator[Install]:
    """Make an install for a module, whose tests start it; what is left running is stopped."""
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http:
        install = Install(data_folder, http)
        yield install
        await install.stop()
        # A server whose owner was killed lives on until the next start.
        with suppress(FileNotFoundError, ProcessLookupError):
            install.kill_database()


Handler = Callable[[aiohttp.web.Request], Awaitable[aiohttp.web.StreamResponse]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    """Return a starter of web servers on loopback: a customer's side. It takes a handler and returns the URL."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler) -> str:
            server = aiohttp.web.Server(handler)
            runner = aiohttp.web.ServerRunner(server)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            return f"http://127.0.0.1:{runner.addresses[0][1]}"

        yield start
