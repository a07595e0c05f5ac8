"""The texts that ship with a release, and the first customer of an install."""

from datetime import datetime
from importlib.resources import files

from onterms.business import customers
from onterms.business.agreements import store
from onterms.business.agreements.service import documents
from onterms.business.agreements.service.binding import Bindings
from onterms.core.calendar import day_of
from onterms.core.db import Tx

# (name, title, rank in the order of precedence, accepted together with the terms)
SHIPPED: tuple[tuple[str, str, int | None, bool], ...] = (
    ("tos", "Terms of service", 3, False),
    ("dpa", "Data protection addendum", 2, True),
    ("aup", "Acceptable use policy", 4, True),
    ("country_terms", "Service and country terms", 4, True),
    ("sla", "Service level agreement", 5, True),
    ("security", "Security overview", 5, True),
    ("support", "Support terms", 5, True),
    ("docs", "Documentation", 6, True),
    ("eecc_waiver", "Waiver of rights under the communications code", 5, False),
    ("partner_guide", "Partner programme guide", 5, False),
)
# Pages outside the contract; the operator writes them.
PAGES: tuple[tuple[str, str], ...] = (
    ("imprint", "Imprint"),
    ("conduct", "Code of conduct"),
    ("ethics", "Ethics line"),
    ("promotions", "Rules of promotions"),
    ("research", "Research participation waiver"),
    ("italy_alias", "Code of conduct for sender names in Italy"),
)
FIRST_ACTOR = "first start of this install"


async def ensure_template(tx: Tx, at: datetime) -> bool:
    """Publish the shipped texts unless there are terms already, and tell whether it did."""
    await store.lock(tx)
    for name, title, rank, linked in SHIPPED:
        await store.insert_document(tx, name, title, rank, linked, at)
    for name, title in PAGES:
        await store.insert_document(tx, name, title, None, False, at)
    if await store.versions(tx, "tos"):
        return False
    for key, name in (("default", "The operator"), ("europe", "The operator"), ("japan", "The operator")):
        await store.put_entity(tx, key, day_of(at), name, "", "", at)
    folder = files("onterms.business.agreements").joinpath("data", "template")
    for name, _, _, _ in SHIPPED:
        made = await documents.draft(
            tx,
            name,
            "template",
            folder.joinpath(f"{name}.md").read_text("utf-8"),
            folder.joinpath(f"{name}.summary.md").read_text("utf-8"),
            True,
            None,
            None,
            at,
        )
        await documents.publish(tx, made.sid, None, None, None, None, FIRST_ACTOR, at)
    return True


async def ensure_first_customer(
    tx: Tx,
    bindings: Bindings,
    account_sid: str,
    at: datetime,
    country: str = "US",
    *,
    name: str = "First customer",
    actor: str = FIRST_ACTOR,
) -> customers.Customer:
    """Make an account's customer, bound by the current terms on the word of `actor`, unless it has one."""
    found = await customers.customer_of(tx, account_sid)
    if found is not None:
        return found
    consent = customers.Consent(actor, "installer", True, "", "")
    request = customers.SignUp(
        name=name,
        country=country,
        subdivision="",
        org_type="corporate",
        size="other",
        nonprofit=False,
        use="business",
        email="owner@localhost",
        accepted_version=None,
        consent=consent,
        compliance=True,
        no_antisocial_forces=True,
        waiver_version=None,
        served_in=(),
    )
    made = await customers.make_of_account(tx, account_sid, request, at)
    current = await bindings.current(tx, "tos", at)
    assert current is not None, "the template is published before the first customer is made"
    await bindings.accept(tx, made.sid, current, "click", consent, at)
    return made
