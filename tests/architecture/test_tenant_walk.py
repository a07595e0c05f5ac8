"""Every served operation, called with another tenant's SIDs, finds nothing and changes nothing."""

from collections.abc import Mapping
from typing import Any

import pytest

from onterms.app.catalogue import served_rooms
from onterms.core.ids import new_random_sid
from onterms.engines.api import load

SERVED = sorted(served_rooms())
OPERATIONS = {operation.id: operation for operation in load()}
# What a path may hold beside SIDs.
NO_SIDS = {"CountryCode", "IsoCountry", "Number", "DestinationNumber"}
# What is the same for everybody: catalogues, whose SIDs are no tenant's.
SHARED = {f"trusthub_v1:Fetch{noun}" for noun in ("EndUserType", "SupportingDocumentType", "Policies")}
ATTACKERS = ("stranger", "subaccount")
# Where a parameter names a client or resource that is not the caller's, the refusal has a code of its own.
DOCUMENTED = {
    "MessagingServiceSid": (400, 21701),
    "ContentSid": (400, 21655),
    "client_id": (401, 322402),
    "ClientId": (401, 322402),
}


def named_resources(operation_id: str) -> list[str]:
    """Return the parameters of an operation that name resources."""
    operation = OPERATIONS[operation_id]
    properties = (operation.body_schema or {}).get("properties", {})
    names = {**operation.query, **operation.body, **properties}
    return sorted(name for name in names if name.lower().endswith("sid") or name.lower() in ("client_id", "clientid"))


def path_sids(operation_id: str) -> set[str]:
    if operation_id in SHARED:
        return set()
    found = {part.strip("{}") for part in OPERATIONS[operation_id].path.removesuffix(".json").split("/") if "{" in part}
    return found - NO_SIDS


async def belongings(world: Any, tenant: Any, attacker: Any) -> dict[str, Any]:
    """Digest every row of every table that belongs to a tenant, but for the attacker's own where it is a subaccount."""
    async with world.database.snapshot() as tx:
        tables = await tx.fetch(
            """SELECT c.relname AS name FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
               WHERE a.attname = 'account_sid' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1"""
        )
        assert tables
        digests = {}
        for name in [*(row["name"] for row in tables), "accounts"]:
            owner, but_attacker, values = "account_sid", "", [tenant.sid]
            if name == "accounts":
                owner, but_attacker, values = "owner_sid", "AND sid <> $2", [tenant.sid, attacker.sid]
            digests[name] = await tx.fetchval(
                f"SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') "
                f"FROM {name} t WHERE {owner} = $1 {but_attacker}",
                *values,
            )
    return digests


async def attacker_of(world: Any, victim: Any, kind: str) -> Any:
    return await world.subaccount(victim) if kind == "subaccount" else await world.tenant()


def is_not_found(answer: Any) -> bool:
    return answer.status == 404 and (not answer.text or answer.body["code"] == 20404)


def test_every_served_operation_has_an_exemplar(exemplars: Mapping[str, Any]) -> None:
    assert sorted(exemplars) == SERVED


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("kind", ATTACKERS)
@pytest.mark.parametrize("operation_id", SERVED)
async def test_another_tenants_sids_in_the_path_are_not_found(
    world: Any, exemplars: Mapping[str, Any], operation_id: str, kind: str
) -> None:
    victim = await world.tenant()
    attacker = await attacker_of(world, victim, kind)
    made = await exemplars[operation_id].make(world, victim)
    before = await belongings(world, victim, attacker)
    names = path_sids(operation_id)
    if "AccountSid" in names:
        answer = await world.call(attacker, operation_id, {**made.path, "AccountSid": victim.sid}, made.params)
        assert is_not_found(answer), answer
    if names - {"AccountSid"}:
        answer = await world.call(attacker, operation_id, made.path, made.params)
        # A list below another tenant's resource may be empty instead, as it is below one that does not exist.
        assert is_not_found(answer) or is_empty_list(operation_id, answer), answer
    if not names:
        # About the caller's own account, whatever that changes.
        mine = await exemplars[operation_id].make(world, attacker)
        await world.call(attacker, operation_id, mine.path, mine.params)
    assert await belongings(world, victim, attacker) == before


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("kind", ATTACKERS)
@pytest.mark.parametrize("operation_id", [name for name in SERVED if named_resources(name)])
async def test_another_tenants_resources_in_parameters_are_refused(
    world: Any, exemplars: Mapping[str, Any], operation_id: str, kind: str
) -> None:
    exemplar = exemplars[operation_id]
    victim = await world.tenant()
    attacker = await attacker_of(world, victim, kind)
    for name in named_resources(operation_id):
        make = exemplar.references.get(name)
        theirs = await make(world, victim) if make else new_random_sid(sid_prefix(operation_id, name))
        made = await exemplar.make(world, attacker)
        before = await belongings(world, victim, attacker)
        mine = await belongings(world, attacker, victim)
        answer = await world.call(attacker, operation_id, made.path, {**made.params, name: theirs})
        assert 400 <= answer.status < 500, (name, answer)
        if name in DOCUMENTED:
            assert (answer.status, answer.body["code"]) == DOCUMENTED[name], answer
        assert await belongings(world, victim, attacker) == before, name
        assert await belongings(world, attacker, victim) == mine, name


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("kind", ATTACKERS)
@pytest.mark.parametrize("operation_id", [name for name in SERVED if OPERATIONS[name].method == "GET"])
async def test_reading_ones_own_shows_nothing_of_another_tenant(
    world: Any, exemplars: Mapping[str, Any], operation_id: str, kind: str
) -> None:
    exemplar = exemplars[operation_id]
    victim = await world.tenant()
    attacker = await attacker_of(world, victim, kind)
    theirs = await exemplar.make(world, victim)
    made = await exemplar.make(world, attacker)
    answer = await world.call(attacker, operation_id, made.path, made.params)
    assert answer.status == OPERATIONS[operation_id].success_status, answer
    for sid in () if operation_id in SHARED else theirs.path.values():
        # A subaccount's own row names its parent.
        assert sid in NO_SIDS or len(sid) != 34 or sid == victim.sid or sid not in answer.text, answer
    if kind == "stranger":
        assert victim.sid not in answer.text, answer
    for row in rows_of(operation_id, answer):
        assert row.get("account_sid", attacker.sid) == attacker.sid


def sid_prefix(operation_id: str, name: str) -> str:
    operation = OPERATIONS[operation_id]
    parameter = {**operation.query, **operation.body}.get(name)
    pattern = str(parameter.schema.get("pattern", "^OQ")) if parameter else "^OQ"
    return pattern[1:3]


def rows_of(operation_id: str, answer: Any) -> list[Any]:
    key = OPERATIONS[operation_id].list_key
    return answer.body[key] if key and answer.status == 200 else []


def is_empty_list(operation_id: str, answer: Any) -> bool:
    return answer.status == 200 and OPERATIONS[operation_id].list_key is not None and not rows_of(operation_id, answer)
