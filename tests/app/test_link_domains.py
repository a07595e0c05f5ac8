"""Where names lead, by the machine's own resolver."""

from onterms.app.link_domains import SystemNames


async def test_name_with_an_address_of_this_install_leads_here() -> None:
    assert await SystemNames("http://127.0.0.1:8080").leads_here("localhost") == ""


async def test_name_without_an_address_or_with_another_does_not() -> None:
    names = SystemNames("http://127.0.0.1:8080")
    # RFC 6761 6.4: no resolver knows it. An overlong label is no name at all.
    assert await names.leads_here("nowhere.invalid") == "nowhere.invalid has no address"
    assert await names.leads_here("a" * 80 + ".example") == "a" * 80 + ".example has no address"
    assert await SystemNames("http://127.0.0.9").leads_here("localhost") == "localhost does not lead to 127.0.0.9"
