"""The settings of the SMPP door."""

import ssl
from pathlib import Path

import pytest

from onterms.app.certificates import LocalAuthority
from onterms.app.settings import from_environment
from onterms.app.smpp_door import smpp_context
from onterms.core.errors import ConfigError


def test_the_ports_are_the_usual_ones_unless_they_are_set() -> None:
    assert from_environment({}).smpp_port is None
    settings = from_environment({"ONTERMS_SMPP_PORT": "12775", "ONTERMS_SMPP_TLS_PORT": "13550"})
    assert (settings.smpp_port, settings.smpp_tls_port) == (12775, 13550)


@pytest.mark.parametrize("name", ["ONTERMS_SMPP_TLS_CERT", "ONTERMS_SMPP_TLS_KEY"])
def test_a_certificate_without_its_key_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="go together"):
        from_environment({name: "file.pem"})


def test_a_certificate_of_ones_own_is_used_and_one_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    authority = LocalAuthority(tmp_path / "tls")
    own = {"ONTERMS_SMPP_TLS_CERT": str(tmp_path / "no.pem"), "ONTERMS_SMPP_TLS_KEY": str(tmp_path / "no.key")}
    with pytest.raises(ConfigError, match="ONTERMS_SMPP_TLS_CERT"):
        smpp_context(from_environment(own), authority)
    assert isinstance(smpp_context(from_environment({}), authority), ssl.SSLContext)
    certificate, key = (next((tmp_path / "tls").glob(f"*{kind}*")) for kind in ("ca.pem", "key"))
    own = {"ONTERMS_SMPP_TLS_CERT": str(certificate), "ONTERMS_SMPP_TLS_KEY": str(key)}
    assert smpp_context(from_environment(own), authority).sni_callback is None
