"""A Messaging Service's files become links where no MMS gets through."""

from datetime import UTC, datetime
from typing import Any

import pytest

from onterms.products.messaging.model.pool import PoolSender
from onterms.products.messaging.service import pool, prepare, send

ACCOUNT, SERVICE = "AC" + "1" * 32, "MG" + "1" * 32
FILES = ("https://files.example/one.png", "https://files.example/two.png")


def prepared(*, carried: bool, converts: bool, can_mms: bool = True) -> send.Draft:
    settings: Any = {**pool.DEFAULTS, "mms_converter": converts, "shortens_links": False}
    sender = PoolSender("PN1", "+14155550123", "phone_number", "US", 0, can_mms=can_mms)
    domain: Any = {"continue_on_failure": False, "disable_https": False, "domain_name": None}
    found = prepare.Found(
        pools={(ACCOUNT, SERVICE): pool.Pool(settings, (sender,))},
        domains={ACCOUNT: domain},
        carries_files=lambda recipient: carried,
    )
    draft = send.Draft(ACCOUNT, "+14155550199", "", "Look", datetime(2026, 1, 1, tzinfo=UTC), media_urls=FILES)
    params = {"MessagingServiceSid": SERVICE}
    return prepare.prepare(draft, params, found, lambda code: f"https://links.example/l/{code}")


@pytest.mark.parametrize("can_mms", [True, False])
def test_without_a_way_for_files_links_go_as_a_text(can_mms: bool) -> None:
    draft = prepared(carried=False, converts=True, can_mms=can_mms)
    assert (draft.media_urls, [link.link for link in draft.links]) == ((), list(FILES))
    assert draft.body == "\n".join(["Look", *(link.short_link for link in draft.links)])
    # Counted and billed as what it is.
    assert send.compose(draft).sid.startswith("SM")


def test_with_a_way_for_files_they_stay_files() -> None:
    assert prepared(carried=True, converts=True).media_urls == FILES


def test_a_service_that_does_not_convert_keeps_files_and_leaves_the_refusal_to_the_carrier() -> None:
    assert prepared(carried=False, converts=False).media_urls == FILES
