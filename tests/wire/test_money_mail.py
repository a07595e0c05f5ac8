"""Invoices by a mail server of the operator's own: what it took, and what it gave back."""

import asyncio
import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest
import requests
from aiosmtpd.smtp import SMTP, AuthResult, Envelope

WAIT_S = 10
PASSWORD = "p4ss-word"
# aiosmtpd 1.4 uses an attribute of asyncio's transports that Python calls deprecated from 3.12 on.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:aiosmtpd.*"),
    # The login crosses this machine only.
    pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning"),
]


class Exchanger:
    """A mail server in a thread of its own, which asks for a login."""

    def __init__(self):
        self.taken: list[Envelope] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self.port = 0

    async def handle_DATA(self, server, session, envelope):
        self.taken.append(envelope)
        return f"250 2.0.0 taken as {len(self.taken)}"

    def authenticate(self, server, session, envelope, mechanism, data):
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == PASSWORD.encode(), handled=False)

    @contextmanager
    def listening(self) -> Iterator["Exchanger"]:
        loop = asyncio.new_event_loop()
        made = loop.run_until_complete(
            loop.create_server(
                lambda: SMTP(
                    self,
                    hostname="mx.acme.example",
                    authenticator=self.authenticate,
                    auth_required=True,
                    auth_require_tls=False,
                    loop=loop,
                ),
                "127.0.0.1",
                0,
            )
        )
        self.port = made.sockets[0].getsockname()[1]
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        yield self
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)
        made.close()
        loop.run_until_complete(made.wait_closed())
        loop.close()

    def mails(self, word: str) -> list[EmailMessage]:
        read = [message_from_bytes(each.content, policy=default) for each in self.taken]
        return [mail for mail in read if word in str(mail["Subject"])]


@pytest.fixture
def exchanger():
    with Exchanger().listening() as made:
        yield made


def settings(port: int, **more: str) -> dict[str, str]:
    return {
        "ONTERMS_SMTP_URL": f"smtp://billing:{PASSWORD}@127.0.0.1:{port}?starttls=no",
        "ONTERMS_MAIL_FROM": "Acme Billing <billing@acme.example>",
        "ONTERMS_MAIL_LEGAL": "legal@acme.example",
        "ONTERMS_OPERATOR_NAME": "Acme Inc.",
        "ONTERMS_OPERATOR_ADDRESS": "1 Main Street; Springfield",
        **more,
    }


def invoiced(server):
    """An account that is billed by the month, with a number, and its billing contact."""
    account = server.make_account("On account")
    base = f"{server.url}/commercial/v1"
    contact = {"kind": "billing", "name": "Accounts payable", "address": "payable@northwind.example"}
    assert requests.post(f"{base}/Contacts", json=contact, auth=account.auth, timeout=WAIT_S).status_code == 201
    [customer] = requests.get(f"{base}/Customers", auth=account.auth, timeout=WAIT_S).json()["items"]
    applied = requests.post(f"{base}/InvoicingApplications", json={}, auth=account.auth, timeout=WAIT_S).json()
    decided = requests.post(
        f"{base}/InvoicingApplications/{applied['sid']}/Decision",
        params={"customer_sid": customer["sid"]},
        json={"decision": "approve", "credit_limit": "500.00"},
        headers={"Authorization": f"Bearer {server.operator_key}"},
        timeout=WAIT_S,
    )
    assert decided.status_code == 200, decided.text
    return account


def first_invoice(server, account):
    base = f"{server.url}/commercial/v1/Invoices"
    found = requests.get(base, auth=account.auth, timeout=WAIT_S).json()["items"]
    return requests.get(f"{base}/{found[0]['sid']}", auth=account.auth, timeout=WAIT_S).json()


def test_invoice_goes_through_the_operators_mail_server_and_its_report_is_taken(start_server, exchanger):
    with start_server(settings(exchanger.port)) as server:
        account = invoiced(server)
        server.advance(days=32)
        invoice = first_invoice(server, account)
        [mail] = [one for one in exchanger.mails(invoice["number"]) if one["To"] == "payable@northwind.example"]
        assert mail["From"] == "Acme Billing <billing@acme.example>"
        body = mail.get_body(("plain",)).get_content()
        assert "Acme" in body and invoice["sha256"] in body
        assert exchanger.logins and set(exchanger.logins) == {(b"billing", PASSWORD.encode())}
        accepted = {one["address"]: one["reply"] for one in invoice["sent_to"]}
        assert accepted["payable@northwind.example"].startswith("250 2.0.0 taken as ")
        notice = notice_of(server, account, invoice)
        assert notice["state"] == "given"
        # Days later the exchangers behind the relay give the mails up; the operator's server hands the reports over.
        for one in exchanger.mails(invoice["number"]):
            answer = requests.post(
                f"{server.url}/commercial/v1/InboundMail",
                json={"raw": base64.b64encode(report(one)).decode()},
                headers={"Authorization": f"Bearer {server.operator_key}"},
                timeout=WAIT_S,
            )
            assert answer.json() == {"bounces": [one["Message-ID"]], "notice_sid": None}
        assert notice_of(server, account, invoice)["state"] == "void"
        log = (server.folder / "log").read_text()
        assert PASSWORD not in log


def notice_of(server, account, invoice):
    url = f"{server.url}/commercial/v1/Notices/{invoice['notice_sid']}"
    return requests.get(url, auth=account.auth, timeout=WAIT_S).json()


def report(mail: EmailMessage) -> bytes:
    """A server's report that it could not deliver a mail after all (RFC 3464)."""
    return (
        "From: MAILER-DAEMON@relay.example\r\nTo: billing@acme.example\r\nSubject: Undelivered mail\r\n"
        "MIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nIt could not be delivered.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; relay.example\r\n\r\n"
        f"Final-Recipient: rfc822; {mail['To']}\r\nAction: failed\r\nStatus: 5.1.1\r\n"
        "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n\r\n"
        f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {mail['Message-ID']}\r\n\r\n--b--\r\n"
    ).encode()
