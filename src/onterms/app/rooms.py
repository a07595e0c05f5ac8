"""The house, built: rooms mounted, ports joined to carriers, in the order they start and stop.

Only this floor knows everybody. `House` owns what runs: the database, the worker, the clients and the listeners.
"""

import asyncio
import contextlib
import json
import logging
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import asyncpg

import onterms
from onterms.app import exports, migrate
from onterms.app.carriers import Exchange
from onterms.app.certificates import LocalAuthority
from onterms.app.conduct import geo_of, scanner_of
from onterms.app.doors import Doors
from onterms.app.http import Edge
from onterms.app.link_domains import LinkDomains, SystemNames
from onterms.app.media_links import MediaShelf, OpenMedia, SignedMediaLinks
from onterms.app.networks import SimulatedNetworks
from onterms.app.office import LETTERHEAD, Office, Outside
from onterms.app.operator_pages import OperatorPages
from onterms.app.page import Page, PageFacts
from onterms.app.postgres import EmbeddedPostgres
from onterms.app.rcs import Rcs, operator_routes
from onterms.app.registering import Registering
from onterms.app.rehearsal.runner import Runner
from onterms.app.sandbox import SandboxClock, SandboxClockApi
from onterms.app.settings import Settings
from onterms.app.smpp_door import SmppDoor, SmppPorts, smpp_context
from onterms.business import accounts, rehearsal, suspension
from onterms.business.notices import Letterhead
from onterms.carriers.mms import MmsApi, MmsCarrier, MmsDoor, MmsMailDoor
from onterms.carriers.registrar import SimulatedNetworks as SimulatedHomes
from onterms.carriers.simulator import FaultyCallbacks, SimulatorApi, SimulatorCarrier
from onterms.carriers.smpp import SmppApi, SmppCarrier
from onterms.carriers.smtp import SmtpMail
from onterms.carriers.stripe import StripeGateway
from onterms.carriers.webhook import AddressPolicy, WebhookClient, WebMediaFetcher
from onterms.carriers.whatsapp import Files, WhatsAppApi, WhatsAppCarrier, WhatsAppReviewer
from onterms.core.clock import Clock, SystemClock, VirtualClock
from onterms.core.db import Database, Tx
from onterms.core.errors import ConfigError
from onterms.core.ids import new_token
from onterms.core.vault import Vault, open_secret_file
from onterms.engines import jobs, log
from onterms.engines.api import Binding, Engine, Limits, OwnRoute, load
from onterms.engines.api.openapi import document_route
from onterms.engines.imaging import Studio
from onterms.ports.channels import ChannelCarrier, Review, ReviewSink
from onterms.products import content, messaging, monitor, numbers

_log = logging.getLogger("onterms")

# 16 for requests and jobs at once; PostgreSQL of the embedded kind takes 100.
CONNECTIONS_MAX = 20
STOP_GRACE_S = 10.0
# A partition takes 10 million events, hours at full speed, and several are made ahead.
LOG_PARTITIONS_S = 600.0


# Our own APIs by where they are, each with a document of its own.
OWN_APIS = {
    "/commercial/v1": "onterms commercial API",
    "/operator/v1": "onterms operator API",
    "/simulator/v1": "onterms simulator API",
}


class _Accounts:
    """The accounts room as the messaging room asks it."""

    def __init__(self, authenticator: accounts.Authenticator) -> None:
        self.signing_token = authenticator.signing_token
        self.statuses = accounts.statuses


def number_fees(office: Office) -> numbers.Fees:
    """Join the numbers room to the till."""
    return numbers.Fees(office.meter, office.standing, accounts.statuses)


def bindings_of(
    vault: Vault,
    authenticator: accounts.Authenticator,
    senders: messaging.Senders,
    links: messaging.MediaLinks,
    office: Office,
    carries_files: Callable[[str], bool] = lambda _: True,
) -> list[Binding]:
    """Return every operation that the rooms serve.

    Shapes: `carries_files` tells whether files get to a recipient.
    """
    served = [
        *office.bindings(),
        *map(office.guarded, accounts.bindings(vault, authenticator, office.held)),
        *numbers.bindings(find_account=accounts.account_for, fees=number_fees(office)),
        *monitor.bindings(),
        *content.bindings(),
        *Registering(office).bindings(),
        *messaging.Api(
            senders, links, messaging.Till(office.conduct.gate, office.compliance, office.queues), carries_files
        ).bindings(),
        *messaging.OptOutApi(office.compliance).bindings(links),
        *messaging.DomainApi(vault, office.names).bindings(),
    ]
    return [office.exit.watched(office.exit.guarded(binding)) for binding in served]


def own_routes_of(
    vault: Vault,
    authenticator: accounts.Authenticator,
    database: Database,
    office: Office,
    rehearsals: rehearsal.Changes,
    simulator: SimulatorCarrier,
    clock: SandboxClock | None,
    networks: SimulatedNetworks | None = None,
    rcs: Rcs | None = None,
    more: Sequence[OwnRoute] = (),
) -> list[OwnRoute]:
    """Return the routes of our own APIs, with those of the documents that describe them."""
    routes = [
        *accounts.own_routes(vault, office.account_made),
        *office.routes(authenticator),
        *rehearsal.Api(database, rehearsals).routes(),
        *messaging.OptOutApi(office.compliance).routes(),
        *messaging.media_routes(),
        *messaging.QueueApi(office.queues).routes(),
        *Registering(office).routes(),
        *messaging.insight_routes(),
        *SmppApi(vault).routes(),
        *MmsApi(vault).routes(),
        *SimulatorApi(simulator, messaging.deactivate, None if networks is None else networks.whatsapp).routes(),
        *messaging.SmppApi(numbers.senders).routes(),
        *numbers.ShortCodeApi(number_fees(office), accounts.statuses).routes(),
        *operator_routes(vault),
        *(rcs.routes() if rcs is not None else ()),
        *(SandboxClockApi(clock).routes() if clock is not None else ()),
        *more,
    ]
    documents = [document_route(prefix, title, onterms.__version__, routes) for prefix, title in OWN_APIS.items()]
    routes += documents
    return routes


def _files_of(database: Database) -> Files:
    """Let a carrier read what a message carries."""

    async def files(account_sid: str, message_sid: str) -> list[tuple[str, bytes]]:
        async with database.snapshot() as tx:
            rows = await messaging.files_of(tx, account_sid, message_sid)
        return [(row["content_type"], row["data"]) for row in rows]

    return files


def _reviewed(clock: Clock) -> ReviewSink:
    """Let what reviewers say reach the templates."""

    async def record(tx: Tx, account_sid: str, sid: str, review: Review) -> None:
        await content.reviewed(tx, account_sid, sid, review, clock.now())

    return record


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
        self.smpp_ports: SmppPorts | None = None
        self.mm4_port: int | None = None

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
        outside = await self._open_outside()
        office = self.office = Office(database, self.clock, vault, node=settings.node, outside=outside)
        async with database.transaction() as tx:
            await office.open(tx, self.credentials.account_sid, self.clock.now())
        await office.prices.refresh()
        self._background(office.prices.follow())
        self._background(office.standing.follow())
        self._background(office.conduct.board.follow())
        if not settings.sandbox:
            office.names = SystemNames(settings.public_url or f"http://{settings.host}")
        await office.compliance.start()
        self._stack.push_async_callback(office.compliance.close)
        await office.queues.start()
        self._stack.push_async_callback(office.queues.close)
        await office.leases.start()
        self._stack.push_async_callback(office.leases.stop)
        self._background(office.leases.run())
        self._background(office.exit.keep_counts())
        self.worker = jobs.Worker(database, self.clock, name=settings.node)
        sandbox_clock: SandboxClock | None = None
        if isinstance(self.clock, VirtualClock):
            sandbox_clock = SandboxClock(database, self.clock, self.worker)
            await sandbox_clock.start()
            self._stack.push_async_callback(sandbox_clock.close)
        async with database.transaction() as tx:
            await number_fees(office).ensure_planned(tx, self.clock.now())
        self._background(_keep_room_in_log(database))

        policy = AddressPolicy.parse(settings.webhook_allow)
        webhooks = await self._stack.enter_async_context(WebhookClient(self.clock, policy))
        fetcher = WebMediaFetcher(policy)
        await fetcher.start()
        self._stack.push_async_callback(fetcher.close)
        owned = numbers.OwnedCache()
        self._background(owned.follow(database))
        links = SignedMediaLinks(vault, self.clock, settings.public_url or f"http://{settings.host}:{settings.port}")

        till = messaging.Till(office.conduct.gate, office.compliance, office.queues)
        guard = messaging.Guard(office.conduct.media_gate)

        async def sent(tx: Tx, start: datetime, end: datetime) -> Sequence[suspension.Spell]:
            await messaging.sum_up_read(tx, end)
            return await messaging.spells(tx, office.meter, start, end)

        office.conduct.watch.over(sent)
        sink = messaging.Sink(self.clock, numbers.owner_of, accounts.statuses, till, guard)
        simulator = SimulatorCarrier(
            database,
            self.clock,
            sink,
            media_fetcher=fetcher,
            numbers_owned=_numbers_owned,
        )
        await simulator.start()
        self._stack.push_async_callback(simulator.close)
        smpp = SmppCarrier(database, self.clock, vault, sink, node=settings.node, random=random.random)
        if "worker" in settings.roles:
            await smpp.start()
            self._stack.push_async_callback(smpp.close)
        mms = MmsCarrier(database, self.clock, vault, sink, MediaShelf(database), Studio())
        # Who accepts messages knows the routes as well as who sends them.
        await mms.start(works="worker" in settings.roles)
        self._stack.push_async_callback(mms.close)
        self._mms_door = MmsDoor(database, self.clock, vault, sink)
        whatsapp = await self._stack.enter_async_context(
            WhatsAppCarrier(database, self.clock, vault, sink, _files_of(database))
        )
        rcs = Rcs(database, self.clock, vault, sink, fetcher, is_sandbox=settings.sandbox)
        await rcs.carrier.start()
        async with database.transaction() as tx:
            await rcs.ensure(tx, self.credentials.account_sid, self.clock.now())
        self._stack.push_async_callback(rcs.carrier.close)
        channels: dict[str, ChannelCarrier] = {whatsapp.channel: whatsapp, "rcs": rcs.carrier}
        self.networks = SimulatedNetworks(database, self.clock, vault, simulator, fetcher)
        if settings.port:
            # A worker alone opens no doors that would tell.
            self.networks.join(f"http://{settings.host}:{settings.port}")
        await self._stack.enter_async_context(self.networks.whatsapp)
        carrier = self._exchange = Exchange(smpp, simulator if settings.sandbox else None, mms, channels)
        callbacks = FaultyCallbacks(webhooks, simulator.faults, self.clock)
        networks = SimulatedHomes() if settings.sandbox else None
        registrations = messaging.Registrations(self.clock, networks, is_enforced=settings.sender_registration)
        office.queues.by_registration(registrations)
        follower = registrations.follower(database)
        await follower.start()
        self._stack.push_async_callback(follower.close)
        tasks = messaging.Tasks(
            messaging.Surroundings(
                clock=self.clock,
                carrier=carrier,
                callbacks=callbacks,
                media=fetcher,
                links=links,
                accounts=_Accounts(authenticator),
                senders=owned.senders,
                till=till,
                lines=numbers.owner_of,
                guard=guard,
                registrations=registrations,
                channels=channels,
            )
        )
        if "worker" in settings.roles:
            tasks.register(self.worker)
            content.register(self.worker, WhatsAppReviewer(database, self.clock, vault, whatsapp.graph))
            simulator.register(self.worker)
            whatsapp.register(self.worker)
            self.networks.whatsapp.register(self.worker)
            rcs.register(self.worker)
            office.register(
                self.worker, messaging.still_due, callbacks, authenticator.signing_token, messaging.note_costs
            )
            numbers.register(self.worker, number_fees(office))
            Registering(office).register(self.worker, callbacks, authenticator.signing_token)
            running = self._background(self.worker.run())
            self._stack.push_async_callback(self._stop_worker, running)
        self.rehearsals = rehearsal.Changes()
        rehearsing = Runner(database, self.clock, self.rehearsals, works="worker" in settings.roles)
        self._background(rehearsing.run())
        if "api" in settings.roles:
            live = log.Live(database)
            self._background(live.run())
            await self._open_doors(
                database, vault, authenticator, owned.senders, links, simulator, sandbox_clock, live, whatsapp, rcs
            )
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

    async def _open_outside(self) -> Outside:
        """Join what the settings name: the mail server and the payment provider."""
        settings = self.settings
        outside = Outside(
            is_sandbox=settings.sandbox,
            operator_name=settings.operator_name,
            operator_address=settings.operator_address,
            scanner=scanner_of(settings.clamd),
            geo=geo_of(settings.geo),
        )
        if settings.operator_name:
            outside = replace(outside, letterhead=replace(LETTERHEAD, sender_name=settings.operator_name))
        if settings.mail is not None:
            mail = settings.mail
            outside = replace(
                outside,
                mail=SmtpMail(mail.server, self.clock, mail.dkim),
                letterhead=Letterhead(mail.sender, mail.sender_name, mail.legal_address),
            )
        if settings.stripe is not None:
            # The provider's webhooks are dated by the world's clock, which a sandbox's is not.
            gateway = StripeGateway(settings.stripe.secret_key, settings.stripe.webhook_secret, clock=SystemClock())
            outside = replace(outside, gateway=await self._stack.enter_async_context(gateway))
        return outside

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
            else:
                # Real numbers come from real carriers, so there may be none yet.
                self.number = next(iter(await numbers.numbers_of(tx, credentials.account_sid)), "")
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
        whatsapp: WhatsAppCarrier,
        rcs: Rcs,
    ) -> None:
        settings = self.settings
        witness = self.office.conduct.witness
        link_domains = LinkDomains(database, vault)
        await link_domains.start()
        self._stack.push_async_callback(link_domains.close)
        limits = Limits(concurrent_max=settings.concurrent_max)
        engine = Engine(load(), database, self.clock, authenticator, limits, witness)
        engine.bind(bindings_of(vault, authenticator, senders, links, self.office, self._exchange.carries_files))
        page = Page(
            database,
            self.clock,
            live,
            version=onterms.__version__,
            facts=self._page_facts,
            session_key=vault.mac("console session", b"1"),
            session_clock=SystemClock(),
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
            require_place=witness.require_place,
            open_file=OpenMedia(database, links).link,
            is_link_domain=link_domains.is_one,
        )
        clock = sandbox_clock if "worker" in settings.roles else None
        whatsapp_api = WhatsAppApi(database, self.clock, vault, whatsapp, _reviewed(self.clock))
        own = (vault, authenticator, database, self.office, self.rehearsals, simulator, clock)
        edge.mount(own_routes_of(*own, self.networks, rcs, whatsapp_api.routes()))
        if settings.sandbox:
            edge.mount(self.networks.whatsapp.routes())
        edge.mount(links.routes())
        edge.mount(self._mms_door.routes())
        edge.mount(messaging.link_routes())
        edge.mount(page.routes())
        pages = OperatorPages(
            database,
            self.clock,
            page.sessions,
            shared_build=page.build,
            version=onterms.__version__,
            routes=lambda: edge.own_routes,
        )
        edge.mount(pages.routes())
        authority = LocalAuthority(settings.data / "tls")
        authority.others = link_domains.context_for
        self.doors = await _open(edge, authority, settings)
        self._stack.push_async_callback(self.doors.stop, STOP_GRACE_S)
        # Event streams never end by themselves, and the doors would wait for them.
        self._stack.callback(page.end_streams)
        smpp = SmppDoor(
            database,
            self.clock,
            authenticator,
            witness,
            messaging.Desk(
                senders,
                messaging.Till(self.office.conduct.gate, self.office.compliance, self.office.queues),
                accounts.statuses,
            ),
            messaging.SmppBook(settings.node),
        )
        self.smpp_ports = await smpp.start(
            settings.host,
            settings.smpp_port,
            settings.smpp_tls_port,
            smpp_context(settings, authority),
            any_port=settings.port == 0,
        )
        self._stack.push_async_callback(smpp.stop, STOP_GRACE_S)
        if settings.mm4_port is not None:
            mail = MmsMailDoor(self._mms_door, self.clock, settings.host)
            self.mm4_port = await mail.start(settings.host, settings.mm4_port)
            self._stack.push_async_callback(mail.stop)
        ports = self.doors.ports
        if settings.public_url is None:
            links.base_url = f"http://{settings.host}:{ports.http}"
        if settings.sandbox:
            async with database.transaction() as tx:
                here = f"http://{settings.host}:{ports.http}"
                await self.networks.ensure(tx, here, self.credentials.account_sid, self.number, self.clock.now())
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
        if self.smpp_ports is not None:
            values["ONTERMS_SMPP"] = f"{self.settings.host}:{self.smpp_ports.plain}"
            values["ONTERMS_SMPP_TLS"] = f"{self.settings.host}:{self.smpp_ports.tls}"
        if self.mm4_port is not None:
            values["ONTERMS_MM4"] = f"{self.settings.host}:{self.mm4_port}"
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
