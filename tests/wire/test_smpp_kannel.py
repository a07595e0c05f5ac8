"""Kannel binds to the SMPP server: its bearerbox sends what its smsbox is given, and gets the receipts."""

import queue
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

PATHS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin"
BEARERBOX, SMSBOX = (shutil.which(name, path=PATHS) for name in ("bearerbox", "smsbox"))
WAIT_S = 20

pytestmark = pytest.mark.skipif(
    BEARERBOX is None or SMSBOX is None, reason="Kannel is missing, so THE SMPP SERVER IS NOT TESTED WITH IT"
)

# A group ends at a blank line.
CONFIGURATION = """\
group = core
admin-port = {admin}
admin-interface = 127.0.0.1
admin-password = test
smsbox-port = {box}
smsbox-interface = 127.0.0.1
box-allow-ip = "127.0.0.1"
log-level = 0
log-file = "{folder}/bearerbox.log"
dlr-storage = internal

group = smsc
smsc = smpp
smsc-id = onterms
host = 127.0.0.1
port = {smpp}
transceiver-mode = true
smsc-username = "{system_id}"
smsc-password = "{password}"
system-type = ""
source-addr-ton = 1
source-addr-npi = 1
dest-addr-ton = 1
dest-addr-npi = 1
max-pending-submits = 50
enquire-link-interval = 5

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = {box}
sendsms-port = {http}
sendsms-interface = 127.0.0.1
log-level = 0
log-file = "{folder}/smsbox.log"

group = sendsms-user
username = test
password = test
max-messages = 10
concatenation = true

group = sms-service
keyword = default
max-messages = 0
catch-all = true
get-url = "{sink}/inbound?from=%p&to=%P&text=%b"
"""


class Kannel:
    """A running bearerbox and smsbox, and what they call."""

    def __init__(self, http: int, sink: str, calls: "queue.Queue[tuple[str, dict[str, str]]]") -> None:
        self.http, self.sink, self.calls = http, sink, calls

    def send(self, sender: str, recipient: str, text: str, **more: str) -> None:
        answer = requests.get(
            f"http://127.0.0.1:{self.http}/cgi-bin/sendsms",
            params={
                "username": "test",
                "password": "test",
                "from": sender,
                "to": recipient,
                "text": text,
                "charset": "UTF-8",
                "dlr-mask": "31",
                "dlr-url": f"{self.sink}/receipt?type=%d&words=%A",
                **more,
            },
            timeout=WAIT_S,
        )
        assert answer.status_code == 202, answer.text

    def told(self, path: str, **wanted: str) -> dict[str, str]:
        """Wait for a call with these values."""
        while True:
            called, values = self.calls.get(timeout=WAIT_S)
            if called == path and wanted.items() <= values.items():
                return values


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


@pytest.fixture
def kannel(server: Any, fresh_account: Any) -> Iterator[Kannel]:
    """Kannel, bound as an SMPP user of the test's own account."""
    assert BEARERBOX is not None and SMSBOX is not None
    user = requests.post(
        f"{server.url}/commercial/v1/SmppUsers",
        json={"system_id": f"kannel-{fresh_account.sid[-6:]}", "numbers": [fresh_account.number]},
        auth=fresh_account.auth,
        timeout=WAIT_S,
    ).json()
    calls: queue.Queue[tuple[str, dict[str, str]]] = queue.Queue()

    class Sink(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            values = {name: given[-1] for name, given in parse_qs(url.query).items()}
            calls.put((url.path, values))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    web = HTTPServer(("127.0.0.1", 0), Sink)
    serving = threading.Thread(target=web.serve_forever, args=(0.05,))
    serving.start()
    folder = Path(tempfile.mkdtemp(prefix="onterms-kannel-"))
    admin, box, http = free_ports(3)
    sink = f"http://127.0.0.1:{web.server_port}"
    (folder / "kannel.conf").write_text(
        CONFIGURATION.format(
            admin=admin,
            box=box,
            http=http,
            folder=folder,
            sink=sink,
            smpp=server.env["ONTERMS_SMPP"].rpartition(":")[2],
            system_id=user["system_id"],
            password=user["password"],
        )
    )
    running: list[subprocess.Popen[bytes]] = []
    try:
        for program, port in ((BEARERBOX, box), (SMSBOX, http)):
            with (folder / f"{Path(program).name}.out").open("wb") as out:
                running.append(
                    subprocess.Popen([program, "-v", "4", str(folder / "kannel.conf")], stdout=out, stderr=out)
                )
            wait_for(port, running[-1])
        yield Kannel(http, sink, calls)
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        web.shutdown()
        web.server_close()
        serving.join()
        shutil.rmtree(folder)


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Return when something listens there."""
    ready = threading.Event()
    for _ in range(200):
        assert process.poll() is None, "Kannel ended"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        ready.wait(0.1)
    raise AssertionError(f"nothing listens on {port}")


def test_what_kannel_sends_arrives_and_its_receipt_comes_back(kannel: Kannel, fresh_account: Any, handset: Any) -> None:
    kannel.send(fresh_account.number[1:], handset.number[1:], "Hello from Kannel")
    # 8: accepted by the SMSC; 1: delivered.
    kannel.told("/receipt", type="8")
    told = kannel.told("/receipt", type="1")
    assert "stat:DELIVRD" in told["words"]
    assert handset.bodies() == ["Hello from Kannel"]


def test_a_long_text_of_kannels_is_one_message(kannel: Kannel, fresh_account: Any, handset: Any) -> None:
    text = "Kannel cuts this text into parts, and here it is whole. " * 7
    kannel.send(fresh_account.number[1:], handset.number[1:], text.strip())
    kannel.told("/receipt", type="1")
    assert handset.bodies() == [text.strip()]


def test_a_refusal_reaches_kannel(kannel: Kannel, server: Any, fresh_account: Any, handset: Any) -> None:
    kannel.send(server.number[1:], handset.number[1:], "Not my number")
    # 16: refused by the SMSC.
    kannel.told("/receipt", type="16")
    assert handset.bodies() == []


def test_an_inbound_message_reaches_kannels_service(kannel: Kannel, fresh_account: Any, handset: Any) -> None:
    handset.send(fresh_account.number, "Good morning, Kannel")
    told = kannel.told("/inbound")
    assert told["text"] == "Good morning, Kannel"
    assert told["from"].lstrip(" +") == handset.number[1:]
