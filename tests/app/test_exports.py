"""The environment that `onterms env` prints."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from onterms.app.exports import exports, shell


class TestExports:
    def test_shell_reads_back_every_value_unchanged(self) -> None:
        values = {"A": 'it\'s $HOME `x` "y"', "B_1": "two\nlines", "C": ""}
        program = shell(values) + 'printf "%s|" "$A" "$B_1" "$C"'
        assert subprocess.run(["sh", "-c", program], capture_output=True, text=True).stdout == (
            values["A"] + "|" + values["B_1"] + "||"
        )

    @pytest.mark.parametrize("values", [{"A B": "x"}, {"A;rm": "x"}, {"1A": "x"}, {"A": "x\0y"}, {"A\n": "x"}])
    def test_what_no_shell_can_hold_is_refused(self, values: dict[str, str]) -> None:
        with pytest.raises(ValueError):
            shell(values)

    def test_proxy_is_plain_http_in_both_spellings(self) -> None:
        made = exports(proxy_port=8081, ca=Path("/d/ca.pem"), bundle=Path("/d/bundle.pem"))
        assert {made[name] for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")} == {
            "http://127.0.0.1:8081"
        }
        assert made["NO_PROXY"] == made["no_proxy"] == "localhost,127.0.0.1,::1"
        assert made["REQUESTS_CA_BUNDLE"] == made["SSL_CERT_FILE"] == "/d/bundle.pem"
        assert made["NODE_EXTRA_CA_CERTS"] == "/d/ca.pem"
        assert "TWILIO_AUTH_TOKEN" not in made
