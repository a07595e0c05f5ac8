"""Customer profiles and trust products: kept, filled, evaluated, handed in and judged."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from onterms.core.db import Row, Tx
from onterms.core.errors import InvalidParameter, NotFound
from onterms.core.ids import new_random_sid, new_sid
from onterms.engines import jobs, log
from onterms.engines.api import PageRequest
from onterms.ports.registrar import Answer, BundleSubmission, Granted, Reason, Rejected
from onterms.products.trust import errors, events, model, store
from onterms.products.trust.model import Kind, Part, policies

REVIEW = "trust.review"
CALLBACK = "trust.callback"
MAIL = "trust.mail"

PATHS: Mapping[str, str] = {"customer_profile": "CustomerProfiles", "trust_product": "TrustProducts"}
ENTITIES, ENDPOINTS, EVALUATIONS = "trust_entities", "trust_endpoints", "trust_evaluations"
# Twilio docs, ChannelEndpointAssignment resource.
ENDPOINT_TYPES = frozenset({"phone-number"})

# Tells whether an account holds the number of a SID.
HoldsNumber = Callable[[Tx, str, str], Awaitable[bool]]
# Returns by what a bundle is used that would fall with it, or "".
UsedBy = Callable[[Tx, str, str], Awaitable[str]]
# Returns the main account of an account: itself or who owns it.
MainOf = Callable[[Tx, str], Awaitable[str]]
# Hears of decisions: (tx, account_sid, bundle_sid, status, at).
Follower = Callable[[Tx, str, str, str, datetime], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the room asks of others."""

    holds_number: HoldsNumber
    used_by: UsedBy
    main_of: MainOf
    followers: Sequence[Follower] = ()


def _policy(kind: Kind, sid: str) -> policies.Policy:
    policy = policies.POLICIES.get(sid)
    if policy is None or policy.kind != kind:
        raise errors.UnknownPolicy(f"There is no policy {sid} for {PATHS[kind]}")
    return policy


def _settings(params: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if params.get("FriendlyName"):
        if len(params["FriendlyName"]) > 255:
            raise InvalidParameter("FriendlyName must have 1 to 255 characters")
        changes["friendly_name"] = params["FriendlyName"]
    if params.get("Email"):
        local, _, domain = params["Email"].rpartition("@")
        if not local or "." not in domain or len(params["Email"]) > 254 or not params["Email"].isprintable():
            raise InvalidParameter("Email must be a mail address")
        changes["email"] = params["Email"]
    if "StatusCallback" in params:
        callback = params["StatusCallback"]
        if callback and not callback.lower().startswith(("http://", "https://")):
            raise InvalidParameter("StatusCallback is not a web address")
        changes["status_callback"] = callback
    return changes


async def create(tx: Tx, kind: Kind, account_sid: str, params: Mapping[str, Any], at: datetime) -> Row:
    """Make a draft. Raises: UnknownPolicy, InvalidParameter."""
    policy = _policy(kind, params["PolicySid"])
    given = {
        "kind": kind,
        "policy_sid": policy.sid,
        "friendly_name": "",
        "email": "",
        "status_callback": "",
        **_settings(params),
    }
    if not given["friendly_name"] or not given["email"]:
        raise InvalidParameter("FriendlyName and Email are required")
    return await store.insert_bundle(tx, account_sid, new_sid("BU", at), given, at)


async def fetch(tx: Tx, kind: Kind | None, account_sid: str, sid: str) -> Row:
    """Return a bundle. Raises: NotFound, also for one of the other kind."""
    rows = await store.bundles(tx, [(account_sid, sid)])
    if not rows or kind not in (None, rows[0]["kind"]):
        raise NotFound(f"The requested resource /v1/{PATHS[kind or 'customer_profile']}/{sid} was not found")
    return rows[0]


async def page(tx: Tx, kind: Kind, account_sid: str, wanted: Mapping[str, str], request: PageRequest) -> list[Row]:
    """Return one page of bundles. Raises: UnknownPolicy."""
    if "policy_sid" in wanted:
        _policy(kind, wanted["policy_sid"])
    return await store.page_bundles(tx, account_sid, kind, wanted, request)


async def update(tx: Tx, kind: Kind, account_sid: str, sid: str, params: Mapping[str, Any], at: datetime) -> Row:
    """Change a bundle, or hand it in or take it back by the status that is wanted.

    Raises: NotFound, InvalidParameter; NotAllowedNow where its status speaks against it.
    """
    row = await fetch(tx, kind, account_sid, sid)
    changes = _settings(params)
    if changes:
        row = await store.update_bundle(tx, account_sid, sid, changes, at)
    wanted = params.get("Status")
    if not wanted or wanted == row["status"]:
        return row
    event = model.EVENTS.get(wanted)
    if event is None:
        raise InvalidParameter(f"Status may be set to {' or '.join(model.EVENTS)}; the rest is the reviewers' matter")
    return await fire(tx, account_sid, sid, event, (), at)


async def delete(tx: Tx, around: Surroundings, kind: Kind, account_sid: str, sid: str) -> None:
    """Remove a bundle on which nothing stands. Raises: NotFound, BundleInUse."""
    row = await fetch(tx, kind, account_sid, sid)
    if row["status"] in model.UNDER_REVIEW:
        raise errors.BundleInUse(f"{sid} is under review")
    if await store.bundles_of_object(tx, account_sid, sid) or await store.owned_elsewhere(tx, account_sid, sid):
        raise errors.BundleInUse(f"{sid} is assigned to another bundle")
    used = await around.used_by(tx, account_sid, sid)
    if used:
        raise errors.BundleInUse(f"{used} stands on {sid}")
    await store.delete_bundle(tx, account_sid, sid)


# ---- what it is made of


async def _open(tx: Tx, kind: Kind, account_sid: str, sid: str) -> Row:
    await fetch(tx, kind, account_sid, sid)
    row = await store.lock_bundle(tx, account_sid, sid)
    assert row is not None
    if row["status"] not in model.OPEN:
        raise errors.NotAllowedNow(f"{sid} is {row['status']}; only a draft or a rejected one can change")
    return row


async def assign(
    tx: Tx, around: Surroundings, kind: Kind, account_sid: str, sid: str, object_sid: str, at: datetime
) -> Row:
    """Assign an end user, a document or a profile to a bundle.

    Raises: NotFound, NotAllowedNow, ObjectNotAssignable, WrongObject.
    """
    row = await _open(tx, kind, account_sid, sid)
    found = await _object(tx, around, account_sid, object_sid)
    if found is None or object_sid == sid:
        raise errors.ObjectNotAssignable(f"There is no {object_sid} that could be assigned")
    object_type, owner_sid = found
    policy = policies.POLICIES[row["policy_sid"]]
    if object_type not in (*policy.end_users, *policy.optional_end_users, *policy.documents, *policy.profiles):
        raise errors.WrongObject(f"{policy.friendly_name} takes no {object_type}")
    taken = await store.members(tx, ENTITIES, account_sid, sid)
    if any(each["object_type"] == object_type for each in taken):
        raise errors.NotAllowedNow(f"{sid} has a {object_type} already")
    given = {"object_sid": object_sid, "object_type": object_type, "owner_sid": owner_sid}
    made = await store.insert_member(tx, ENTITIES, account_sid, sid, new_sid("BV", at), given, at)
    assert made is not None
    return made


async def _object(tx: Tx, around: Surroundings, account_sid: str, object_sid: str) -> tuple[str, str] | None:
    """Return what an object is and whose: the account's own, or its main account's approved primary profile."""
    for prefix, table in (("IT", "trust_end_users"), ("RD", "trust_documents")):
        if object_sid.startswith(prefix):
            thing = await store.fetch_thing(tx, table, account_sid, object_sid)
            return (thing["type"], account_sid) if thing is not None else None
    if not object_sid.startswith("BU"):
        return None
    for owner_sid in dict.fromkeys((account_sid, await around.main_of(tx, account_sid))):
        for bundle in await store.bundles(tx, [(owner_sid, object_sid)]):
            name = policies.POLICIES[bundle["policy_sid"]].name
            if owner_sid == account_sid or (name == policies.PRIMARY and bundle["status"] == model.APPROVED):
                return name, owner_sid
    return None


async def unassign(tx: Tx, kind: Kind, account_sid: str, sid: str, assignment_sid: str) -> None:
    """Take something out of a bundle. Raises: NotFound, NotAllowedNow."""
    await _open(tx, kind, account_sid, sid)
    if not await store.delete_member(tx, ENTITIES, account_sid, sid, assignment_sid):
        raise NotFound(f"The assignment {assignment_sid} was not found")


async def add_endpoint(
    tx: Tx, around: Surroundings, kind: Kind, account_sid: str, sid: str, params: Mapping[str, Any], at: datetime
) -> Row:
    """Assign a phone number to an approved bundle.

    Raises: NotFound, InvalidParameter, ObjectNotAssignable, NotAllowedNow.
    """
    row = await fetch(tx, kind, account_sid, sid)
    if params["ChannelEndpointType"] not in ENDPOINT_TYPES:
        raise InvalidParameter(f"ChannelEndpointType must be {' or '.join(sorted(ENDPOINT_TYPES))}")
    endpoint_sid = params["ChannelEndpointSid"]
    if not await around.holds_number(tx, account_sid, endpoint_sid):
        raise errors.ObjectNotAssignable(f"The account has no phone number {endpoint_sid}")
    if row["kind"] == "trust_product" and row["status"] != model.APPROVED:
        raise errors.NotAllowedNow(f"{sid} is {row['status']}; numbers go to approved ones")
    given = {"endpoint_type": params["ChannelEndpointType"], "endpoint_sid": endpoint_sid}
    made = await store.insert_member(tx, ENDPOINTS, account_sid, sid, new_sid("RA", at), given, at)
    if made is None:
        raise errors.NotAllowedNow(f"{endpoint_sid} is assigned to {sid} already")
    return made


async def remove_endpoint(tx: Tx, kind: Kind, account_sid: str, sid: str, assignment_sid: str) -> None:
    """Take a phone number off a bundle. Raises: NotFound."""
    await fetch(tx, kind, account_sid, sid)
    if not await store.delete_member(tx, ENDPOINTS, account_sid, sid, assignment_sid):
        raise NotFound(f"The assignment {assignment_sid} was not found")


async def member(tx: Tx, table: str, kind: Kind, account_sid: str, sid: str, member_sid: str) -> Row:
    """Return one member of a bundle. Raises: NotFound."""
    await fetch(tx, kind, account_sid, sid)
    row = await store.fetch_member(tx, table, account_sid, sid, member_sid)
    if row is None:
        raise NotFound(f"{member_sid} was not found in {sid}")
    return row


async def member_page(
    tx: Tx, table: str, kind: Kind, account_sid: str, sid: str, request: PageRequest, only: Mapping[str, Sequence[str]]
) -> list[Row]:
    """Return one page of a bundle's members. Raises: NotFound."""
    await fetch(tx, kind, account_sid, sid)
    return await store.page_members(tx, table, account_sid, sid, request, only)


# ---- judging


async def parts_of(tx: Tx, account_sid: str, sid: str) -> list[Part]:
    """Return what a bundle is made of."""
    assigned = await store.members(tx, ENTITIES, account_sid, sid)
    sids = [each["object_sid"] for each in assigned]
    found: list[Part] = []
    for table in ("trust_end_users", "trust_documents"):
        found += [Part(row["type"], row["attributes"]) for row in await store.things(tx, table, account_sid, sids)]
    keys = [(each["owner_sid"], each["object_sid"]) for each in assigned if each["object_sid"].startswith("BU")]
    found += [
        Part(policies.POLICIES[row["policy_sid"]].name, {}, row["status"]) for row in await store.bundles(tx, keys)
    ]
    return found


async def evaluate(tx: Tx, kind: Kind, account_sid: str, sid: str, policy_sid: str, at: datetime) -> Row:
    """Hold a bundle against its policy and keep the result. Raises: NotFound, UnknownPolicy."""
    row = await fetch(tx, kind, account_sid, sid)
    policy = _policy(kind, policy_sid)
    if policy.sid != row["policy_sid"]:
        raise errors.UnknownPolicy(f"{sid} was made for the policy {row['policy_sid']}")
    results = model.evaluate(policy, await parts_of(tx, account_sid, sid))
    given = {
        "policy_sid": policy.sid,
        "status": "compliant" if model.is_compliant(results) else "noncompliant",
        "results": results,
    }
    made = await store.insert_member(tx, EVALUATIONS, account_sid, sid, new_sid("EL", at), given, at)
    assert made is not None
    return made


async def fire(
    tx: Tx,
    account_sid: str,
    sid: str,
    event: str,
    reasons: Sequence[Reason],
    at: datetime,
    followers: Sequence[Follower] = (),
) -> Row:
    """Move a bundle by an event and tell whoever wants to know. Raises: NotFound, NotAllowedNow."""
    row = await store.lock_bundle(tx, account_sid, sid)
    if row is None:
        raise NotFound(f"The bundle {sid} was not found")
    status = model.after(row["status"], event)
    if status is None:
        raise errors.NotAllowedNow(f"{sid} is {row['status']}, to which '{event}' does not apply")
    changes: dict[str, Any] = {"status": status}
    if event == "submit":
        changes |= {"submitted_at": at, "errors": []}
    if event in ("reject", "revoke"):
        changes["errors"] = [{"code": reason.code, "message": reason.text} for reason in reasons]
    moved = await store.update_bundle(tx, account_sid, sid, changes, at)
    if event == "submit":
        await jobs.enqueue(tx, [_review_job(moved, at)], at)
    documents = {"submit": "PENDING_REVIEW", "approve": "APPROVED", "reject": "REJECTED", "withdraw": "DRAFT"}
    if event in documents:
        assigned = await store.members(tx, ENTITIES, account_sid, sid)
        sids = [each["object_sid"] for each in assigned]
        await store.set_document_status(tx, account_sid, sids, documents[event], at)
    await log.append(tx, [events.event(account_sid, sid, row["status"], status, changes.get("errors", []))], at)
    await jobs.enqueue(tx, _told(moved), at)
    for follow in followers:
        await follow(tx, account_sid, sid, status, at)
    return moved


def _review_job(row: Row, at: datetime) -> jobs.NewJob:
    payload = {"sid": row["sid"], "submitted_at": row["submitted_at"].isoformat()}
    return jobs.NewJob(REVIEW, payload, account_sid=row["account_sid"], due_at=at)


def _told(row: Row) -> list[jobs.NewJob]:
    """Make the jobs that tell a bundle's owner of its status: by its callback, and by mail once it is decided."""
    found: list[jobs.NewJob] = []
    failure = "; ".join(f"{each['code']}: {each['message']}" for each in row["errors"])
    if row["status_callback"]:
        # Twilio docs, regulatory bundles' status callbacks: AccountSid, BundleSid, Status, FailureReason.
        fields = {"AccountSid": row["account_sid"], "BundleSid": row["sid"], "Status": row["status"]}
        if failure:
            fields["FailureReason"] = failure
        payload = {"sid": row["sid"], "url": row["status_callback"], "fields": fields, "token": new_random_sid("")}
        found.append(jobs.NewJob(CALLBACK, payload, account_sid=row["account_sid"], order_key=row["sid"]))
    if row["status"] in ("twilio-approved", "twilio-rejected"):
        said = "approved" if row["status"] == model.APPROVED else "rejected"
        body = f"Your registration {row['friendly_name']} ({row['sid']}) was {said}."
        if failure:
            body += f"\n\nReasons: {failure}\n\nMend it and hand it in again."
        found.append(mail_job(row["account_sid"], row["email"], f"{row['friendly_name']}: {said}", body))
    return found


def mail_job(account_sid: str, recipient: str, subject: str, body: str) -> jobs.NewJob:
    """Make the job that mails somebody whom a registration names for that."""
    payload = {"to": recipient, "subject": subject.replace("\r", " ").replace("\n", " ")[:200], "body": body}
    return jobs.NewJob(MAIL, {**payload, "id": new_random_sid("")}, account_sid=account_sid)


async def question(tx: Tx, account_sid: str, payload: Mapping[str, Any]) -> BundleSubmission | Answer | None:
    """Return what to ask a reviewer, or the answer where the policy gives it, or None where nobody waits for one."""
    rows = await store.bundles(tx, [(account_sid, payload["sid"])])
    if not rows or rows[0]["status"] not in model.UNDER_REVIEW:
        return None
    row = rows[0]
    if row["submitted_at"].isoformat() != payload["submitted_at"]:
        return None
    parts = await parts_of(tx, account_sid, row["sid"])
    results = model.evaluate(policies.POLICIES[row["policy_sid"]], parts)
    if not model.is_compliant(results):
        return Rejected(tuple(Reason(each["code"], each["message"]) for each in model.failures(results)))
    return BundleSubmission(
        account_sid,
        row["sid"],
        policies.POLICIES[row["policy_sid"]].name,
        row["friendly_name"],
        row["email"],
        {part.type: part.attributes for part in parts},
        row["submitted_at"],
    )


async def decide(
    tx: Tx, around: Surroundings, account_sid: str, payload: Mapping[str, Any], answer: Answer, at: datetime
) -> None:
    """Write down what a reviewer said; what does not apply any more changes nothing."""
    sid = payload["sid"]
    row = await store.lock_bundle(tx, account_sid, sid)
    if row is None or row["status"] not in model.UNDER_REVIEW:
        return
    if row["submitted_at"].isoformat() != payload["submitted_at"]:
        # It was taken back and handed in again meanwhile, perhaps with other parts.
        return
    if isinstance(answer, Granted):
        await fire(tx, account_sid, sid, "approve", (), at, around.followers)
    elif isinstance(answer, Rejected):
        await fire(tx, account_sid, sid, "reject", answer.reasons, at, around.followers)
    elif answer.is_taken_up and row["status"] == "pending-review":
        await fire(tx, account_sid, sid, "take_up", (), at, around.followers)


# ---- for other rooms


@dataclass(frozen=True, slots=True)
class Profile:
    """A bundle as other rooms see it, with the attributes of all that it is made of."""

    sid: str
    kind: str
    policy: str
    status: str
    email: str
    attributes: Mapping[str, Any]

    @property
    def is_approved(self) -> bool:
        """Whether reviewers approved it."""
        return self.status == model.APPROVED

    @property
    def is_under_review(self) -> bool:
        """Whether reviewers have it."""
        return self.status in model.UNDER_REVIEW


async def profile(tx: Tx, account_sid: str, sid: str) -> Profile | None:
    """Return a bundle of an account with what it says, or None."""
    rows = await store.bundles(tx, [(account_sid, sid)])
    if not rows:
        return None
    attributes: dict[str, Any] = {}
    for part in await parts_of(tx, account_sid, sid):
        # The representatives' names are not the company's.
        if part.type in _COMPANY:
            attributes |= part.attributes
    row = rows[0]
    name = policies.POLICIES[row["policy_sid"]].name
    return Profile(row["sid"], row["kind"], name, row["status"], row["email"], attributes)


_COMPANY = frozenset(
    {
        policies.BUSINESS,
        policies.MESSAGING_PROFILE,
        policies.SOLE_PROPRIETOR,
        "starter_customer_profile_information",
    }
)
