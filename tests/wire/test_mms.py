"""MMS over MM7, from the official client to an MMSC and back, and what media may be sent."""

import contextlib
import hashlib
import io
import queue
import random
import smtplib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
import requests
from mmsc import WAIT_S, Mmsc, bring, deliver, fault, id_of, report, submit_rsp
from PIL import Image
from twilio.rest import Client

AUTH = ("us", "our password")
INBOUND = ("mmsc", "its password")
CARRIER_BYTES_MAX = 200_000
# The first bytes of the file that every scanner knows; written in two so that this file is none.
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR" + rb"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


def picture(width: int, height: int, form: str = "JPEG", seed: int = 1) -> bytes:
    """A picture that does not compress: noise."""
    noise = random.Random(seed).randbytes(width * height * 3)
    out = io.BytesIO()
    Image.frombytes("RGB", (width, height), noise).save(out, form)
    return out.getvalue()


DOT = picture(4, 4, "PNG")


@pytest.fixture
def mmsc() -> Iterator[Mmsc]:
    made = Mmsc(auth=AUTH)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def carrier(server: Any, mmsc: Mmsc) -> Iterator[dict[str, Any]]:
    """An MMSC of the shared server, with a route for numbers of one country only."""
    made = server.operator(
        "/operator/v1/MmsCarriers",
        {
            "name": f"peer {mmsc.url}",
            "url": mmsc.url,
            "username": AUTH[0],
            "password": AUTH[1],
            "vasp_id": "onterms",
            "vas_id": "news",
            "inbound_username": INBOUND[0],
            "inbound_password": INBOUND[1],
            "bytes_max": CARRIER_BYTES_MAX,
            "throttle_s": 0.2,
            "response_s": 3,
        },
    )
    server.operator("/operator/v1/MmsRoutes", {"carrier_sid": made["sid"], "prefix": "4477"})
    yield made
    answer = requests.delete(
        f"{server.url}/operator/v1/MmsCarriers/{made['sid']}",
        headers={"Authorization": f"Bearer {server.operator_key}"},
        timeout=WAIT_S,
    )
    assert answer.status_code == 204


@pytest.fixture
def door(server: Any, carrier: dict[str, Any]) -> str:
    return f"{server.url}{carrier['inbound_path']}"


ABROAD = "+447700900124"


class TestSending:
    def test_a_message_with_a_file_goes_to_the_mmsc_and_its_report_becomes_a_callback(
        self, client: Client, fresh_account: Any, webhook: Any, mmsc: Mmsc, door: str
    ) -> None:
        sent = client.messages.create(
            to=ABROAD,
            from_=fresh_account.number,
            body="Look: 3 < 4 \u2603",
            media_url=[webhook.file("dot", DOT, "image/png"), webhook.file("card", b"BEGIN:VCARD\r\n", "text/vcard")],
            status_callback=webhook.url("/status"),
        )
        assert sent.sid.startswith("MM")
        got = mmsc.submit()
        assert (got.recipient, got.sender, got.transaction_id) == (ABROAD, fresh_account.number, sent.sid)
        assert (got.text("VASPID"), got.text("VASID"), got.text("DeliveryReport")) == ("onterms", "news", "true")
        [text] = got.files("text/plain")
        assert text.data.decode() == "Look: 3 < 4 \u2603"
        assert [part.data for part in got.files("image/", "text/vcard")] == [DOT, b"BEGIN:VCARD\r\n"]
        [smil] = got.files("application/smil")
        assert all(f"cid:{part.content_id}".encode() in smil.data for part in got.files("image/", "text/plain"))
        assert webhook.heard("/status").fields["MessageStatus"] == "sent"
        answer = bring(door, report(id_of(got), ABROAD[1:], fresh_account.number), auth=INBOUND)
        assert (answer.status_code, "DeliveryReportRsp" in answer.text, ">1000<" in answer.text) == (200, True, True)
        assert webhook.heard("/status").fields["MessageStatus"] == "delivered"
        assert client.messages(sent.sid).fetch().num_media == "2"

    @pytest.mark.parametrize(
        ("mm_status", "status", "code"),
        [("Expired", "undelivered", 30003), ("Rejected", "undelivered", 30004), ("Unrecognised", "undelivered", 30011)],
    )
    def test_reports_of_failure_have_their_codes(
        self,
        client: Client,
        fresh_account: Any,
        webhook: Any,
        server: Any,
        mmsc: Mmsc,
        door: str,
        mm_status: str,
        status: str,
        code: int,
    ) -> None:
        sent = client.messages.create(
            to=ABROAD, from_=fresh_account.number, media_url=[webhook.file("dot", DOT, "image/png")]
        )
        got = mmsc.submit()
        assert bring(door, report(id_of(got), ABROAD, "", mm_status), auth=INBOUND).status_code == 200
        server.settle()
        found = client.messages(sent.sid).fetch()
        assert (found.status, found.error_code) == (status, code)

    def test_a_report_that_overtakes_the_answer_counts(
        self, client: Client, fresh_account: Any, webhook: Any, server: Any, mmsc: Mmsc, door: str
    ) -> None:
        def overtaken(got: Any) -> tuple[int, str]:
            assert bring(door, report(id_of(got), ABROAD, ""), auth=INBOUND).status_code == 200
            return mmsc.take(got)

        mmsc.answer = overtaken
        sent = client.messages.create(
            to=ABROAD, from_=fresh_account.number, media_url=[webhook.file("dot", DOT, "image/png")]
        )
        mmsc.submit()
        server.settle()
        assert client.messages(sent.sid).fetch().status == "delivered"

    @pytest.mark.parametrize(
        ("mm7", "code"), [(2002, 30005), (2004, 30019), (3002, 30007), (4007, 30004), (4004, 30008)]
    )
    def test_what_the_mmsc_refuses_fails_with_its_code(
        self, client: Client, fresh_account: Any, webhook: Any, mmsc: Mmsc, door: str, mm7: int, code: int
    ) -> None:
        # In the response for some, as a fault for others.
        mmsc.answer = lambda got: (
            (200, submit_rsp(got.transaction_id, "", mm7)) if mm7 < 4000 else (500, fault(got.transaction_id, mm7))
        )
        client.messages.create(
            to=ABROAD,
            from_=fresh_account.number,
            media_url=[webhook.file("dot", DOT, "image/png")],
            status_callback=webhook.url("/status"),
        )
        heard = webhook.heard("/status").fields
        assert (heard["MessageStatus"], heard["ErrorCode"]) == ("failed", str(code))

    def test_a_busy_mmsc_is_asked_again_and_gets_the_message_once(
        self, client: Client, fresh_account: Any, webhook: Any, server: Any, mmsc: Mmsc, door: str
    ) -> None:
        mmsc.answer = lambda got: (200, submit_rsp(got.transaction_id, "", 4006)) if got.number == 1 else mmsc.take(got)
        sent = client.messages.create(
            to=ABROAD, from_=fresh_account.number, media_url=[webhook.file("dot", DOT, "image/png")]
        )
        mmsc.submit()
        again = None
        for _ in range(20):
            # The pause of the queue is the sandbox's time, the one that the MMSC asked for is the world's.
            server.advance(seconds=6)
            with contextlib.suppress(queue.Empty):
                again = mmsc.submits.get(timeout=0.2)
                break
        assert again is not None and again.transaction_id == sent.sid
        server.settle()
        assert client.messages(sent.sid).fetch().status == "sent"
        assert len(mmsc.seen) == 2

    def test_a_message_whose_answer_is_lost_is_not_sent_again_and_ends_by_its_report(
        self, client: Client, fresh_account: Any, webhook: Any, server: Any, mmsc: Mmsc, door: str
    ) -> None:
        mmsc.answer = lambda got: None
        sent = client.messages.create(
            to=ABROAD, from_=fresh_account.number, media_url=[webhook.file("dot", DOT, "image/png")]
        )
        mmsc.submit()
        server.settle()
        assert client.messages(sent.sid).fetch().status == "sending"
        bring(door, report("a name nobody heard", ABROAD, fresh_account.number), auth=INBOUND)
        server.settle()
        assert client.messages(sent.sid).fetch().status == "delivered"
        assert len(mmsc.seen) == 1

    def test_a_number_without_route_still_reaches_the_simulator(
        self, client: Client, fresh_account: Any, handset: Any, webhook: Any, mmsc: Mmsc, door: str
    ) -> None:
        client.messages.create(
            to=handset.number, from_=fresh_account.number, media_url=[webhook.file("dot", DOT, "image/png")]
        )
        [held] = handset.messages()
        assert requests.get(held["media_urls"][0], timeout=WAIT_S).content == DOT
        assert mmsc.submits.empty()

    def test_a_message_without_files_does_not_go_by_mms(
        self, client: Client, fresh_account: Any, server: Any, mmsc: Mmsc, door: str
    ) -> None:
        client.messages.create(to=ABROAD, from_=fresh_account.number, body="A text")
        server.settle()
        assert mmsc.submits.empty()


class TestReceiving:
    def test_what_a_subscriber_sends_reaches_the_webhook_with_its_files(
        self, fresh_account: Any, sms_webhook: Any, webhook: Any, mmsc: Mmsc, door: str
    ) -> None:
        sms_webhook(("", 204, {}))
        files = [("text/plain; charset=iso-8859-1", "gr\u00fc\u00df".encode("latin-1")), ("image/gif", DOT)]
        kind, body = deliver(ABROAD[1:] + "/TYPE=PLMN", fresh_account.number[1:], files)
        for _ in range(2):
            answer = bring(door, body, kind, auth=INBOUND)
            assert (answer.status_code, "DeliverRsp" in answer.text, ">1000<" in answer.text) == (200, True, True)
        fields = webhook.heard().fields
        assert (fields["From"], fields["Body"], fields["NumMedia"]) == (ABROAD, "gr\u00fc\u00df", "1")
        # What the sender called a GIF is what its bytes are.
        assert fields["MediaContentType0"] == "image/png"
        assert fields["MessageSid"].startswith("MM")
        stored = requests.get(
            fields["MediaUrl0"].replace("https://api.twilio.com", fresh_account.server.url),
            auth=fresh_account.auth,
            timeout=WAIT_S,
        )
        assert stored.content == DOT
        assert webhook.is_quiet()

    def test_an_infected_file_is_left_out(
        self, client: Client, fresh_account: Any, sms_webhook: Any, webhook: Any, mmsc: Mmsc, door: str
    ) -> None:
        sms_webhook(("", 204, {}))
        kind, body = deliver(ABROAD, fresh_account.number, [("application/octet-stream", EICAR), ("image/png", DOT)])
        assert bring(door, body, kind, auth=INBOUND).status_code == 200
        assert webhook.heard().fields["NumMedia"] == "1"

    def test_a_number_of_nobody_is_answered_with_address_not_found(self, mmsc: Mmsc, door: str) -> None:
        kind, body = deliver(ABROAD, "+14155550100", [("image/png", DOT)])
        assert ">2003<" in bring(door, body, kind, auth=INBOUND).text

    def test_who_shows_no_password_brings_nothing(self, fresh_account: Any, mmsc: Mmsc, door: str) -> None:
        kind, body = deliver(ABROAD, fresh_account.number, [("image/png", DOT)])
        assert bring(door, body, kind).status_code == 401
        assert bring(door, body, kind, auth=(INBOUND[0], "guessed")).status_code == 401

    def test_a_carrier_without_inbound_credentials_brings_nothing(self, server: Any, mmsc: Mmsc) -> None:
        made = server.operator("/operator/v1/MmsCarriers", {"name": f"closed {mmsc.url}", "url": mmsc.url})
        assert bring(server.url + made["inbound_path"], report("x", ABROAD, "")).status_code == 403
        assert bring(server.url + made["inbound_path"][:-1] + "0", report("x", ABROAD, "")).status_code in (403, 404)

    def test_what_cannot_be_read_is_answered_with_an_error(self, mmsc: Mmsc, door: str) -> None:
        bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'
        for body in ("no XML", bomb):
            answer = bring(door, body, auth=INBOUND)
            assert (answer.status_code, "VASPErrorRsp" in answer.text, ">4004<" in answer.text) == (200, True, True)


class TestMedia:
    def test_a_picture_over_the_carriers_limit_is_made_smaller_and_stays_a_picture(
        self, client: Client, fresh_account: Any, webhook: Any, server: Any, mmsc: Mmsc, door: str
    ) -> None:
        large = picture(1200, 900)
        assert len(large) > 2 * CARRIER_BYTES_MAX
        sent = client.messages.create(
            to=ABROAD, from_=fresh_account.number, media_url=[webhook.file("large", large, "image/jpeg")]
        )
        [got] = mmsc.submit().files("image/")
        assert len(got.data) <= CARRIER_BYTES_MAX
        made = Image.open(io.BytesIO(got.data))
        assert (made.format, round(made.width / made.height, 1)) == ("JPEG", 1.3)
        # The customer's file stays as it was.
        [media] = client.messages(sent.sid).media.list()
        stored = requests.get(
            fresh_account.url(f"/Messages/{sent.sid}/Media/{media.sid}"), auth=fresh_account.auth, timeout=WAIT_S
        )
        assert stored.content == large

    @pytest.mark.parametrize(
        ("name", "content_type", "data", "code"),
        [
            ("bomb", "image/png", None, 11751),
            ("text", "text/plain", b"Only words", 12300),
            ("page", "image/png", b"<html><script>alert(1)</script>", 12300),
            ("film", "video/mp4", b"\0\0\0\x18ftypmp42" + bytes(600_000), 11751),
            ("empty", "image/png", b"", 63019),
            ("eicar", "image/png", EICAR, 30007),
        ],
    )
    def test_files_that_cannot_be_sent_fail_the_message_with_a_code(
        self,
        client: Client,
        fresh_account: Any,
        webhook: Any,
        mmsc: Mmsc,
        door: str,
        name: str,
        content_type: str,
        data: bytes | None,
        code: int,
    ) -> None:
        if data is None:
            out = io.BytesIO()
            Image.new("1", (30_000, 30_000)).save(out, "PNG")
            data = out.getvalue()
            assert len(data) < 200_000
        client.messages.create(
            to=ABROAD,
            from_=fresh_account.number,
            media_url=[webhook.file(name, data, content_type)],
            status_callback=webhook.url("/status"),
        )
        heard = webhook.heard("/status").fields
        assert (heard["MessageStatus"], heard["ErrorCode"]) == ("failed", str(code))
        assert mmsc.submits.empty()

    def test_a_broken_picture_that_has_to_be_made_smaller_fails_its_message_alone(
        self, client: Client, fresh_account: Any, webhook: Any, mmsc: Mmsc, door: str
    ) -> None:
        broken = picture(40, 40)[:200] + bytes(CARRIER_BYTES_MAX)
        client.messages.create(
            to=ABROAD,
            from_=fresh_account.number,
            media_url=[webhook.file("broken", broken, "image/jpeg")],
            status_callback=webhook.url("/status"),
        )
        heard = webhook.heard("/status").fields
        assert (heard["MessageStatus"], heard["ErrorCode"]) == ("failed", "11751")
        client.messages.create(to=ABROAD, from_=fresh_account.number, media_url=[webhook.file("dot", DOT, "image/png")])
        assert mmsc.submit().files("image/png")[0].data == DOT

    def test_the_media_of_a_message_are_listed_by_date_fetched_and_deleted(
        self, client: Client, fresh_account: Any, handset: Any, webhook: Any, server: Any, refused: Any
    ) -> None:
        url = webhook.file("dot", DOT, "image/png")
        sent = client.messages.create(to=handset.number, from_=fresh_account.number, media_url=[url, url])
        handset.messages()
        media = client.messages(sent.sid).media
        one, two = media.list()
        assert (one.content_type, one.parent_sid, one.account_sid) == ("image/png", sent.sid, fresh_account.sid)
        today, tomorrow = one.date_created, one.date_created + timedelta(days=1)
        assert len(media.list(date_created=today.date())) == 2
        assert media.list(date_created_after=tomorrow.date()) == []
        assert len(media.list(date_created_before=tomorrow.date())) == 2
        assert media(one.sid).delete()
        with refused(20404, 404):
            media(one.sid).fetch()
        # The other one has the same bytes, and keeps them.
        answer = requests.get(
            fresh_account.url(f"/Messages/{sent.sid}/Media/{two.sid}"), auth=fresh_account.auth, timeout=WAIT_S
        )
        assert hashlib.sha256(answer.content).digest() == hashlib.sha256(DOT).digest()

    def test_another_accounts_media_are_not_found(
        self, client: Client, fresh_account: Any, handset: Any, webhook: Any, server: Any
    ) -> None:
        sent = client.messages.create(
            to=handset.number, from_=fresh_account.number, media_url=[webhook.file("dot", DOT, "image/png")]
        )
        handset.messages()
        [media] = client.messages(sent.sid).media.list()
        other = server.make_account(with_number=False)
        path = f"/Messages/{sent.sid}/Media/{media.sid}"
        for url, auth in (
            (other.url(path), other.auth),
            (other.url(path + ".json"), other.auth),
            (fresh_account.url(path), other.auth),
        ):
            assert requests.get(url, auth=auth, timeout=WAIT_S).status_code in (401, 403, 404)
        assert requests.delete(other.url(path + ".json"), auth=other.auth, timeout=WAIT_S).status_code == 404
        assert media.fetch().sid == media.sid


def settings_of(account: Any, **change: Any) -> dict[str, Any]:
    """Change how an account's files are kept; return it."""
    answer = requests.post(
        f"{account.server.url}/commercial/v1/MediaSettings", json=change, auth=account.auth, timeout=WAIT_S
    )
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def send(server: Any, account: Any, webhook: Any) -> tuple[str, str]:
    """Send a picture to the simulator; return the address and the SID of the stored file."""
    url = webhook.file("dot", DOT, "image/png")
    data = {"To": server.handset, "From": account.number, "MediaUrl": url}
    made = requests.post(account.url("/Messages.json"), data=data, auth=account.auth, timeout=WAIT_S).json()
    server.settle()
    path = f"/Messages/{made['sid']}/Media"
    [media] = requests.get(account.url(path + ".json"), auth=account.auth, timeout=WAIT_S).json()["media_list"]
    return account.url(f"{path}/{media['sid']}"), media["sid"]


def test_files_take_credentials_unless_their_account_says_otherwise(
    server: Any, fresh_account: Any, webhook: Any
) -> None:
    address, sid = send(server, fresh_account, webhook)
    assert requests.get(address, timeout=WAIT_S).status_code == 401
    assert settings_of(fresh_account, requires_auth=False) == {"requires_auth": False, "retention_days": None}
    assert requests.get(address, timeout=WAIT_S).content == DOT
    # Only what is there, only the file, and only to look at.
    assert requests.get(address.replace(sid, "ME" + "0" * 32), timeout=WAIT_S).status_code == 401
    assert requests.get(address + ".json", timeout=WAIT_S).status_code == 401
    assert requests.delete(address, timeout=WAIT_S).status_code == 401
    assert settings_of(fresh_account, requires_auth=True)["requires_auth"] is True
    assert requests.get(address, timeout=WAIT_S).status_code == 401


def test_files_older_than_their_account_keeps_them_are_removed(clock_server: Any, webhook: Any) -> None:
    account, other = clock_server.make_account(), clock_server.make_account()
    old, kept = send(clock_server, account, webhook)[0], send(clock_server, other, webhook)[0]
    settings_of(account, retention_days=1)
    clock_server.advance(days=2)
    settings_of(account, retention_days=2)
    assert settings_of(account) == {"requires_auth": True, "retention_days": 2}
    fresh = send(clock_server, account, webhook)[0]
    clock_server.advance(hours=25)
    found = [requests.get(url, auth=who.auth, timeout=WAIT_S) for url, who in ((old, account), (fresh, account))]
    assert [answer.status_code for answer in found] == [404, 200]
    clock_server.advance(hours=36)
    assert requests.get(fresh, auth=account.auth, timeout=WAIT_S).status_code == 404
    assert requests.get(kept, auth=other.auth, timeout=WAIT_S).content == DOT


def test_a_signed_link_expires_with_the_clock_and_cannot_be_made_longer(clock_server: Any, webhook: Any) -> None:
    account = clock_server.make_account()
    address, _ = send(clock_server, account, webhook)
    redirect = requests.get(address, auth=account.auth, timeout=WAIT_S, allow_redirects=False)
    link = redirect.headers["Location"]
    assert requests.get(link, timeout=WAIT_S).content == DOT
    clock_server.advance(hours=49)
    assert requests.get(link, timeout=WAIT_S).status_code == 403
    later = int((datetime.now(UTC) + timedelta(days=400)).timestamp())
    longer = link.partition("?")[0] + f"?expires={later}&" + link.partition("&")[2]
    assert requests.get(longer, timeout=WAIT_S).status_code == 403


def test_a_peer_sends_by_mail_and_the_webhook_hears_it(start_server: Any, webhook: Any) -> None:
    with start_server({"ONTERMS_MM4_PORT": "0"}) as server:
        account = server.make_account()
        webhook.trust(account)
        client = requests.post(
            account.url(f"/IncomingPhoneNumbers/{account.number_sid}.json"),
            data={"SmsUrl": webhook.answers("/mail", ("", 204, {}))},
            auth=account.auth,
            timeout=WAIT_S,
        )
        assert client.status_code == 200
        server.operator(
            "/operator/v1/MmsCarriers",
            {
                "name": "peer",
                "url": "smtp://127.0.0.1:9",
                "protocol": "mm4",
                "mail_from": "mm4@us.example",
                "mail_domain": "them.example",
                "inbound_addresses": ["127.0.0.0/8"],
            },
        )
        mail = EmailMessage()
        mail["From"] = f"{ABROAD}/TYPE=PLMN@them.example"
        mail["To"] = f"{account.number}/TYPE=PLMN@us.example"
        for name, value in (
            ("3GPP-MMS-Version", "6.10.0"),
            ("Message-Type", "MM4_forward.REQ"),
            ("Transaction-ID", "t1"),
            ("Message-ID", "m1@them.example"),
            ("Ack-Request", "No"),
        ):
            mail[f"X-Mms-{name}"] = value
        mail.set_content("From another network")
        mail.add_attachment(DOT, "image", "png")
        host, _, port = server.env["ONTERMS_MM4"].partition(":")
        with smtplib.SMTP(host, int(port), timeout=WAIT_S) as peer:
            peer.sendmail("mm4@them.example", ["mm4@us.example"], mail.as_bytes())
        fields = webhook.heard("/mail").fields
        assert (fields["From"], fields["Body"], fields["NumMedia"]) == (ABROAD, "From another network", "1")
