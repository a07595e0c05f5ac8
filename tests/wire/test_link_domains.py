"""Customers' own short domains: a certificate uploaded, links shortened and followed under its name."""

import socket
import ssl
import urllib.parse
from datetime import UTC, datetime

import pytest
import requests
from chains import Authority

WAIT_S = 10


@pytest.fixture
def domain(client, fresh_account):
    """The account's domain, with a service that shortens by it."""
    service = client.messaging.v1.services.create(friendly_name="Links")
    client.messaging.v1.services(service.sid).phone_numbers.create(phone_number_sid=fresh_account.number_sid)
    found = client.messaging.v1.linkshortening_messaging_service_domain_association(service.sid).fetch()
    return service.sid, found.domain_sid


@pytest.fixture
def name(fresh_account):
    """A name nobody else uses."""
    return f"go-{fresh_account.sid[-8:].lower()}.example"


def visit(server, name, path, authority):
    """Ask for a path at the TLS door under a name, as who trusts the authority does; return status and headers."""
    context = ssl.create_default_context(cadata=authority.pem)
    with (
        socket.create_connection(("127.0.0.1", server.tls_port), timeout=WAIT_S) as plain,
        context.wrap_socket(plain, server_hostname=name) as tls,
    ):
        tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while data := tls.recv(65536):
            answer += data
    head = answer.partition(b"\r\n\r\n")[0].decode()
    lines = head.split("\r\n")
    return int(lines[0].split()[1]), {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}


def until_served(server, name, path, authority):
    # The door hears of a certificate by notification, within milliseconds of its commit.
    deadline = datetime.now(UTC).timestamp() + WAIT_S
    while True:
        try:
            return visit(server, name, path, authority)
        except (ssl.SSLError, ConnectionError):
            assert datetime.now(UTC).timestamp() < deadline, "the name is not served"


def test_links_are_shortened_and_followed_under_the_domain(server, client, handset, domain, name):
    service_sid, domain_sid = domain
    authority = Authority()
    key, certificate = authority.chain(name)
    shown = client.messaging.v1.domain_certs(domain_sid).update(tls_cert=key + certificate)
    assert (shown.domain_name, shown.domain_sid, shown.date_expires.year) == (f"https://{name}", domain_sid, 2090)
    assert shown.certificate_sid.startswith("CW")
    fetched = client.messaging.v1.domain_certs(domain_sid).fetch()
    assert fetched.certificate_sid == shown.certificate_sid
    assert client.messaging.v2.domain_certs(domain_sid).fetch().managed is False
    assert client.messaging.v1.domain_validate_dns(domain_sid).fetch().is_valid is True
    client.messages.create(
        messaging_service_sid=service_sid, to=handset.number, body="See https://example.com/offer", shorten_urls=True
    )
    [body] = handset.bodies()
    link = urllib.parse.urlsplit(body.removeprefix("See "))
    assert (link.scheme, link.hostname, len(link.path)) == ("https", name, 11)
    status, headers = until_served(server, name, link.path, authority)
    assert (status, headers["location"]) == (302, "https://example.com/offer")
    assert visit(server, name, "/nothinghere", authority)[0] == 404
    assert visit(server, name, "/2010-04-01/Accounts.json", authority)[0] == 404
    client.messaging.v1.domain_config(domain_sid).update(fallback_url="https://example.com/lost")
    status, headers = visit(server, name, "/nothinghere", authority)
    assert (status, headers["location"]) == (302, "https://example.com/lost")


def test_without_a_certificate_there_is_none_and_the_installs_address_is_used(client, handset, domain, name, refused):
    service_sid, domain_sid = domain
    with refused(20404, 404):
        client.messaging.v1.domain_certs(domain_sid).fetch()
    validation = client.messaging.v1.domain_validate_dns(domain_sid).fetch()
    assert validation.is_valid is False and "certificate" in validation.reason
    client.messaging.v1.domain_certs(domain_sid).update(tls_cert="".join(Authority().chain(name)))
    assert client.messaging.v1.domain_certs(domain_sid).delete()
    with refused(20404, 404):
        client.messaging.v1.domain_certs(domain_sid).fetch()
    client.messages.create(
        messaging_service_sid=service_sid, to=handset.number, body="https://example.com/offer", shorten_urls=True
    )
    assert "/l/" in handset.bodies()[0]


def test_name_that_leads_elsewhere_is_told(client, domain, name):
    _, domain_sid = domain
    client.messaging.v1.domain_certs(domain_sid).update(tls_cert="".join(Authority().chain(f"nowhere.{name}")))
    validation = client.messaging.v1.domain_validate_dns(domain_sid).fetch()
    assert (validation.is_valid, validation.reason) == (False, f"nowhere.{name} has no address")


def test_wrong_uploads_have_their_codes(client, domain, name, refused):
    _, domain_sid = domain
    authority = Authority()
    key, certificate = authority.chain(name)
    other_key, _ = authority.chain(name)
    old = authority.chain(name, until=datetime(2021, 1, 1, tzinfo=UTC))
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    for code, text in (
        (30116, certificate),
        (30116, key),
        (30117, key + broken),
        (30118, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" + certificate),
        (30119, other_key + certificate),
        (30129, "".join(authority.chain(name, self_signed=True))),
        (30132, "".join(old)),
        (30132, "".join(authority.chain("api.twilio.com"))),
        (30132, "".join(authority.chain("*.example.com"))),
    ):
        with refused(code):
            client.messaging.v1.domain_certs(domain_sid).update(tls_cert=text)
    with refused(20404, 404):
        client.messaging.v1.domain_certs(domain_sid).fetch()


def test_domain_is_one_accounts(server, client, domain, name, refused):
    _, domain_sid = domain
    upload = "".join(Authority().chain(name))
    client.messaging.v1.domain_certs(domain_sid).update(tls_cert=upload)
    stranger = server.make_account("Stranger", with_number=False).client()
    service = stranger.messaging.v1.services.create(friendly_name="Theirs")
    theirs = stranger.messaging.v1.linkshortening_messaging_service_domain_association(service.sid).fetch().domain_sid
    with refused(20001):
        stranger.messaging.v1.domain_certs(theirs).update(tls_cert=upload)
    for ask in (
        stranger.messaging.v1.domain_certs(domain_sid).fetch,
        stranger.messaging.v1.domain_validate_dns(domain_sid).fetch,
        stranger.messaging.v1.domain_certs(domain_sid).delete,
    ):
        with refused(20404, 404):
            ask()


def test_managed_certificate_is_not_served(server, fresh_account, domain):
    _, domain_sid = domain
    answer = requests.post(
        f"{server.url}/v1/LinkShortening/Domains/{domain_sid}/RequestManagedCert",
        headers={"Host": "messaging.twilio.com"},
        auth=fresh_account.auth,
        timeout=WAIT_S,
    )
    assert answer.status_code == 501
