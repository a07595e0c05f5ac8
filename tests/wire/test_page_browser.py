"""The first page in Debian's Chromium, against the running server."""

import base64
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from twilio.rest import Client

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

expect = playwright_api.expect
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WAIT_MS = 15_000

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing, so THE FIRST PAGE IS NOT TESTED")

# `gateway` is a name that is not this machine's, for a visitor from elsewhere.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--host-resolver-rules=MAP gateway 127.0.0.1",
]


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """One browser for the tests of this file."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, env=environment)
        yield browser
        browser.close()


@dataclass
class Visit:
    """One visitor's tab, and what the browser complained of in it."""

    context: "BrowserContext"
    page: "Page"
    complaints: list[str] = field(default_factory=list)

    def open(self, url: str) -> "Page":
        self.page.goto(url)
        return self.page

    def open_live(self, url: str) -> "Page":
        page = self.open(url)
        expect(page.locator("#live")).to_have_attribute("data-state", "on")
        return page

    def use_handset(self, number: str) -> None:
        self.page.locator("#handset-number").fill(number)
        self.page.locator("#handset-number").press("Enter")
        expect(self.page.locator("#conversation")).to_have_attribute("data-number", number)


@pytest.fixture
def visit(chromium: "Browser") -> Iterator[Visit]:
    """A fresh visitor; the test fails if the browser's console was not silent."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    visit = Visit(context, context.new_page())
    visit.page.on("console", lambda message: visit.complaints.append(f"{message.type}: {message.text}"))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.on("dialog", lambda dialog: visit.complaints.append(f"dialog: {dialog.message}"))
    yield visit
    context.close()
    assert visit.complaints == []


def send(server: Any, to: str, body: str, **fields: Any) -> str:
    """Send from the first account with the official SDK."""
    client = Client(server.account_sid, server.auth_token)
    sid = client.messages.create(to=to, from_=server.number, body=body, **fields).sid
    assert sid is not None
    return sid


class TestFirstPage:
    def test_a_message_of_the_sdk_rings_on_the_handset_and_shows_in_the_log_live(
        self, server: Any, visit: Visit, handset: Any
    ) -> None:
        page = visit.open_live(server.url)
        visit.use_handset(handset.number)
        sid = send(server, handset.number, "Hello from the SDK")
        expect(page.locator(".bubble[data-kind=in]")).to_contain_text("Hello from the SDK")
        row = page.locator(f".row[data-sid={sid}]")
        expect(row).to_contain_text("delivered")

    def test_what_the_handset_writes_arrives_at_the_account(self, server: Any, visit: Visit, handset: Any) -> None:
        page = visit.open_live(server.url)
        visit.use_handset(handset.number)
        page.locator("#composer-body").fill("A word from outside")
        page.locator("#composer-body").press("Enter")
        expect(page.locator(".bubble[data-kind=out]")).to_contain_text("A word from outside")
        expect(page.locator(".row", has_text=handset.number).first).to_contain_text("A word from outside")
        expect(page.locator("#composer-body")).to_have_value("")
        [inbound] = Client(server.account_sid, server.auth_token).messages.list(from_=handset.number)
        assert (inbound.body, inbound.status, inbound.direction) == ("A word from outside", "received", "inbound")

    def test_the_quick_replies_opt_out_and_in_again(self, server: Any, visit: Visit, handset: Any) -> None:
        page = visit.open_live(server.url)
        visit.use_handset(handset.number)
        page.get_by_role("button", name="STOP", exact=True).click()
        expect(page.locator(".bubble[data-kind=in]")).to_have_count(1)
        expect(page.locator(".bubble[data-kind=in]")).to_contain_text("START")
        page.get_by_role("button", name="START", exact=True).click()
        expect(page.locator(".bubble[data-kind=in]")).to_have_count(2)

    def test_a_message_in_full_shows_its_life_and_the_code_that_repeats_it(
        self, server: Any, visit: Visit, handset: Any
    ) -> None:
        sid = send(server, handset.number, "Look at my life")
        page = visit.open_live(server.url)
        row = page.locator(f".row[data-sid={sid}]")
        row.click()
        detail = page.get_by_role("dialog")
        expect(detail).to_contain_text("Accepted by the API")
        expect(detail).to_contain_text("Delivered to the handset")
        detail.get_by_role("button", name="Python").click()
        expect(detail.locator("#again-code")).to_contain_text('body="Look at my life"')
        assert page.url.endswith(f"#{sid}")
        page.keyboard.press("Escape")
        expect(detail).to_be_hidden()
        expect(row).to_be_focused()

    def test_the_timeline_grows_while_it_is_looked_at(
        self, server: Any, visit: Visit, handset: Any, webhook: Any
    ) -> None:
        webhook.tokens[server.account_sid] = server.auth_token
        webhook.answers("/status", ("<b>no</b>", 500, {}))
        handset.behaves(outcome="delivered", delay_s=3600)
        sid = send(server, handset.number, "Wait for it", status_callback=webhook.url("/status"))
        page = visit.open_live(f"{server.url}/#{sid}")
        detail = page.get_by_role("dialog")
        expect(detail).to_contain_text("Taken by the carrier")
        expect(detail.locator(".timeline")).to_contain_text("HTTP 500")
        expect(detail.locator(".timeline")).to_contain_text("11200")
        detail.get_by_text("Request and answer").first.click()
        expect(detail.locator(".bodies").first).to_contain_text(f"MessageSid: {sid}")
        expect(detail.locator(".bodies").first).to_contain_text("<b>no</b>")
        page.keyboard.press("Escape")
        expect(page.locator("#alerts")).to_contain_text("11200")

    def test_markup_in_a_message_stays_text(self, server: Any, visit: Visit, handset: Any) -> None:
        hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
        page = visit.open_live(server.url)
        visit.use_handset(handset.number)
        sid = send(server, handset.number, hostile)
        expect(page.locator(".bubble[data-kind=in] p")).to_have_text(hostile)
        page.locator(f".row[data-sid={sid}]").click()
        expect(page.locator(".quote p")).to_have_text(hostile)
        assert page.locator("img[src=x]").count() == 0

    def test_filters_narrow_the_log(self, server: Any, visit: Visit, handset: Any) -> None:
        handset.behaves(outcome="undelivered", error_code=30005)
        sid = send(server, handset.number, "Nobody there")
        page = visit.open_live(server.url)
        page.locator("#filter-number").fill(handset.number)
        expect(page.locator(".row")).to_have_count(1)
        expect(page.locator(f".row[data-sid={sid}]")).to_contain_text("30005")
        page.locator("#filter-status").select_option("delivered")
        expect(page.locator("#log-empty")).to_contain_text("No message fits the filter")
        page.get_by_role("button", name="Clear the filter").click()
        expect(page.locator(f".row[data-sid={sid}]")).to_be_visible()

    def test_the_auth_token_is_hidden_until_it_is_shown(self, server: Any, visit: Visit) -> None:
        page = visit.open_live(server.url)
        assert server.auth_token not in page.content()
        page.get_by_role("button", name="Show Auth token").click()
        expect(page.locator("[data-secret=auth_token]")).to_have_text(server.auth_token)
        page.get_by_role("button", name="Hide Auth token").click()
        expect(page.locator("[data-secret=auth_token]")).not_to_contain_text(server.auth_token)

    def test_the_clock_moves_an_hour(self, clock_server: Any, visit: Visit) -> None:
        page = visit.open_live(clock_server.url)
        before_s = clock_server.clock(advance_s=0)["offset_s"]
        page.get_by_role("button", name="+1 h").click()
        expect(page.locator("#toasts")).to_contain_text("The clock moved")
        assert clock_server.clock(advance_s=0)["offset_s"] == pytest.approx(before_s + 3600, abs=60)
        expect(page.locator("#clock-offset")).to_be_visible()

    def test_a_picture_reaches_the_handset_and_is_shown(
        self, server: Any, visit: Visit, handset: Any, webhook: Any
    ) -> None:
        # The smallest GIF there is: one white point.
        gif = base64.b64decode("R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs=")
        page = visit.open_live(server.url)
        visit.use_handset(handset.number)
        page.locator("#composer-file").set_input_files({"name": "dot.gif", "mimeType": "image/gif", "buffer": gif})
        expect(page.locator("#attached img")).to_be_visible()
        page.locator(".round").click()
        expect(page.locator(".bubble[data-kind=out] img")).to_be_visible()
        row = page.locator(".row", has_text=handset.number).first
        expect(row).to_contain_text("1 attachment")
        row.click()
        shown = page.locator(".quote img")
        expect(shown).to_be_visible()
        page.wait_for_function("document.querySelector('.quote img').naturalWidth === 1")

    @pytest.mark.parametrize("width", [360, 390, 768, 1024, 1440])
    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_nothing_hangs_over_the_edge(self, server: Any, visit: Visit, handset: Any, width: int, theme: Any) -> None:
        send(server, handset.number, "w" * 300)
        visit.page.emulate_media(color_scheme=theme)
        visit.page.set_viewport_size({"width": width, "height": 800})
        page = visit.open_live(server.url)
        visit.use_handset(handset.number)
        expect(page.locator(".bubble")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.locator(".row").first.click()
        expect(page.locator(".timeline")).to_be_visible()
        assert page.evaluate("document.getElementById('detail').scrollWidth <= innerWidth")
        assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light dark"

    def test_every_control_has_a_name(self, server: Any, visit: Visit, handset: Any) -> None:
        send(server, handset.number, "Named")
        page = visit.open_live(server.url)
        visit.use_handset(handset.number)
        page.locator(".row").first.click()
        expect(page.locator(".timeline")).to_be_visible()
        nameless = page.evaluate(
            """[...document.querySelectorAll("button, input, select, textarea, a, summary")]
              .filter((one) => !(one.textContent.trim() || one.ariaLabel || one.labels?.length))
              .map((one) => one.outerHTML)"""
        )
        assert nameless == []


class TestVisitorFromElsewhere:
    def test_the_operator_key_opens_the_page_until_signing_out(self, server: Any, visit: Visit) -> None:
        page = visit.open(re.sub("//[^:/]+", "//gateway", server.url))
        expect(page.get_by_role("heading", name="onterms")).to_be_visible()
        assert server.account_sid not in page.content()
        page.get_by_label("Operator key").fill("not the key")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("not the operator key")
        # The browser itself notes every answer of 401.
        assert len(visit.complaints) == 1 and "401" in visit.complaints.pop()
        page.get_by_label("Operator key").fill(server.operator_key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#live")).to_have_attribute("data-state", "on")
        expect(page.locator("#keys-heading")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Operator key")).to_be_visible()
