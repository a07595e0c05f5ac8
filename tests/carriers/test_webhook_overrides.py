"""Connection overrides in a URL's fragment: their bounds and what is ignored."""

import pytest

from onterms.carriers.webhook.overrides import DEFAULTS, Overrides, parse_overrides


def test_no_fragment_means_twilios_defaults() -> None:
    assert parse_overrides("") == Overrides(
        connect_s=5.0, read_s=15.0, total_s=15.0, retries=1, retry_on=frozenset({"ct"})
    )


def test_every_override_is_read() -> None:
    assert parse_overrides("ct=100&rt=200&tt=300&rc=5&rp=4xx,RT&sni=y&e=ashburn,sao-paulo") == Overrides(
        connect_s=0.1,
        read_s=0.2,
        total_s=0.3,
        retries=5,
        retry_on=frozenset({"4xx", "rt"}),
        sni=True,
        edges=("ashburn", "sao-paulo"),
    )


@pytest.mark.parametrize("fragment", ["ct=100", "ct=10000", "rt=100", "rt=15000", "tt=15000", "rc=0", "rc=5"])
def test_bounds_themselves_hold(fragment: str) -> None:
    name, _, value = fragment.partition("=")
    read = parse_overrides(fragment)
    assert {"ct": read.connect_s, "rt": read.read_s, "tt": read.total_s, "rc": read.retries / 1000}[name] == (
        int(value) / 1000
    )


@pytest.mark.parametrize(
    "fragment",
    [
        "ct=99", "ct=10001", "rt=99", "rt=15001", "tt=0", "tt=15001", "rc=6", "rc=-1", "rc=1.5", "ct=", "ct=abc",
        "ct=\u0661\u0660\u0660\u0660", "ct=1e3", "rc=99999999999999999999", "section-2", "unknown=1", "sni=maybe",
        "&&&", "=",
    ],
)  # fmt: skip
def test_value_out_of_bounds_is_ignored(fragment: str) -> None:
    assert parse_overrides(fragment) == DEFAULTS


@pytest.mark.parametrize(
    ("fragment", "code"), [("rp=never", 11243), ("rp=ct,never", 11243), ("rp=", 11243), ("e=a b", 11240)]
)
def test_malformed_policy_and_edge_are_ignored_with_a_warning(fragment: str, code: int) -> None:
    read = parse_overrides(fragment)
    assert [warned for warned, _ in read.warnings] == [code]
    assert (read.retry_on, read.edges, read.retries) == (DEFAULTS.retry_on, (), 1)


def test_all_names_every_failure() -> None:
    assert parse_overrides("rp=all").retry_on == {"ct", "rt", "4xx", "5xx"}
