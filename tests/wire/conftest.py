"""One real server a process of tests, and around it only programs that its makers did not write.

`server` is `onterms up` as an operator starts it; every test of this folder runs with the variables that `onterms env`
prints, so `twilio.rest.Client` needs nothing of ours. Nothing here sleeps: `server.settle()` returns when the server
has nothing due and nothing under way, and a webhook's calls wait in queues.
"""

import itertools
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import flask
import pytest
import requests
from twilio.base.exceptions import TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.rest import Client
from twilio.twiml import TwiML
from werkzeug.serving import make_server
from werkzeug.urls import iri_to_uri

REPOSITORY = Path(__file__).resolve().parents[2]
ONTERMS = [sys.executable, "-m", "onterms.app.cli"]
WAIT_S = 10
# Few, so that a test reaches the limit; no other has more than one request under way.
CONCURRENT_MAX = 4

# Away from +19075550123, the handset that the first page and the README use.
_serials = itertools.count(1000)


def clean_environment() -> dict[str, str]:
    """The environment without anything that would send clients, or us, elsewhere."""
    unwanted = ("proxy", "twilio", "onterms", "requests_ca", "ssl_cert", "curl_ca", "node_extra")
    kept = {name: value for name, value in os.environ.items() if not name.lower().startswith(unwanted)}
    kept = {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}
    return kept | {"PYTHONPATH": str(REPOSITORY / "src")}


@dataclass
class Handset:
    """A virtual handset of the simulator."""

    server: "Server"
    number: str

    def _url(self, rest: str = "") -> str:
        return f"{self.server.url}/simulator/v1/handsets/{self.number}{rest}"

    def messages(self, direction: str = "received") -> list[dict[str, Any]]:
        """What it holds once the server has come to rest."""
        self.server.settle()
        answer = requests.get(self._url("/messages"), params={"direction": direction}, timeout=WAIT_S)
        answer.raise_for_status()
        return answer.json()

    def bodies(self) -> list[str]:
        """The texts it received."""
        return [message["body"] for message in self.messages()]

    def send(self, to: str, body: str = "", **fields: Any) -> dict[str, Any]:
        """Send from it."""
        answer = requests.post(self._url("/messages"), json={"to": to, "body": body, **fields}, timeout=WAIT_S)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def behaves(self, **setting: Any) -> None:
        """Say how it treats what is sent to it."""
        answer = requests.post(self._url(), json=setting, timeout=WAIT_S)
        assert answer.status_code == 200, answer.text


@dataclass
class Account:
    """A customer's account with one number, and credentials as its owner has them."""

    server: "Server"
    sid: str
    token: str
    test_sid: str
    test_token: str
    number: str = ""
    number_sid: str = ""

    def client(self, username: str | None = None, password: str | None = None, **options: Any) -> Client:
        """The official SDK's client, made as its documentation says."""
        return Client(username or self.sid, password or self.token, **options)

    @property
    def auth(self) -> tuple[str, str]:
        """For requests without an SDK."""
        return self.sid, self.token

    def url(self, rest: str) -> str:
        """An address below the account in the 2010 API, at the plain door."""
        return f"{self.server.url}/2010-04-01/Accounts/{self.sid}{rest}"


@dataclass
class Server:
    """A running server."""

    process: "subprocess.Popen[str]"
    folder: Path
    env: dict[str, str]
    environment: dict[str, str]

    @property
    def url(self) -> str:
        return self.env["ONTERMS_URL"]

    @property
    def account_sid(self) -> str:
        return self.env["TWILIO_ACCOUNT_SID"]

    @property
    def auth_token(self) -> str:
        return self.env["TWILIO_AUTH_TOKEN"]

    @property
    def test_account_sid(self) -> str:
        return self.env["TWILIO_TEST_ACCOUNT_SID"]

    @property
    def test_auth_token(self) -> str:
        return self.env["TWILIO_TEST_AUTH_TOKEN"]

    @property
    def number(self) -> str:
        return self.env["ONTERMS_NUMBER"]

    @property
    def handset(self) -> str:
        return self.env["ONTERMS_HANDSET"]

    @property
    def operator_key(self) -> str:
        return self.env["ONTERMS_OPERATOR_KEY"]

    @property
    def tls_port(self) -> int:
        return int(self.environment["ONTERMS_TLS_PORT"])

    @property
    def bundle(self) -> str:
        return self.env["REQUESTS_CA_BUNDLE"]

    def operator(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask for something as the operator."""
        answer = requests.post(
            self.url + path, json=body, headers={"Authorization": f"Bearer {self.operator_key}"}, timeout=WAIT_S
        )
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def clock(self, **change: Any) -> dict[str, Any]:
        """Move, hold or release the sandbox's clock."""
        answer = requests.post(f"{self.url}/simulator/v1/clock", json=change, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def advance(self, **span: float) -> None:
        """Move the sandbox's clock by a span, in as many turns as a busy machine takes."""
        target = datetime.fromisoformat(self.clock(advance_s=0)["now"]) + timedelta(**span)
        while self.clock(to=target.isoformat())["stopped_by"] is not None:
            pass

    def settle(self) -> None:
        """Return when nothing is due and nothing runs."""
        while self.clock(advance_s=0)["stopped_by"] is not None:
            pass

    def fault(self, **fault: Any) -> dict[str, Any]:
        """Inject a fault."""
        answer = requests.post(f"{self.url}/simulator/v1/faults", json=fault, timeout=WAIT_S)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def sign_up(self) -> tuple[str, str]:
        """A customer that signs itself up, bound by the terms and without funds; its account's SID and token."""
        version = requests.get(f"{self.url}/legal/tos", timeout=WAIT_S).headers["X-Version-Sid"]
        application = {
            "organization_name": "Northwind",
            "country": "US",
            "org_type": "corporate",
            "use": "business",
            "email": "owner@northwind.example",
            "signer_name": "Ann Example",
            "signer_role": "director",
            "authority": True,
            "compliance": True,
            "accepted_version": version,
        }
        answer = requests.post(f"{self.url}/commercial/v1/SignUps", json=application, timeout=WAIT_S)
        assert answer.status_code == 201, answer.text
        return answer.json()["account_sid"], answer.json()["auth_token"]

    def top_up(self, auth: tuple[str, str], amount: str) -> None:
        """Add funds by a card of the payment simulator, and wait until they are there."""
        base = f"{self.url}/commercial/v1"
        card = requests.post(
            f"{self.url}/simulator/v1/payments/cards", json={"number": "4242424242424242"}, timeout=WAIT_S
        ).json()
        method = {"kind": "card", "token": card["token"]}
        kept = requests.post(f"{base}/PaymentMethods", json=method, auth=auth, timeout=WAIT_S)
        assert kept.status_code == 201, kept.text
        made = requests.post(f"{base}/TopUps", json={"amount": amount}, auth=auth, timeout=WAIT_S)
        assert made.status_code in (201, 202), made.text
        self.settle()

    def standing(self, auth: tuple[str, str]) -> str:
        """How a customer stands under 3.3.1."""
        answer = requests.get(f"{self.url}/commercial/v1/PaymentStanding", auth=auth, timeout=WAIT_S)
        return str(answer.json()["state"])

    def make_handset(self) -> Handset:
        """A handset nobody else uses."""
        return Handset(self, f"+1907555{next(_serials):04d}")

    def make_account(self, name: str = "A customer", *, with_number: bool = True) -> Account:
        """An account nobody else uses, with a number of its own."""
        made = self.operator("/operator/v1/accounts", {"friendly_name": name})
        account = Account(self, made["sid"], made["auth_token"], made["test_sid"], made["test_auth_token"])
        if with_number:
            found = requests.get(
                account.url("/AvailablePhoneNumbers/US/Local.json"),
                params={"PageSize": "1", "MmsEnabled": "true"},
                auth=account.auth,
                timeout=WAIT_S,
            ).json()["available_phone_numbers"]
            bought = requests.post(
                account.url("/IncomingPhoneNumbers.json"),
                data={"PhoneNumber": found[0]["phone_number"]},
                auth=account.auth,
                timeout=WAIT_S,
            )
            assert bought.status_code == 201, bought.text
            account.number, account.number_sid = bought.json()["phone_number"], bought.json()["sid"]
        return account


def read_exports(environment: dict[str, str]) -> dict[str, str]:
    """What a shell knows after `eval "$(onterms env)"`."""
    text = subprocess.run([*ONTERMS, "env"], env=environment, check=True, capture_output=True, text=True).stdout
    exports = {}
    for word in shlex.split(text):
        if word != "export":
            name, _, value = word.partition("=")
            exports[name] = value
    return exports


@contextmanager
def _running(settings: dict[str, str]) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="onterms-wire-"))
    # The database runs as another user where the tests run as root.
    folder.chmod(0o755)
    environment = clean_environment() | {"ONTERMS_DATA": str(folder / "data"), "ONTERMS_PORT": "0"} | settings
    log = folder / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [*ONTERMS, "up"], env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=folder
        )
    assert process.stdout is not None
    too_late = threading.Timer(120, process.kill)
    too_late.start()
    # The greeting is the last thing a start prints.
    for line in process.stdout:
        if "TLS 127.0.0.1:" in line:
            environment["ONTERMS_TLS_PORT"] = line.rpartition(":")[2].strip()
            break
    too_late.cancel()
    if "ONTERMS_TLS_PORT" not in environment:
        process.wait()
        process.stdout.close()
        raise AssertionError(f"the server did not start:\n{log.read_text()}")
    try:
        server = Server(process, folder, read_exports(environment), environment)
        health = requests.get(server.url + "/healthz", timeout=WAIT_S)
        assert (health.status_code, health.json()) == (200, {"status": "ok"})
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        process.stdout.close()
        logged = log.read_text()
        shutil.rmtree(folder)
    assert status == 0, logged
    assert "Traceback" not in logged and " ERROR " not in logged and " CRITICAL " not in logged, logged


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server that this process's tests share; their accounts keep them apart."""
    with _running({"ONTERMS_CONCURRENT_MAX": str(CONCURRENT_MAX)}) as running:
        yield running


@pytest.fixture(scope="session")
def clock_server() -> Iterator[Server]:
    """A server whose clock may be moved."""
    with _running({}) as running:
        yield running


@pytest.fixture(scope="session")
def start_server() -> Callable[[dict[str, str]], AbstractContextManager[Server]]:
    """Start a server that only some tests use, such as those that move its clock by months."""
    return _running


@pytest.fixture(autouse=True)
def _shell(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in a shell that has done `eval "$(onterms env)"`."""
    for name in os.environ:
        if name not in clean_environment():
            monkeypatch.delenv(name)
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def fresh_account(server: Server) -> Iterator[Account]:
    """An account of this test's own, with a number."""
    account = server.make_account()
    yield account
    # The stock is finite. A test may have given the number back itself, or shut the account.
    requests.delete(account.url(f"/IncomingPhoneNumbers/{account.number_sid}.json"), auth=account.auth, timeout=WAIT_S)


@pytest.fixture
def client(fresh_account: Account) -> Client:
    """The SDK's client of the test's own account."""
    return fresh_account.client()


@pytest.fixture
def handset(server: Server) -> Handset:
    """A handset of this test's own."""
    return server.make_handset()


@pytest.fixture
def refused() -> Callable[..., Any]:
    """Expect the SDK to raise what the server refused, with this code and HTTP status."""

    @contextmanager
    def expect(code: int, status: int = 400) -> Iterator[None]:
        with pytest.raises(TwilioRestException) as caught:
            yield
        assert (caught.value.code, caught.value.status) == (code, status), caught.value.msg

    return expect


@dataclass
class Heard:
    """One request that a webhook got."""

    method: str
    url: str
    fields: dict[str, str]
    headers: dict[str, str]
    cookies: dict[str, str]


@dataclass
class Webhook:
    """An application of Flask and twilio's helpers, as a customer writes it."""

    base: str = ""
    tokens: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    _files: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    _answers: dict[str, list[Any]] = field(default_factory=dict)
    _heard: dict[str, "queue.Queue[Heard]"] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, path: str = "/sms") -> str:
        return self.base + path

    def trust(self, account: Any, token: str | None = None) -> None:
        """Sign for this account with its token from now on."""
        self.tokens[account.sid] = token or account.token

    def answers(self, path: str, *answers: Any) -> str:
        """Say what to answer at a path, call after call, the last one for ever; return its URL.

        An answer is TwiML, a flask response's (body, status, headers), or a function of the request that makes one.
        """
        with self._lock:
            self._answers[path] = list(answers)
        return self.url(path)

    def file(self, name: str, data: bytes, content_type: str) -> str:
        """Serve a file to anybody; return its URL."""
        self._files[name] = (data, content_type)
        return self.url(f"/files/{name}")

    def _queue(self, path: str) -> "queue.Queue[Heard]":
        with self._lock:
            return self._heard.setdefault(path, queue.Queue())

    def heard(self, path: str = "/sms") -> Heard:
        """Wait for the next request at a path."""
        try:
            return self._queue(path).get(timeout=WAIT_S)
        except queue.Empty:
            raise AssertionError(f"nothing called {path} within {WAIT_S} s; refused: {self.refused}") from None

    def is_quiet(self, path: str = "/sms") -> bool:
        """Tell whether no further request has come."""
        return self._queue(path).empty()

    def handle(self, request: flask.Request) -> Any:
        """Check the signature as twilio's documentation shows, keep the request, answer."""
        if request.path.startswith("/files/"):
            data, content_type = self._files[request.path.removeprefix("/files/")]
            return data, 200, {"Content-Type": content_type}
        token = self.tokens.get(request.values.get("AccountSid", ""), "")
        signature = request.headers.get("X-Twilio-Signature", "")
        # Flask decodes the URL for people; what was signed is the one that was sent.
        if not RequestValidator(token).validate(iri_to_uri(request.url), request.form, signature):
            self.refused.append(f"{request.method} {request.url} {dict(request.form)}")
            return "the signature does not fit", 403
        self._queue(request.path).put(
            Heard(
                request.method,
                request.url,
                request.values.to_dict(),
                dict(request.headers),
                dict(request.cookies),
            )
        )
        with self._lock:
            answers = self._answers.get(request.path, [("", 204, {})])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer) and not isinstance(answer, TwiML):
            answer = answer(request)
        if isinstance(answer, TwiML):
            return str(answer), 200, {"Content-Type": "text/xml"}
        return answer


@pytest.fixture
def webhook(fresh_account: Account) -> Iterator[Webhook]:
    """A web application on this machine that refuses whatever is not signed; the test fails if it had to."""
    hook = Webhook()
    hook.trust(fresh_account)
    app = flask.Flask("webhook")

    @app.route("/", defaults={"path": ""}, methods=["GET", "POST"])
    @app.route("/<path:path>", methods=["GET", "POST"])
    def everything(path: str) -> Any:
        return hook.handle(flask.request)

    web = make_server("127.0.0.1", 0, app, threaded=True)
    hook.base = f"http://127.0.0.1:{web.port}"
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield hook
    web.shutdown()
    thread.join(WAIT_S)
    web.server_close()
    assert not hook.refused


@pytest.fixture
def sms_webhook(fresh_account: Account, client: Client, webhook: Webhook) -> Callable[..., str]:
    """Set what the account's number answers to an inbound message; returns the URL."""

    def set_answers(*answers: Any, path: str = "/sms", **settings: Any) -> str:
        url = webhook.answers(path, *answers)
        client.incoming_phone_numbers(fresh_account.number_sid).update(sms_url=url, **settings)
        return url

    return set_answers
