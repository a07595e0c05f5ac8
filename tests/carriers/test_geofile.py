"""The operator's file of networks."""

from pathlib import Path

import pytest

from onterms.carriers.geofile import GeoFile
from onterms.core.errors import ConfigError


def made(tmp_path: Path, text: str) -> GeoFile:
    path = tmp_path / "places.csv"
    path.write_text(text)
    return GeoFile(path)


def test_an_address_is_found_in_its_network_and_nowhere_else(tmp_path: Path) -> None:
    geo = made(
        tmp_path, "network,country,subdivision\n# ours\n192.0.2.0/25,UA,43\n192.0.2.128/25,UA\n2001:db8::/32,FR,\n"
    )
    assert geo("192.0.2.0") == geo("192.0.2.127") == ("UA", "43")
    assert geo("192.0.2.128") == ("UA", "")
    assert geo("::ffff:192.0.2.5") == ("UA", "43")
    assert geo("2001:db8::1") == ("FR", "")
    assert geo("192.0.1.255") is geo("192.0.3.0") is geo("2001:db9::") is geo("no address") is None


@pytest.mark.parametrize("text", ["192.0.2.1/24,UA\n", "192.0.2.0/24\n", "192.0.2.0/24,UA\n192.0.2.8/29,FR\n"])
def test_a_file_that_says_something_else_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="ONTERMS_GEO"):
        made(tmp_path, text)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ONTERMS_GEO"):
        GeoFile(tmp_path / "nothing")
