"""The house, built: rooms mounted, ports joined to carriers, in the order they start and stop.

Only this floor knows everybody. `House` owns what runs: the database, the worker, the clients and the listeners.
"""

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Awaitable, Sequence
from pathlib import Path

import asyncpg

import onterms
from onterms.app import exports, migrate
from onterms.app.certificates import LocalAuthority
from onterms.app.doors import Doors
from onterms.app.http import Edge
from onterms.app.media_links import SignedMediaLinks
from onterms.app.office import Office
from onterms.app.page import Page, PageFacts
from onterms.app.postgres import EmbeddedPostgres
from onterms.app.sandbox import SandboxClock, SandboxClockApi
from onterms.app.settings import Settings
from onterms.business import accounts
from onterms.carriers.simulator import FaultyCallbacks, SimulatorApi, SimulatorCarrier
from onterms.carriers.webhook import AddressPolicy, WebhookClient, WebMediaFetcher
from onterms.core.clock import Clock, SystemClock, VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import ConfigError
from onterms.core.ids import new_token
from onterms.core.vault import Vault, open_secret_file
from onterms.engines import jobs, log
from onterms.engines.api import Binding, Engine, Limits, load
from onterms.ports.message_carrier import MessageCarrier
from onterms.products import messaging, monitor, numbers

_log = logging.getLogger("onterms")

# 16 for requests and jobs at once; PostgreSQL of the embedded kind takes 100.
CONNECTIONS_MAX = 20
STOP_GRACE_S = 10.0
# A partition takes 10 million events, hours at full speed, and several are made ahead.
LOG_PARTITIONS_S = 600.0


class _Accounts:
    """The accounts room as the messaging room asks it."""

    def __init__(self, authenticator: accounts.Authenticator) -> None:
        self.signing_token = authenticator.signing_token
        self.statuses = accounts.statuses


def bindings_of(
    vault: Vault,
    authenticator: accounts.Authenticator,
    senders: messaging.Senders,
    links: messaging.MediaLinks,
    office: Office,
) -> list[Binding]:
    """Return every operation that the rooms serve."""
    return [
        *office.bindings(),
        *map(office.guarded, accounts.bindings(vault, authenticator)),
        *numbers.bindings(find_account=accounts.account_for),
        *monitor.bindings(),
        *messaging.Api(senders, links, messaging.Till(office.meter, office.standing)).bindings(),
    ]


async def _numbers_owned(tx: Tx, wanted: Sequence[str]) -> set[str]:
    return set(await numbers.owner_of(tx, wanted))


class House:
    """One running process of an install."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stopped = asyncio.Event()
        # Not 0 where something it needs ended by itself, so that a supervisor starts the program again.
        self.exit_status = 0
        self._stack = contextlib.AsyncExitStack()
        self._is_ready = False
        self.doors: Doors | None = None

    async def start(self) -> None:
        """Bring everything up, or take down again what was.

        Raises: ConfigError, PostgresError, OSError when a port is taken.
        """
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def stop(self) -> None:
        """Stop in the reverse order of starting."""
        self._is_ready = False
        await self._stack.aclose()

    async def _start(self) -> None:
        settings = self.settings
        _make_data_folder(settings.data)
        database = self.database = await self._open_database()
        await migrate.migrate(database)
        async with database.transaction() as tx:
            await log.ensure_partitions(tx)
        self.clock: Clock = VirtualClock() if settings.sandbox else SystemClock()
        vault = Vault.open(settings.data / "vault.key")
        authenticator = await self._open_accounts(database, vault)
        office = self.office = Office(database, self.clock, vault, node=settings.node)
        async with database.transaction() as tx:
            await office.open(tx, self.credentials.account_sid, self.clock.now())
        await office.prices.refresh()
        self._background(office.prices.follow())
        self._background(office.standing.follow())
        await office.leases.start()
        self._stack.push_async_callback(office.leases.stop)
        self._background(office.leases.run())
        self.worker = jobs.Worker(database, self.clock, name=settings.node)
        sandbox_clock: SandboxClock | None = None
        if isinstance(self.clock, VirtualClock):
            sandbox_clock = SandboxClock(database, self.clock, self.worker)
            await sandbox_clock.start()
            self._stack.push_async_callback(sandbox_clock.close)
        self._background(_keep_room_in_log(database))

        policy = AddressPolicy.parse(settings.webhook_allow)
        webhooks = await self._stack.enter_async_context(WebhookClient(self.clock, policy))
        fetcher = WebMediaFetcher(policy)
        await fetcher.start()
        self._stack.push_async_callback(fetcher.close)
        owned = numbers.OwnedCache()
        self._background(owned.follow(database))
        links = SignedMediaLinks(vault, self.clock, settings.public_url or f"http://{settings.host}:{settings.port}")

        if not settings.sandbox:
            raise ConfigError("ONTERMS_SANDBOX=0 needs a carrier, and this version has the simulator only")
        simulator = SimulatorCarrier(
            database,
            self.clock,
            messaging.Sink(self.clock, numbers.owner_of, accounts.statuses),
            media_fetcher=fetcher,
            numbers_owned=_numbers_owned,
        )
        await simulator.start()
        self._stack.push_async_callback(simulator.close)
        carrier: MessageCarrier = simulator
        callbacks = FaultyCallbacks(webhooks, simulator.faults, self.clock)
        tasks = messaging.Tasks(
            messaging.Surroundings(
                clock=self.clock,
                carrier=carrier,
                callbacks=callbacks,
                media=fetcher,
                links=links,
                accounts=_Accounts(authenticator),
                senders=owned.senders,
                till=messaging.Till(office.meter, office.standing),
                lines=numbers.owner_of,
            )
        )
        if "worker" in settings.roles:
            tasks.register(self.worker)
            simulator.register(self.worker)
            office.register(self.worker, messaging.still_due, callbacks, authenticator.signing_token)
            running = self._background(self.worker.run())
            self._stack.push_async_callback(self._stop_worker, running)
        if "api" in settings.roles:
            live = log.Live(database)
            self._background(live.run())
            await self._open_doors(database, vault, authenticator, owned.senders, links, simulator, sandbox_clock, live)
        self._is_ready = True

    async def _open_database(self) -> Database:
        if self.settings.dsn:
            dsn = self.settings.dsn
        else:
            postgres = EmbeddedPostgres(self.settings.data)
            dsn = await postgres.start()
            self.settings.dsn_file.write_text(dsn)
            self._stack.push_async_callback(postgres.stop)
            self._background(self._watch(postgres))
        database = await Database.connect({"dsn": dsn}, connections_max=CONNECTIONS_MAX)
        self._stack.push_async_callback(database.close)
        return database

    async def _watch(self, postgres: EmbeddedPostgres) -> None:
        status = await postgres.wait()
        if self._is_ready:
            _log.error("PostgreSQL ended with status %s; stopping", status)
            self.exit_status = 1
            self.stopped.set()

    async def _open_accounts(self, database: Database, vault: Vault) -> accounts.Authenticator:
        # The key file is the truth: an operator who replaces it and starts again has a new key.
        operator_key = (
            open_secret_file(self.settings.data / "operator.key", lambda: new_token().encode()).decode().strip()
        )
        async with database.transaction() as tx:
            await accounts.ensure_first(tx, vault, operator_key, self.clock.now())
            credentials = await accounts.first_credentials(tx, vault)
            assert credentials is not None
            if self.settings.sandbox:
                await numbers.fill_sandbox_inventory(tx)
            self.number = await numbers.ensure_first_number(tx, credentials.account_sid, self.clock.now())
        self.credentials, self.operator_key = credentials, operator_key
        cache = accounts.CredentialCache(self.clock)
        self._background(_follow(database, cache))
        return accounts.Authenticator(database.snapshot, vault, cache, self.clock)

    async def _open_doors(
        self,
        database: Database,
        vault: Vault,
        authenticator: accounts.Authenticator,
        senders: messaging.Senders,
        links: SignedMediaLinks,
        simulator: SimulatorCarrier,
        sandbox_clock: SandboxClock | None,
        live: log.Live,
    ) -> None:
        settings = self.settings
        engine = Engine(load(), database, self.clock, authenticator, Limits(concurrent_max=settings.concurrent_max))
        engine.bind(bindings_of(vault, authenticator, senders, links, self.office))
        page = Page(
            database,
            self.clock,
            live,
            version=onterms.__version__,
            facts=self._page_facts,
            session_key=vault.mac("console session", b"1"),
            check_operator=authenticator.is_operator,
        )
        edge = Edge(
            engine,
            database,
            self.clock,
            authenticator,
            sandbox=settings.sandbox,
            ready=self._ready,
            session_valid=page.session_valid,
        )
        edge.mount(accounts.own_routes(vault, self.office.account_made))
        edge.mount(self.office.routes(authenticator))
        edge.mount(links.routes())
        edge.mount(page.routes())
        edge.mount(SimulatorApi(simulator).routes())
        if sandbox_clock is not None and "worker" in settings.roles:
            edge.mount(SandboxClockApi(sandbox_clock).routes())
        authority = LocalAuthority(settings.data / "tls")
        self.doors = await _open(edge, authority, settings)
        self._stack.push_async_callback(self.doors.stop, STOP_GRACE_S)
        # Event streams never end by themselves, and the doors would wait for them.
        self._stack.callback(page.end_streams)
        ports = self.doors.ports
        if settings.public_url is None:
            links.base_url = f"http://{settings.host}:{ports.http}"
        self._write_env(authority, links.base_url)

    def _write_env(self, authority: LocalAuthority, base_url: str) -> None:
        """Leave what `onterms env` prints, readable by the owner only, in one step so that no reader sees half."""
        assert self.doors is not None and self.doors.ports.proxy is not None
        values = exports.exports(
            proxy_port=self.doors.ports.proxy,
            ca=authority.ca_path,
            bundle=authority.bundle_path,
            account_sid=self.credentials.account_sid,
            auth_token=self.credentials.auth_token,
        )
        values |= {
            "TWILIO_TEST_ACCOUNT_SID": self.credentials.test_account_sid,
            "TWILIO_TEST_AUTH_TOKEN": self.credentials.test_auth_token,
            "ONTERMS_URL": base_url,
            "ONTERMS_NUMBER": self.number,
            "ONTERMS_HANDSET": self.settings.handset,
            "ONTERMS_OPERATOR_KEY": self.operator_key,
        }
        path = self.settings.env_file
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.unlink(missing_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
            json.dump(values, file, indent=1)
        os.replace(temporary, path)

    async def _page_facts(self, tx: Tx) -> PageFacts:
        # The token may have been promoted since the start.
        vault = Vault.open(self.settings.data / "vault.key")
        credentials = await accounts.first_credentials(tx, vault)
        assert credentials is not None and self.doors is not None
        return PageFacts(
            account_sid=credentials.account_sid,
            auth_token=credentials.auth_token,
            test_account_sid=credentials.test_account_sid,
            test_auth_token=credentials.test_auth_token,
            number=self.number,
            handset=self.settings.handset,
            base_url=f"http://{self.settings.host}:{self.doors.ports.http}",
            env_command=env_command(),
            numbers=await numbers.numbers_of(tx, credentials.account_sid),
        )

    async def _ready(self) -> bool:
        if not self._is_ready:
            return False
        try:
            async with asyncio.timeout(2), self.database.snapshot() as tx:
                return bool(await tx.fetchval("SELECT true"))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False

    def _background(self, work: Awaitable[None]) -> "asyncio.Future[None]":
        task = asyncio.ensure_future(work)

        async def end() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        self._stack.push_async_callback(end)
        return task

    async def _stop_worker(self, running: "asyncio.Future[None]") -> None:
        try:
            await self.worker.stop(STOP_GRACE_S)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            # Without its database it cannot put its jobs back; the next start frees them.
            _log.warning("the worker stopped without its database: %s", type(error).__name__)
        await running


def env_command() -> str:
    """Return the shell line that loads the exports into a developer's shell."""
    checkout = Path(onterms.__file__).resolve().parents[2]
    program = ".venv/bin/onterms" if (checkout / "pyproject.toml").exists() else "onterms"
    return f'eval "$({program} env)"'


async def _keep_room_in_log(database: Database) -> None:
    """Make the log's next partitions long before they are needed."""
    while True:
        await asyncio.sleep(LOG_PARTITIONS_S)
        try:
            async with database.transaction() as tx:
                await log.ensure_partitions(tx)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            _log.warning("the log's partitions could not be checked: %s", type(error).__name__)


async def _follow(database: Database, cache: accounts.CredentialCache) -> None:
    """Keep the credential cache listening, whatever happens to its connection."""
    while True:
        ended = asyncio.Event()
        try:
            connection = await database.connect_alone()
            connection.add_termination_listener(lambda _, ended=ended: ended.set())
            await cache.follow(connection)
            try:
                await ended.wait()
            finally:
                connection.terminate()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            _log.warning("the credential cache lost its connection: %s", type(error).__name__)
        cache.clear()
        await asyncio.sleep(1.0)


async def _open(edge: Edge, authority: LocalAuthority, settings: Settings) -> Doors:
    """Open the listeners; ports that were not asked for give way to what is taken."""
    wanted = [settings.proxy_port or settings.port + 1, settings.tls_port or settings.port + 2]
    if settings.port == 0:
        wanted = [settings.proxy_port or 0, settings.tls_port or 0]
    host = settings.host
    for proxy_port, tls_port in (tuple(wanted), (settings.proxy_port or 0, settings.tls_port or 0)):
        doors = Doors(
            edge,
            authority=authority,
            http=(host, settings.port),
            proxy=(host, proxy_port),
            tls=(host, tls_port),
        )
        try:
            await doors.start()
            return doors
        except OSError as error:
            failure = error
    raise ConfigError(f"cannot listen on {host}:{settings.port} or the ports set: {failure}")


def _make_data_folder(path: Path) -> None:
    """Make the data folder: open for passing through where root hands the database to another user, else closed."""
    if path.exists():
        return
    path.mkdir(parents=True, mode=0o755)
    path.chmod(0o711 if os.geteuid() == 0 else 0o700)
