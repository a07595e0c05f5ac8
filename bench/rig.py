"""What measurements of messages over SMPP share: the simulated SMSC, the gateways before it, the load, the count."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import asyncpg
from bench_accept import RECIPIENTS, answering, end, free_port

HERE = Path(__file__).resolve().parent
WAIT_S = 30.0
# Statuses a message ends in, as callbacks name them; Kannel's 1 and 2 are delivered and undelivered.
FINAL = frozenset(("delivered", "undelivered", "failed", "canceled", "1", "2"))


def compiled(folder: Path) -> tuple[Path, Path]:
    """Compile the simulator and the client that finds its limit, and return their paths."""
    for name in ("smsc", "drive"):
        source = HERE / "smsc" / f"{name}.c"
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", str(folder / name), str(source)], check=True)
    return folder / "smsc", folder / "drive"


async def until(ready: Any, what: str, timeout_s: float = WAIT_S) -> None:
    """Wait until `ready()` is true."""
    try:
        async with asyncio.timeout(timeout_s):
            while not ready():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise SystemExit(f"{what} took longer than {timeout_s:.0f} s") from None


def cpu_s(pid: int, *, with_children: bool = False) -> float:
    """Return the CPU seconds a process has used; with those of its children that live or ended, where asked for."""
    total, children = 0.0, []
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total = sum(int(ticks) for ticks in stat[11 : 15 if with_children else 13]) / os.sysconf("SC_CLK_TCK")
    if with_children:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return total + sum(cpu_s(int(child), with_children=True) for child in children)


def rss_bytes(pid: int, *, with_children: bool = False) -> int:
    """Return the memory a process holds, in proportion where it shares it with others."""
    total, pids = 0, [str(pid)]
    if with_children:
        with contextlib.suppress(OSError):
            pids += Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for each in pids:
        with contextlib.suppress(OSError):
            found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{each}/smaps_rollup").read_text(), re.MULTILINE)
            total += int(found[1]) * 1024 if found else 0
    return total


class Smsc:
    """The simulated SMSC with its sink of callbacks."""

    def __init__(self, program: Path, folder: Path, *flags: str) -> None:
        self.log, self.raw = folder / "smsc.log", folder / "smsc.raw"
        command = [str(program), "-l", str(self.log), "-r", str(self.raw), *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        ports = json.loads(self.process.stdout.readline())
        self.smpp, self.http = ports["smpp"], ports["http"]
        # Connection overrides that messages ask for, such as "#rc=5&rp=all".
        self.overrides = ""

    @property
    def callback(self) -> str:
        return f"http://127.0.0.1:{self.http}/status"

    def stats(self, *, mark: bool = False) -> dict[str, Any]:
        """Return its counters; what it logged is on the disk then."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.http}/{'mark' if mark else 'stats'}", timeout=10
        ) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def callbacks(self) -> "dict[str, list[tuple[str, str]]]":
        """Return status and token of each callback that was answered with 200, in order, by SID."""
        self.stats()
        found: dict[str, list[tuple[str, str]]] = defaultdict(list)
        with self.log.open() as lines:
            for line in lines:
                kind, name, *rest = line.split(" ")
                if kind == "C":
                    found[name].append((rest[0], rest[1].strip()))
        return found

    def submits(self) -> Counter[str]:
        """Return how often each recipient was submitted to."""
        self.stats()
        with self.log.open() as lines:
            return Counter(line.split(" ")[1] for line in lines if line.startswith("S "))

    def unsigned(self, token: str) -> int:
        """Return how many of the first callbacks lack the right X-Twilio-Signature."""
        self.stats()
        wrong, rest = 0, self.raw.read_bytes()
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            fields = dict(line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:])
            fields = {name.lower(): value for name, value in fields.items()}
            size = int(fields["content-length"])
            form, rest = parse_qsl(rest[:size].decode(), keep_blank_values=True), rest[size:]
            # Twilio docs: the URL, then each name and value in the order of the names.
            text = self.callback + "".join(name + value for name, value in sorted(form))
            right = base64.b64encode(hmac.digest(token.encode(), text.encode(), hashlib.sha1)).decode()
            wrong += fields.get("x-twilio-signature") != right
        return wrong

    def stop(self) -> None:
        end([self.process])


def ceiling(smsc: Path, drive: Path, folder: Path, window: int, seconds: int = 3) -> dict[str, Any]:
    """Measure what the simulator can do at most, with a client that does nothing else."""
    simulator = Smsc(smsc, folder)
    try:
        command = [str(drive), str(simulator.smpp), str(simulator.http), str(window), str(seconds)]
        found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        used = cpu_s(simulator.process.pid) * 1e6 / found["submitted"]
        return {"messages_per_s": found["messages_per_s"], "cpu_us_per_message": round(used, 1)}
    finally:
        simulator.stop()


@dataclass
class Gateway:
    """Something that takes messages by HTTP and sends them to the SMSC."""

    kind: str
    url: str
    path: str
    sender: str
    smsc: Smsc
    authorization: str = "-"
    # Name to process id, and which of them count with their children.
    pids: dict[str, int] = field(default_factory=dict)
    families: frozenset[str] = frozenset()
    token: str = ""
    database: Any = None
    install: Any = None

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds of each process."""
        pids = self.pids | {"simulator": self.smsc.process.pid}
        return {name: cpu_s(pid, with_children=name in self.families) for name, pid in pids.items()}

    async def quiet(self, *, stall_s: float = 60.0) -> dict[str, Any]:
        """Wait until everything that was taken has ended, or nothing moved for long; return the SMSC's counters."""
        calm, before = 0.0, self.smsc.stats()
        while calm < stall_s:
            await asyncio.sleep(0.25)
            now = self.smsc.stats()
            moved = any(now[name] != before[name] for name in ("callbacks", "submits", "receipts_answered"))
            calm, before = (0.0, now) if moved or now["receipts_waiting"] else (calm + 0.25, now)
            taken = now["submits"] - now["throttled"]
            if self.database is not None and calm >= 0.5:
                taken = await self.database.fetchval("SELECT count(*) FROM messages WHERE direction = 'outbound-api'")
            if calm >= 1.5 and now["finals"] >= taken:
                break
        return before

    def rss(self) -> dict[str, int]:
        """Return the memory of each process."""
        return {name: rss_bytes(pid, with_children=name in self.families) for name, pid in self.pids.items()}


class Load:
    """wrk, with recipients that never come twice."""

    def __init__(self, step: int = 1_000_000) -> None:
        self._start, self._step = 0, step

    async def run(
        self, gateway: Gateway, connections: int, seconds: float, sids: Path | None = None, *, pause_ms: int = 0
    ) -> dict[str, Any]:
        """Send for some seconds and return what wrk counted; each connection pauses so long between requests."""
        self._start += self._step
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(HERE / "sms.lua")]
        command += [gateway.url, "--", gateway.kind, gateway.path, gateway.authorization, gateway.sender]
        command += [
            gateway.smsc.callback + gateway.smsc.overrides,
            str(self._start),
            str(sids or "-"),
            str(pause_ms),
            *RECIPIENTS["us"],
        ]
        wrk = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output = (await wrk.communicate())[0].decode()
        for line in output.splitlines():
            if line.startswith("RESULT "):
                counted: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
                return counted
        raise SystemExit(f"wrk said nothing to count:\n{output}")


# ---- onterms


class Install:
    """Processes of onterms on one fresh database, with the SMSC as their carrier."""

    def __init__(self, server_dsn: str, folder: Path, label: str, profile: Path | None = None) -> None:
        self.name = f"sms_{label.replace('-', '_')}_{os.urandom(4).hex()}"
        self.data = folder / self.name
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.exports: dict[str, str] = {}
        self.dsn = urlunsplit(urlsplit(server_dsn)._replace(path=f"/{self.name}"))
        self._server_dsn = server_dsn
        self._label, self._profile = label, profile

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def create(self) -> None:
        """Make the database."""
        admin = await asyncpg.connect(self._server_dsn)
        try:
            await admin.execute(f"CREATE DATABASE {self.name}")
        finally:
            await admin.close()

    async def drop(self) -> None:
        """Remove the database."""
        admin = await asyncpg.connect(self._server_dsn)
        try:
            await admin.execute(f"DROP DATABASE {self.name} WITH (FORCE)")
        finally:
            await admin.close()

    async def start(self, roles: str) -> None:
        """Start a process with roles, and wait until it answers where it has a door."""
        environment = os.environ | {
            "PYTHONPATH": str(HERE.parent / "src"),
            "ONTERMS_DATA": str(self.data),
            "ONTERMS_DSN": self.dsn,
            "ONTERMS_PORT": str(self.port),
            "ONTERMS_PROXY_PORT": "0",
            "ONTERMS_TLS_PORT": "0",
            "ONTERMS_SMPP_PORT": "0",
            "ONTERMS_SMPP_TLS_PORT": "0",
            # One data folder, for the key files; names of their own, for the leases.
            "ONTERMS_NODE": f"bench-{roles.replace(',', '-')}",
        }
        command = [sys.executable, "-m", "onterms.app.cli", "up", "--roles", roles]
        if self._profile is not None:
            file = self._profile / f"{self._label}-{roles.replace(',', '-')}-{len(os.listdir(self._profile))}.txt"
            command[1:2] = [str(HERE / "sampled.py"), str(file)]
        with (self.data.parent / f"{self.name}.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log)  # noqa: ASYNC220
        self.processes[roles] = process
        await answering(f"{self.url}/healthz", [process])
        self.exports = json.loads((self.data / "env.json").read_text())

    def operator(self, method: str, path: str, body: Any = None) -> Any:
        """Ask for something as the operator."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.exports['ONTERMS_OPERATOR_KEY']}",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    async def connect(self, smsc: Smsc, window: int, binds: int, **settings: Any) -> None:
        """Make the SMSC the carrier of everything, and wait until its binds are there."""
        peer = {"name": "bench", "host": "127.0.0.1", "port": smsc.smpp, "system_id": "bench", "password": "bench"}
        peer |= {"window": window, "binds": ["transceiver"] * binds} | settings
        carrier = self.operator("POST", "/operator/v1/Carriers", peer)
        self.operator("POST", "/operator/v1/Routes", {"carrier_sid": carrier["sid"]})
        await until(lambda: smsc.stats()["binds"] >= binds, "binding to the SMSC")

    def gateway(self, smsc: Smsc, postgres_pid: int | None) -> Gateway:
        """Describe it as something to be loaded."""
        sid, token = self.exports["TWILIO_ACCOUNT_SID"], self.exports["TWILIO_AUTH_TOKEN"]
        pids = {roles: process.pid for roles, process in self.processes.items()}
        if postgres_pid is not None:
            pids["postgres"] = postgres_pid
        basic = "Basic " + base64.b64encode(f"{sid}:{token}".encode()).decode()
        path = f"/2010-04-01/Accounts/{sid}/Messages.json"
        number = self.exports["ONTERMS_NUMBER"]
        return Gateway(
            "onterms", self.url, path, number, smsc, basic, pids, frozenset({"postgres"}), token, install=self
        )

    def stop(self) -> None:
        """End the processes that still run."""
        end([process for process in self.processes.values() if process.poll() is None])


@contextlib.asynccontextmanager
async def onterms(
    roles: Sequence[str],
    server_dsn: str,
    postgres_pid: int | None,
    folder: Path,
    smsc: Smsc,
    *,
    window: int,
    binds: int,
    label: str = "onterms",
    profile: Path | None = None,
) -> AsyncIterator[Gateway]:
    """Start onterms on a fresh database, bound to the SMSC."""
    install = Install(server_dsn, folder, label, profile)
    await install.create()
    try:
        for each in roles:
            # The first one makes the tables and the keys, and the next finds them.
            await install.start(each)
        await install.connect(smsc, window, binds)
        gateway = install.gateway(smsc, postgres_pid)
        gateway.database = await asyncpg.connect(install.dsn)
        try:
            yield gateway
        finally:
            await gateway.database.close()
    finally:
        install.stop()
        await install.drop()


@dataclass(frozen=True)
class Count:
    """What became of messages, held against what was answered and called back."""

    messages: int
    callbacks: int
    faults: dict[str, int]


async def count(gateway: Gateway, sids: Path | None = None, *, may_repeat: bool = False) -> Count:
    """Hold each message against its callbacks.

    A message must have one status that ends it, and one callback that tells it; where callbacks may be repeated, those
    that do must have the same token. Each SID in the file must be a message.
    """
    rows: list[Any] = await gateway.database.fetch("SELECT sid, status FROM messages WHERE direction = 'outbound-api'")
    statuses: Mapping[str, str] = {row["sid"]: row["status"] for row in rows}
    called = gateway.smsc.callbacks()
    faults: Counter[str] = Counter()
    for sid, status in statuses.items():
        if status not in FINAL:
            faults[f"left {status}"] += 1
            continue
        finals = [(name, token) for name, token in called.get(sid, ()) if name in FINAL]
        if len(finals) > 1 and may_repeat:
            finals = list(dict.fromkeys(finals))
        if len(finals) != 1:
            faults[f"{len(finals)} final callbacks"] += 1
        elif finals[0][0] != status:
            faults["called back with another status"] += 1
    faults["callbacks of nobody"] = len(called.keys() - statuses.keys())
    if sids is not None:
        answered = sids.read_text().split()  # noqa: ASYNC240
        faults["answered twice with one SID"] = len(answered) - len(set(answered))
        faults["answered and not stored"] = len(set(answered) - statuses.keys())
    faults["callbacks not signed"] = gateway.smsc.unsigned(gateway.token)
    return Count(
        len(statuses), sum(len(each) for each in called.values()), {name: n for name, n in faults.items() if n}
    )


# ---- Kannel

KANNEL = """\
group = core
admin-port = {admin}
admin-interface = 127.0.0.1
admin-password = bench
smsbox-port = {box}
smsbox-interface = 127.0.0.1
log-level = 4
log-file = "{folder}/bearerbox.log"
dlr-storage = internal
sms-incoming-queue-limit = 1000000
sms-outgoing-queue-limit = 1000000
{store}
{links}
group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = {box}
sendsms-port = {http}
sendsms-interface = 127.0.0.1
log-level = 4
log-file = "{folder}/smsbox.log"

group = sendsms-user
username = bench
password = bench
concatenation = true
max-messages = 10

group = sms-service
keyword = default
catch-all = true
max-messages = 0
text = "-"
"""
KANNEL_LINK = """
group = smsc
smsc = smpp
smsc-id = bench
host = 127.0.0.1
port = {port}
transceiver-mode = true
smsc-username = bench
smsc-password = bench
system-type = bench
max-pending-submits = {window}
enquire-link-interval = 30
"""


@contextlib.asynccontextmanager
async def kannel(store: str, folder: Path, smsc: Smsc, *, window: int, binds: int) -> AsyncIterator[Gateway]:
    """Start Kannel with one of its stores: none, spool on the disk of the folder, or spool on tmpfs."""
    home = folder / f"kannel-{os.urandom(4).hex()}"
    home.mkdir()
    spool = Path("/dev/shm") / home.name if store == "tmpfs" else home / "spool"
    kept = ""
    if store != "none":
        spool.mkdir()
        kept = f'store-type = spool\nstore-location = "{spool}"\n'
    admin, box, http = free_port(), free_port(), free_port()
    links = "".join(KANNEL_LINK.format(port=smsc.smpp, window=window) for _ in range(binds))
    settings = home / "kannel.conf"
    settings.write_text(KANNEL.format(admin=admin, box=box, http=http, folder=home, store=kept, links=links))
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for program, port in (("bearerbox", box), ("smsbox", http)):
            with (home / f"{program}.out").open("wb") as out:
                processes.append(subprocess.Popen([program, "-v", "4", str(settings)], stdout=out, stderr=out))  # noqa: ASYNC220
            await until(lambda port=port: _is_open(port), program)
        await until(lambda: smsc.stats()["binds"] >= binds, "Kannel's binding")
        # smsbox takes requests before bearerbox knows it.
        await asyncio.sleep(1)
        pids = {"bearerbox": processes[0].pid, "smsbox": processes[1].pid}
        path = "/cgi-bin/sendsms?username=bench&password=bench"
        yield Gateway("kannel", f"http://127.0.0.1:{http}", path, "+15005550006", smsc, pids=pids)
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(process.wait, 20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if store == "tmpfs":
            subprocess.run(["rm", "-rf", str(spool)], check=True)  # noqa: ASYNC221


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
