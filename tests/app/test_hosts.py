"""Which hosts are ours, and under which spellings."""

from __future__ import annotations

import pytest

from onterms.app import hosts


class TestHosts:
    @pytest.mark.parametrize(
        ("header", "host"),
        [
            ("api.twilio.com", "api.twilio.com"),
            ("API.Twilio.com:443", "api.twilio.com"),
            ("api.ie1.twilio.com", "api.twilio.com"),
            ("api.dublin.ie1.twilio.com", "api.twilio.com"),
            ("verify.dublin.ie1.twilio.com.", "verify.twilio.com"),
            ("api.sendgrid.com", "api.sendgrid.com"),
            ("api.eu.sendgrid.com", "api.eu.sendgrid.com"),
            ("api.segment.io", "api.segment.io"),
            ("api.segmentapis.com", "api.segmentapis.com"),
            (None, "api.twilio.com"),
            ("", "api.twilio.com"),
            ("localhost:8080", "api.twilio.com"),
            ("127.0.0.1", "api.twilio.com"),
            ("[::1]:8080", "api.twilio.com"),
            ("onterms:8080", "api.twilio.com"),
            ("host.docker.internal:8080", "api.twilio.com"),
            ("api.localhost:8443", "api.twilio.com"),
            ("verify.dublin.localhost:8443", "verify.twilio.com"),
            ("sms.example.org", "api.twilio.com"),
            ("verify.sms.example.org:8443", "verify.twilio.com"),
            ("www.sms.example.org", None),
            ("www.twilio.com", None),
            ("twilio.com", None),
            ("a.b.api.twilio.com", None),
            ("api.twilio.com.evil.example", None),
            ("apitwilio.com", None),
            ("api..twilio.com", None),
            ("evil.example", None),
        ],
    )
    def test_host_header_maps_to_its_canonical_host(self, header: str | None, host: str | None) -> None:
        assert hosts.canonical(header, own_domains=["sms.example.org"]) == host

    def test_local_services_are_not_taken_from_the_application(self) -> None:
        assert not any(
            hosts.is_ours(host) for host in ("localhost", "127.0.0.1", "api.localhost", "db", "www.twilio.com")
        )
        assert all(
            hosts.is_ours(host) for host in ("api.twilio.com", "api.sydney.au1.twilio.com:443", "api.segment.io")
        )

    @pytest.mark.parametrize(
        ("path", "stripped"),
        [
            ("/.twilio.com/2010-04-01/Accounts", "/2010-04-01/Accounts"),
            ("/.twilio.com", "/"),
            ("/.twilio.comx/y", "/.twilio.comx/y"),
            ("/2010-04-01/.twilio.com/x", "/2010-04-01/.twilio.com/x"),
        ],
    )
    def test_region_door_is_stripped_from_the_head_of_a_path_only(self, path: str, stripped: str) -> None:
        assert hosts.strip_region_door(path) == stripped
