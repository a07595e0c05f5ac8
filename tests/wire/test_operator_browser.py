"""The operator's pages in Debian's Chromium, against the running server: coming in, looking around, deciding."""

import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import requests

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

expect = playwright_api.expect
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WAIT_MS = 30_000
WAIT_S = 30
DAY_S = 86_400

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing, so THE OPERATOR'S PAGES ARE NOT TESTED")

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
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"

# What a page must not have: things beside it, controls without names, headings that skip a level.
FLAWS = """() => ({
  over: document.documentElement.scrollWidth - innerWidth,
  nameless: [...document.querySelectorAll("button, input:not([type=hidden]), select, textarea, a, summary")]
    .filter((one) => !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).map((one) => one.outerHTML),
  skips: [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((one) => Number(one.tagName[1]))
    .filter((level, place, all) => level > (all[place - 1] ?? 0) + 1),
  tops: document.querySelectorAll("h1").length,
})"""


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
    """One person's tab, and what the browser complained of in it."""

    context: "BrowserContext"
    page: "Page"
    url: str
    key: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> "Page":
        self.page.goto(self.url + path)
        return self.page

    def sign_in(self, path: str = "/operator/") -> "Page":
        page = self.open(path)
        page.get_by_label("Operator key").fill(self.key)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        return page

    def refused(self, status: int) -> None:
        """Forget that the browser noted one answer of this status, as it does by itself."""
        assert len(self.complaints) == 1 and str(status) in self.complaints.pop()


@pytest.fixture
def arrive(chromium: "Browser", clock_server: Any) -> Iterator[Callable[..., Visit]]:
    """Let somebody open a browser of their own; the test fails if a console was not silent."""
    made: list[Visit] = []
    expect.set_options(timeout=WAIT_MS)

    def come(width: int = 1440, theme: Any = "light", host: str | None = None) -> Visit:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        context.set_default_timeout(WAIT_MS)
        url = clock_server.url if host is None else re.sub("//[^:/]+", f"//{host}", clock_server.url)
        visit = Visit(context, context.new_page(), url, clock_server.operator_key)
        visit.page.on("console", lambda message: visit.complaints.append(f"{message.type}: {message.text}"))
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visit.page.on("dialog", lambda dialog: visit.complaints.append(f"dialog: {dialog.message}"))
        made.append(visit)
        return visit

    yield come
    for visit in made:
        visit.context.close()
    assert [visit.complaints for visit in made if visit.complaints] == []


@pytest.fixture
def visit(arrive: Callable[..., Visit]) -> Visit:
    """Somebody in front of a large screen."""
    return arrive()


@dataclass
class Office:
    """What the operator does by the API, to have something to look at."""

    server: Any

    def ask(self, method: str, path: str, body: Any = None, auth: Any = None, **query: str) -> Any:
        headers = {} if auth else {"Authorization": f"Bearer {self.server.operator_key}"}
        answer = requests.request(
            method,
            f"{self.server.url}/commercial/v1{path}",
            json=body,
            params=query,
            auth=auth,
            headers=headers,
            timeout=WAIT_S,
        )
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def sign_up(self, name: str, country: str = "US") -> dict[str, Any]:
        version = requests.get(f"{self.server.url}/legal/tos", timeout=WAIT_S).headers["X-Version-Sid"]
        application = {
            "organization_name": name,
            "country": country,
            "org_type": "corporate",
            "use": "business",
            "email": "owner@signed-up.example",
            "signer_name": "Ann Example",
            "signer_role": "director",
            "authority": True,
            "compliance": True,
            "no_antisocial_forces": True,
            "accepted_version": version,
        }
        answer = requests.post(f"{self.server.url}/commercial/v1/SignUps", json=application, timeout=WAIT_S)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        sid = made["customer"]["sid"]
        return made | {"sid": sid, "base": f"/operator/customers/{sid}"}


@pytest.fixture(scope="module")
def office(clock_server: Any) -> Office:
    return Office(clock_server)


@pytest.fixture
def disputed(office: Office) -> dict[str, Any]:
    """A customer that was invoiced for messages and disputes a part of the invoice."""
    return make_disputed(office)


@pytest.fixture(scope="module")
def seen(office: Office) -> dict[str, Any]:
    """One more such customer, only to look at."""
    return make_disputed(office)


def make_disputed(office: Office) -> dict[str, Any]:
    """Invoice a customer for messages and let it dispute a part of the invoice."""
    clock_server = office.server
    customer = office.sign_up("Müller & Söhne", "DE")
    sid, auth = customer["sid"], (customer["account_sid"], customer["auth_token"])
    application = office.ask("POST", "/InvoicingApplications", {"note": "by the month"}, auth)
    decision = {"decision": "approve", "credit_limit": "500.00", "customer_sid": sid}
    office.ask("POST", f"/InvoicingApplications/{application['sid']}/Decision", decision)
    office.ask("POST", "/PaymentMethods", {"kind": "invoice"}, auth)
    contact = {"customer_sid": sid, "kind": "legal", "address": "legal@signed-up.example", "name": "Jo Example"}
    legal = office.ask("POST", "/Contacts", contact)
    account = f"{clock_server.url}/2010-04-01/Accounts/{auth[0]}"
    free = requests.get(f"{account}/AvailablePhoneNumbers/US/Local.json", auth=auth, timeout=WAIT_S).json()
    sender = free["available_phone_numbers"][0]["phone_number"]
    bought = requests.post(
        f"{account}/IncomingPhoneNumbers.json", data={"PhoneNumber": sender}, auth=auth, timeout=WAIT_S
    )
    assert bought.status_code == 201, bought.text
    for _ in range(3):
        message = {"From": sender, "To": clock_server.make_handset().number, "Body": "x" * 1530}
        sent = requests.post(f"{account}/Messages.json", data=message, auth=auth, timeout=WAIT_S)
        assert sent.status_code == 201, sent.text
    clock_server.settle()
    invoices: list[Any] = []
    for _ in range(8):
        clock_server.clock(advance_s=5 * DAY_S)
        invoices = office.ask("GET", "/Invoices", customer_sid=sid)["items"]
        if invoices:
            break
    # The stock of numbers is finite.
    requests.delete(f"{account}/IncomingPhoneNumbers/{bought.json()['sid']}.json", auth=auth, timeout=WAIT_S)
    invoice = office.ask("GET", f"/Invoices/{invoices[0]['sid']}", customer_sid=sid)
    lines = [line for section in invoice["sections"] for line in section["lines"] if line["kind"] == "fee"]
    filed = office.ask(
        "POST",
        "/Disputes",
        {
            "contact_sid": legal["sid"],
            "invoice_sid": invoice["sid"],
            "lines": [{"ref": lines[0]["ref"], "amount": "0.05"}],
            "reason": "Five segments were sent twice.",
        },
        auth,
    )
    return customer | {"invoice": invoice, "dispute": filed, "line": lines[0]}


def move_30_days(page: "Page") -> None:
    """Press the button, again where there was too much to do for one go."""
    for _ in range(5):
        # It answers when the clock has arrived, or after 25 s.
        page.get_by_role("button", name="30 days").click(timeout=60_000)
        told = page.get_by_role("status")
        expect(told).to_contain_text("The clock moved")
        if told.inner_text() == "The clock moved.":
            return
    raise AssertionError("the clock did not get there")


class TestComingIn:
    def test_wrong_key_is_refused_and_too_many_of_them_wait_while_the_right_one_opens(
        self, arrive: Callable[..., Visit], clock_server: Any
    ) -> None:
        visit = arrive()
        page = visit.open("/operator/timers")
        page.get_by_label("Operator key").fill("not the key")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("not the operator key")
        visit.refused(401)
        guesses = [
            requests.post(f"{clock_server.url}/operator/sign-in", data={"operator_key": "guess"}, timeout=WAIT_S)
            for _ in range(11)
        ]
        assert guesses[-1].status_code == 429 and int(guesses[-1].headers["Retry-After"]) > 0
        assert "Set-Cookie" not in guesses[-1].headers
        page.get_by_label("Operator key").fill(clock_server.operator_key)
        page.get_by_role("button", name="Sign in").click()
        # Where one wanted to go.
        expect(page.get_by_role("heading", level=1)).to_have_text("Timers")

    def test_session_is_kept_from_scripts_and_other_sites_and_ends_with_signing_out(self, visit: Visit) -> None:
        page = visit.sign_in()
        [cookie] = visit.context.cookies()
        assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("onterms_session", True, "Strict")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Operator key")).to_be_visible()
        assert visit.context.cookies() == []
        visit.open("/operator/customers")
        expect(page.get_by_label("Operator key")).to_be_visible()

    @pytest.mark.parametrize("host", [None, "gateway"])
    def test_browser_without_a_session_sees_the_sign_in_only_on_this_machine_too(
        self, arrive: Callable[..., Visit], office: Office, host: str | None
    ) -> None:
        arrive().sign_in()
        customer = office.sign_up("Nobody else's business")
        stranger = arrive(host=host)
        for path in ("/operator/", "/operator/customers", customer["base"], "/operator/timers"):
            page = stranger.open(path)
            expect(page.get_by_label("Operator key")).to_be_visible()
            assert "Nobody else" not in page.content()

    def test_session_from_another_machine_opens_the_pages(self, arrive: Callable[..., Visit]) -> None:
        page = arrive(host="gateway").sign_in()
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")

    def test_sign_in_leads_nowhere_else(self, clock_server: Any) -> None:
        for path in ("https://elsewhere.example/", "//elsewhere.example/", "/operator/\\elsewhere", "/"):
            answer = requests.post(
                f"{clock_server.url}/operator/sign-in",
                data={"operator_key": clock_server.operator_key, "next": path},
                timeout=WAIT_S,
                allow_redirects=False,
            )
            assert (answer.status_code, answer.headers["Location"]) == (303, "/operator/")

    def test_form_without_its_token_is_refused_and_does_nothing(
        self, arrive: Callable[..., Visit], clock_server: Any
    ) -> None:
        visit = arrive()
        visit.sign_in("/operator/timers")
        other = arrive().sign_in("/operator/timers")
        foreign = other.locator("input[name=token]").first.get_attribute("value")
        before = clock_server.clock(advance_s=0)["offset_s"]
        [cookie] = visit.context.cookies()
        for token in ({}, {"token": ""}, {"token": foreign}):
            answer = requests.post(
                f"{clock_server.url}/operator/timers/clock",
                data={"by": "30 d", **token},
                cookies={cookie["name"]: cookie["value"]},
                timeout=WAIT_S,
            )
            assert answer.status_code == 403
            assert "did not come from your session" in answer.text
        assert clock_server.clock(advance_s=0)["offset_s"] == pytest.approx(before, abs=60)

    def test_other_sites_form_is_refused_though_the_browser_sends_the_cookie(
        self, visit: Visit, clock_server: Any
    ) -> None:
        page = visit.sign_in("/operator/timers")
        token = page.locator("input[name=token]").first.get_attribute("value")
        [cookie] = visit.context.cookies()
        answer = requests.post(
            f"{clock_server.url}/operator/timers/clock",
            data={"by": "1 h", "token": token},
            headers={"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"},
            cookies={cookie["name"]: cookie["value"]},
            timeout=WAIT_S,
        )
        assert (answer.status_code, "Sign in to do that" in answer.text) == (401, True)

    def test_pages_forbid_what_they_do_not_need(self, clock_server: Any) -> None:
        answer = requests.get(f"{clock_server.url}/operator/", timeout=WAIT_S)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["Cache-Control"] == "no-store"


class TestLookingAround:
    @pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (1024, "dark"), (390, "dark")])
    def test_every_page_is_whole_at_every_width(
        self, arrive: Callable[..., Visit], seen: dict[str, Any], office: Office, width: int, theme: str
    ) -> None:
        visit = arrive(width, theme)
        page = visit.sign_in()
        base, invoice = seen["base"], seen["invoice"]
        proposal = {
            "customer_sid": seen["sid"],
            "event": "propose",
            "scope": "customer",
            "ground": "aup",
            "determination": "w" * 300,
        }
        case = office.ask("POST", "/Suspensions", proposal)
        [document] = [one for one in office.ask("GET", "/Documents")["items"] if one["name"] == "tos"]
        version = office.ask("GET", "/Versions", document="tos")["items"][0]
        for path in (
            "/operator/",
            "/operator/customers",
            "/operator/customers?q=nobody+is+called+so",
            base,
            f"{base}/notices/{invoice['notice_sid']}",
            f"{base}/suspend",
            "/operator/invoices",
            "/operator/invoices?state=open",
            f"{base}/invoices/{invoice['sid']}",
            "/operator/disputes",
            f"{base}/disputes/{seen['dispute']['sid']}",
            "/operator/cases",
            "/operator/cases?kind=suspension&state=ended",
            f"{base}/cases/{case['sid']}",
            "/operator/agreements",
            f"/operator/agreements/{document['name']}",
            f"/operator/agreements/{document['name']}/{version['sid']}",
            "/operator/timers",
            "/operator/prices",
            "/operator/prices/order-forms",
        ):
            visit.open(path)
            expect(page.get_by_text("The same by API")).to_be_visible()
            assert page.evaluate(FLAWS) == {"over": 0, "nameless": [], "skips": [], "tops": 1}, path

    def test_customer_is_found_and_shown_with_its_agreement_money_and_history(
        self, visit: Visit, seen: dict[str, Any]
    ) -> None:
        page = visit.sign_in("/operator/customers")
        page.get_by_label("Search").fill(seen["account_sid"])
        page.get_by_role("button", name="Show").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        page.get_by_role("link", name="Müller & Söhne").click()
        expect(page.locator("#agreement")).to_contain_text("England and Wales")
        expect(page.locator("#agreement")).to_contain_text("director, with authority")
        expect(page.locator("#invoices")).to_contain_text(seen["invoice"]["number"])
        expect(page.locator("#disputes")).to_contain_text(seen["invoice"]["number"])
        page.get_by_text("The same by API").click()
        expect(page.locator(".same")).to_contain_text('curl -H "Authorization: Bearer $ONTERMS_OPERATOR_KEY"')
        assert visit.key not in page.content()

    def test_invoice_shows_its_amounts_as_people_write_them_and_its_files(
        self, visit: Visit, seen: dict[str, Any]
    ) -> None:
        invoice = seen["invoice"]
        path = f"{seen['base']}/invoices/{invoice['sid']}"
        page = visit.sign_in(path)
        expect(page.locator(".tile").first).to_have_text(re.compile(rf"{invoice['total']}\s{invoice['currency']}"))
        expect(page.get_by_role("main")).to_contain_text("30 segments")
        xml = visit.context.request.get(f"{visit.url}{path}/xml")
        assert xml.status == 200 and invoice["number"] in xml.text()
        assert xml.headers["content-disposition"].startswith("attachment")
        pdf = visit.context.request.get(f"{visit.url}{path}/pdf")
        # The printer is an extra of its own.
        expected = 200 if importlib.util.find_spec("typst") else 501
        assert pdf.status == expected
        assert (pdf.body()[:4] == b"%PDF") is (expected == 200)

    def test_yen_have_no_decimals(self, visit: Visit, office: Office) -> None:
        customer = office.sign_up("Edo Post", "JP")
        form = {
            "customer_sid": customer["sid"],
            "number": "OF-1",
            "currency": "JPY",
            "term_from": "2040-01-01",
            "term_to": "2040-12-31",
            "prepaid": "1250000",
        }
        office.ask("POST", "/OrderForms", form)
        page = visit.sign_in("/operator/prices/order-forms")
        row = page.locator("tbody tr", has_text="Edo Post")
        expect(row).to_contain_text("1,250,000\u00a0JPY")
        expect(row).to_contain_text("1 Jan 2040 to 31 Dec 2040")

    def test_hostile_name_stays_text_everywhere(self, visit: Visit, office: Office) -> None:
        customer = office.sign_up(HOSTILE)
        page = visit.sign_in(customer["base"])
        expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
        for path in ("/operator/customers", "/operator/timers", f"{customer['base']}/suspend"):
            visit.open(path)
            expect(page.get_by_role("main")).to_contain_text(HOSTILE)
            assert page.locator("img[src=x]").count() == 0
        visit.open("/operator/customers?q=%22%3E%3Cscript%3Ealert(3)%3C/script%3E")
        expect(page.get_by_label("Search")).to_have_value('"><script>alert(3)</script>')

    def test_two_versions_are_compared_clause_by_clause(self, visit: Visit, office: Office) -> None:
        first = office.ask("GET", "/Versions", document="sla")["items"][-1]
        words = office.ask("GET", f"/Versions/{first['sid']}")["binding_md"]
        draft = {
            "document": "sla",
            "label": "a draft of ours",
            "binding_md": f"{words}\n\n## 9. Green delivery\n\nWe say what energy a message takes.\n",
            "summary_md": "- New words on **energy**.",
        }
        made = office.ask("POST", "/Versions", draft)
        page = visit.sign_in(f"/operator/agreements/sla/{made['sid']}")
        expect(page.get_by_role("heading", name="Summary")).to_be_visible()
        page.get_by_label("Compare with").select_option(first["sid"])
        page.get_by_role("button", name="Compare").click()
        expect(page.locator(".change")).to_have_count(1)
        expect(page.locator('.diff [data-sign="+"]').last).to_contain_text("We say what energy a message takes.")

    def test_what_is_not_there_is_said_so(self, visit: Visit, office: Office) -> None:
        customer = office.sign_up("Somebody")
        page = visit.sign_in()
        for path in (
            f"/operator/customers/OR{'0' * 32}",
            f"{customer['base']}/cases/SU{'0' * 32}",
            "/operator/agreements/no",
        ):
            visit.open(path)
            expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
            visit.refused(404)


class TestDeciding:
    def test_dispute_is_decided_in_part(self, visit: Visit, disputed: dict[str, Any], office: Office) -> None:
        dispute = disputed["dispute"]
        page = visit.sign_in(f"{disputed['base']}/disputes/{dispute['sid']}")
        expect(page.get_by_text("shielded", exact=True)).to_be_visible()
        page.get_by_label("Partly").check()
        page.locator(f"[name='line:{disputed['line']['ref']}']").fill("0.02")
        decide = page.locator("form", has=page.get_by_role("button", name="Decide the dispute"))
        decide.get_by_label("Reasons").fill("Two of the five were sent twice.")
        decide.get_by_label("Your name").fill("Kim Example")
        decide.get_by_role("button").click()
        expect(page.get_by_role("status")).to_contain_text("The dispute is decided")
        after = office.ask("GET", f"/Disputes/{dispute['sid']}", customer_sid=disputed["sid"])
        assert (after["state"], after["credited"], after["decided_by"]) == ("partly", "0.02", "Kim Example")
        expect(page.get_by_role("button", name="Decide the dispute")).to_have_count(0)

    def test_decision_that_is_refused_keeps_what_was_written_and_names_the_reason(
        self, visit: Visit, seen: dict[str, Any], office: Office
    ) -> None:
        dispute = seen["dispute"]
        page = visit.sign_in(f"{seen['base']}/disputes/{dispute['sid']}")
        page.get_by_label("Partly").check()
        page.locator(f"[name='line:{seen['line']['ref']}']").fill("99.00")
        decide = page.locator("form", has=page.get_by_role("button", name="Decide the dispute"))
        decide.get_by_label("Reasons").fill("Too generous.")
        decide.get_by_label("Your name").fill("Kim Example")
        decide.get_by_role("button").click()
        expect(page.get_by_role("alert")).to_be_visible()
        expect(decide.get_by_label("Reasons")).to_have_value("Too generous.")
        [complaint] = visit.complaints
        assert "the server responded with a status of 4" in complaint
        visit.complaints.clear()
        assert office.ask("GET", f"/Disputes/{dispute['sid']}", customer_sid=seen["sid"])["state"] == "open"

    def test_suspension_is_proposed_confirmed_and_lifted(self, visit: Visit, office: Office, clock_server: Any) -> None:
        customer = office.sign_up("Loud & Co")
        contact = {"customer_sid": customer["sid"], "kind": "abuse", "address": "abuse@signed-up.example"}
        office.ask("POST", "/Contacts", contact)
        page = visit.sign_in(customer["base"])
        page.get_by_role("link", name="Propose a suspension").click()
        page.locator("[name=ground]").select_option("aup")
        page.locator("[name=scope]").select_option("customer")
        page.get_by_label("Determination in good faith").fill("Lottery messages to people who had not asked.")
        page.get_by_role("button", name="Propose").click()
        expect(page.get_by_role("status")).to_contain_text("Nothing has happened to the customer yet")
        # The notice is read before it is sent.
        preview = page.locator("section", has=page.get_by_role("heading", name="Notice, as it would be sent"))
        expect(preview).to_contain_text("clause 2.3(a)")
        page.get_by_label("Your name").fill("Kim Example")
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("status")).to_contain_text("Approved")
        page.get_by_role("button", name="Give notice").click()
        expect(page.get_by_role("status")).to_contain_text("notice is on its way")
        clock_server.clock(advance_s=10)
        page.get_by_role("link", name="Cases").first.click()
        page.locator("tbody tr", has_text="Loud & Co").get_by_role("link", name="Suspension").click()
        expect(page.locator(".title-line")).to_contain_text("in effect")
        given = page.locator("section", has=page.get_by_role("heading", name="Notice", exact=True))
        expect(given).to_contain_text("given")
        page.get_by_role("link", name="Loud & Co").click()
        expect(page.locator(".title-line")).to_contain_text("suspended")
        expect(page.locator("#accounts")).to_contain_text("suspended")
        page.locator("#cases").get_by_role("link", name="Suspension").click()
        lifting = page.locator("form", has=page.get_by_role("button", name="Lift the suspension"))
        lifting.get_by_label("Reason").fill("A written plan came.")
        lifting.get_by_role("button").click()
        expect(page.get_by_role("status")).to_contain_text("The suspension is lifted")
        page.get_by_role("link", name="Loud & Co").click()
        expect(page.locator(".title-line")).to_contain_text("good")
        expect(page.locator("#timeline")).to_contain_text("Suspension: active → lifted")

    def test_moved_clock_fires_the_timer_and_the_session_lives_on(
        self, visit: Visit, disputed: dict[str, Any], office: Office
    ) -> None:
        invoice = disputed["invoice"]
        link = f"{disputed['base']}/invoices/{invoice['sid']}"
        page = visit.sign_in("/operator/timers")
        due = page.locator(f".list a[href='{link}']")
        expect(due).to_have_count(1)
        move_30_days(page)
        expect(due).to_have_count(0)
        visit.open(link)
        expect(page.locator(".title-line")).to_contain_text("past due")
        expect(page.locator(".timeline")).to_contain_text("Late notice given")
        expect(page.locator(".timeline")).to_contain_text("Cure ends")
        # A cure that ran out is a breach, and what follows from it the operator decides.
        visit.open("/operator/timers")
        move_30_days(page)
        visit.open(disputed["base"])
        proposal = page.locator("#proposals form", has_text="Suspend for non-payment")
        proposal.get_by_label("Your name").fill("Kim Example")
        proposal.get_by_role("button", name="Approve").click()
        expect(page.get_by_role("status")).to_contain_text("The decision is recorded")
        expect(page.locator(".title-line")).to_contain_text("suspended")

    def test_rehearsal_shows_what_would_happen_and_changes_nothing(
        self, visit: Visit, disputed: dict[str, Any], office: Office, clock_server: Any
    ) -> None:
        before = clock_server.clock(advance_s=0)["offset_s"]
        page = visit.sign_in("/operator/timers")
        page.get_by_label("Days").fill("60")
        page.get_by_role("button", name="Rehearse").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Rehearsal of 60 days")
        changed = page.locator("section", has=page.get_by_role("heading", name="Who stands otherwise at the end"))
        expect(changed).to_contain_text("Müller & Söhne", timeout=120_000)
        expect(page.get_by_role("heading", name="What would happen")).to_be_visible()
        assert clock_server.clock(advance_s=0)["offset_s"] == pytest.approx(before, abs=300)
        state = office.ask("GET", f"/Invoices/{disputed['invoice']['sid']}", customer_sid=disputed["sid"])["state"]
        assert state == disputed["invoice"]["state"]


class TestFirstPage:
    def test_it_shows_what_binds_the_first_account_and_leads_to_the_operators_pages(
        self, visit: Visit, clock_server: Any
    ) -> None:
        page = visit.open("/")
        shown = page.locator("section.contract")
        expect(shown).to_contain_text("Terms of service, template")
        expect(shown.locator("#contract-accepted")).to_contain_text("UTC, by click, for first start of this install")
        expect(shown.locator("#contract-credit")).to_contain_text("USD")
        text = shown.get_by_role("link", name="Terms of service").get_attribute("href")
        assert text is not None and requests.get(clock_server.url + text, timeout=WAIT_S).status_code == 200
        shown.get_by_role("link", name="Operator pages").click()
        # The page is open on this machine; what moves money asks for the key here too.
        expect(page.get_by_label("Operator key")).to_be_visible()
