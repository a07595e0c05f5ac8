"""The documents of our own APIs are valid, whole, and true to what is answered."""

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import in_memory
import jsonschema
import pytest
from openapi_spec_validator import validate

from onterms import __version__
from onterms.app.catalogue import own_document
from onterms.app.cli import main
from onterms.app.http import Edge
from onterms.app.office import Office
from onterms.app.rcs import Rcs
from onterms.app.rooms import OWN_APIS, own_routes_of
from onterms.business import accounts, agreements, customers, rehearsal
from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.core.vault import Vault
from onterms.engines.api import Engine, OwnRoute, load
from onterms.engines.api.openapi import document

NAMES = [prefix.split("/")[1] for prefix in OWN_APIS]
DOCUMENTS: dict[str, dict[str, Any]] = {name: own_document(name) for name in NAMES}
OPERATIONS = [
    (name, path, method) for name in NAMES for path, item in DOCUMENTS[name]["paths"].items() for method in item
]
NOW = datetime(2030, 1, 15, 12, tzinfo=UTC)
# What comes from outside and is read as its own provider writes it.
FOREIGN_BODIES = {"/commercial/v1/PaymentWebhooks/{provider}", "/commercial/v1/RcsWebhooks/{sid}"}
AMOUNT = {"currency": "USD", "price": "0.01"}


def operation(name: str, path: str, method: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENTS[name]["paths"][path][method]
    return found


def resolved(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return dict(DOCUMENTS[name]["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    return dict(schema)


class House:
    """The edge with the own routes of every room, over one database."""

    def __init__(self, database: Database, routes: list[OwnRoute], edge: Edge, vault: Vault) -> None:
        self.database, self.routes, self.edge, self.vault = database, routes, edge, vault
        self.customer = self.account = ""
        self.seen: set[tuple[str, str]] = set()

    async def call(
        self, method: str, target: str, body: Mapping[str, Any] | None = None, *, key: str = "key"
    ) -> tuple[int, Any]:
        """Call as the operator, and hold the answer against the document."""
        path = target.partition("?")[0]
        client = in_memory.Client(self.edge, "192.0.2.1")
        headers = [("host", "localhost:8080"), ("authorization", f"Bearer {key}"), ("x-real-ip", "1")]
        client.send(method, target, headers, None if body is None else json.dumps(body).encode())
        answer = await client.answer()
        status = answer.status
        content_type = (answer.header("content-type") or "").partition(";")[0]
        shown = json.loads(answer.body) if answer.body and content_type == "application/json" else answer.body
        self._hold(method, path, status, content_type, shown)
        return status, shown

    def _hold(self, method: str, path: str, status: int, content_type: str, shown: Any) -> None:
        name = path.split("/")[1]
        found = next(
            each
            for each in DOCUMENTS[name]["paths"]
            if re.fullmatch(re.sub(r"\\{\w+\\}|\{\w+\}", "[^/]+", each), path)
            and method.lower() in DOCUMENTS[name]["paths"][each]
        )
        responses = operation(name, found, method.lower())["responses"]
        response = responses.get(str(status))
        if response is None:
            assert status >= 400, f"{method} {path} does not declare {status}"
            response = DOCUMENTS[name]["components"]["responses"]["Refusal"]
        if status == 204:
            assert shown == b""
            return
        media = response["content"][content_type]
        if content_type == "application/json":
            schema = {**media["schema"], "components": DOCUMENTS[name]["components"]}
            jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(shown)
        if status < 400:
            self.seen.add((method, found))


@pytest.fixture
async def house(database: Database) -> AsyncIterator[House]:
    clock, vault = VirtualClock(held_at=NOW), Vault(bytes(range(32)))
    cache = accounts.CredentialCache(clock)
    authenticator = accounts.Authenticator(database.snapshot, vault, cache, clock)
    office = Office(database, clock, vault)
    # No handset sends, so no carrier is asked.
    nobody: Any = None
    rcs = Rcs(database, clock, vault, nobody, nobody, is_sandbox=True)
    routes = own_routes_of(vault, authenticator, database, office, rehearsal.Changes(), nobody, None, rcs=rcs)

    async def ready() -> bool:
        return True

    edge = Edge(
        Engine(load(), database, clock, authenticator),
        database,
        clock,
        authenticator,
        sandbox=True,
        ready=ready,
        session_valid=lambda *_: False,
    )
    edge.mount(routes)
    made = House(database, routes, edge, vault)
    async with database.transaction() as tx:
        await accounts.ensure_first(tx, vault, "key", NOW)
        first = await accounts.first_credentials(tx, vault)
        assert first is not None
        await office.open(tx, first.account_sid, NOW)
        await agreements.ensure_template(tx, NOW)
        customer = await customers.customer_of(tx, first.account_sid)
        assert customer is not None
        made.customer, made.account = customer.sid, first.account_sid
    await office.prices.refresh()
    yield made


class TestDocuments:
    @pytest.mark.parametrize("name", NAMES)
    def test_each_is_valid_openapi_3_1(self, name: str) -> None:
        assert DOCUMENTS[name]["openapi"].startswith("3.1.")
        validate(DOCUMENTS[name])

    def test_a_broken_document_is_found(self) -> None:
        broken = json.loads(json.dumps(DOCUMENTS["operator"]))
        next(each for each in broken["paths"].values() if "post" in each)["post"]["responses"]["201"]["description"] = (
            None
        )
        with pytest.raises(Exception, match="None is not"):
            validate(broken)

    async def test_every_own_route_is_in_one_and_nothing_else(self, house: House) -> None:
        # Of a house without a clock that moves, that is.
        served = {(route.pattern.split("/")[1], route.pattern, route.method.lower()) for route in house.routes}
        served = {each for each in served if each[0] in NAMES}
        described = {each for each in OPERATIONS if each[1] != "/simulator/v1/clock"}
        assert described == served
        elsewhere = {route.pattern.split("/")[1] for route in house.routes} - set(NAMES)
        assert elsewhere == {"legal"}, "only pages for people stand outside the documents"

    def test_every_operation_has_its_words_and_a_name_of_its_own(self) -> None:
        found = [operation(*each) for each in OPERATIONS]
        assert all(each["summary"] and each["tags"] for each in found)
        for name in NAMES:
            ids = [operation(*each)["operationId"] for each in OPERATIONS if each[0] == name]
            assert len(ids) == len(set(ids)) and all(re.fullmatch("[A-Za-z0-9]+", each) for each in ids)

    def test_every_operation_declares_its_answer_and_its_refusal(self) -> None:
        for name, path, method in OPERATIONS:
            responses = operation(name, path, method)["responses"]
            assert responses["default"] == {"$ref": "#/components/responses/Refusal"}
            assert any(each.startswith("2") for each in responses), (method, path)

    def test_who_may_call_is_declared(self) -> None:
        schemes = DOCUMENTS["commercial"]["components"]["securitySchemes"]
        assert (schemes["account"]["scheme"], schemes["operatorKey"]["scheme"]) == ("basic", "bearer")
        wanted = {"/commercial/v1/SignUps": [], "/commercial/v1/Customers": [{"account": []}, {"operatorKey": []}]}
        for path, security in wanted.items():
            assert next(iter(DOCUMENTS["commercial"]["paths"][path].values()))["security"] == security
        for name, path, method in OPERATIONS:
            for choice in operation(name, path, method)["security"]:
                assert choice.keys() <= schemes.keys()

    def test_lists_have_items_and_a_token_that_the_query_takes(self) -> None:
        paged = 0
        for name, path, method in OPERATIONS:
            found = operation(name, path, method)
            content = found["responses"].get("200", {}).get("content", {}).get("application/json")
            shape = resolved(name, content["schema"]) if content else {}
            if method != "get" or "items" not in shape.get("properties", {}):
                continue
            assert {"items", "next"} <= shape["properties"].keys(), path
            names = {each["name"] for each in found.get("parameters", ()) if each["in"] == "query"}
            paged += bool(names & {"next", "after"})
        assert paged >= 40

    def test_bodies_take_what_is_declared_and_nothing_else(self) -> None:
        for name, path, method in OPERATIONS:
            if "requestBody" not in operation(name, path, method) or path in FOREIGN_BODIES:
                continue
            schema = operation(name, path, method)["requestBody"]["content"]["application/json"]["schema"]
            for each in schema.get("oneOf", [schema]):
                assert resolved(name, each)["additionalProperties"] is False, (method, path)

    def test_answers_show_what_is_declared_and_nothing_else(self) -> None:
        for name in NAMES:
            for title, schema in DOCUMENTS[name]["components"]["schemas"].items():
                # What the payment simulator keeps are plain records of its own.
                if title not in {"Settings", "SimCharge", "Webhook", "Dispute"}:
                    assert schema["additionalProperties"] is False, title

    @pytest.mark.parametrize("name", NAMES)
    def test_the_command_prints_it(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["openapi", name]) == 0
        assert json.loads(capsys.readouterr().out) == DOCUMENTS[name]


class TestServing:
    async def test_each_is_served_to_everybody(self, house: House) -> None:
        for prefix, title in OWN_APIS.items():
            status, shown = await house.call("GET", f"{prefix}/openapi.json", key="nobody's")
            assert (status, shown["info"]["title"]) == (200, title)
            assert shown == json.loads(json.dumps(document(house.routes, prefix, title, __version__)))

    async def test_a_field_that_is_not_declared_is_refused_by_name(self, house: House) -> None:
        body = {"name": "Acme", "country": "US", "colour": "red"}
        status, shown = await house.call("POST", "/commercial/v1/Organizations", body)
        assert (status, shown["code"], shown["message"]) == (400, 20001, "'colour' is not taken here")

    @pytest.mark.parametrize(
        ("path", "body", "message"),
        [
            ("Organizations", {"name": "Acme"}, "'country' is required"),
            ("Organizations", {"name": "Acme", "country": 7}, "'country' must be a string"),
            ("Organizations", {"name": "a" * 401, "country": "US"}, "'name' is longer than 400 characters"),
            ("Organizations", {"name": "a\0", "country": "US"}, "'name' must not hold NUL"),
            ("Collections/LegalMaxima", {"rate": 1}, "'rate' must be decimal text such as \"12.50\""),
            ("Collections/LegalMaxima", {"rate": "0.1", "from_on": "x"}, "'from_on' must be a day such as 2025-03-01"),
            ("Collections/Policy", {"notice": "never"}, "'notice' must be one of off, propose, auto"),
            ("Simulations", {"days": 0}, "'days' must be at least 1"),
        ],
    )
    async def test_a_field_of_another_kind_is_refused_by_name(
        self, house: House, path: str, body: Mapping[str, Any], message: str
    ) -> None:
        status, shown = await house.call("POST", f"/commercial/v1/{path}", body)
        assert (status, shown["code"], shown["message"]) == (400, 20001, message)

    async def test_a_query_of_another_kind_is_refused_and_an_unknown_one_ignored(self, house: House) -> None:
        status, shown = await house.call("GET", "/commercial/v1/TaxRules?limit=0&colour=red")
        assert (status, shown["message"]) == (400, "'limit' must be at least 1")
        assert (await house.call("GET", "/commercial/v1/TaxRules?limit=1&colour=red"))[0] == 200


class TestAnswers:
    async def test_what_is_made_and_listed_is_as_declared(self, house: House) -> None:
        """Make one of many things, then read every list and every single thing there is."""
        whose, base = f"customer_sid={house.customer}", "/commercial/v1"
        for path, body in self._bodies(house):
            status, shown = await house.call("POST", f"{base}/{path}?{whose}", body)
            assert status in (200, 201), (path, shown)
        accounts_own = {route.pattern for route in house.routes if route.access == "account"}
        read = 0
        for name, path, method in OPERATIONS:
            if method != "get" or re.sub(r"\{customer_sid\}", "", path).count("{"):
                continue
            target = path.replace("{customer_sid}", house.customer) + f"?{whose}{QUERIES.get(path, '')}"
            # There is no clock here that moves, nobody whose account is closed, and some things are an account's alone.
            if path in ("/simulator/v1/clock", "/commercial/v1/ClosedAccountDeletion") or path in accounts_own:
                continue
            status, shown = await house.call("GET", target)
            assert status == 200, (target, shown)
            read += 1
            for item in self._items(shown):
                one = f"{path}/{{sid}}"
                if isinstance(item, dict) and "sid" in item and "get" in DOCUMENTS[name]["paths"].get(one, {}):
                    status, shown = await house.call("GET", f"{path}/{item['sid']}?{whose}")
                    assert status == 200, (one, shown)
                    break
        assert read >= 90
        assert len(house.seen) >= 120

    @staticmethod
    def _items(shown: Any) -> Iterator[Any]:
        if isinstance(shown, dict) and isinstance(shown.get("items"), list):
            yield from shown["items"]

    @staticmethod
    def _bodies(house: House) -> list[tuple[str, dict[str, Any]]]:
        """Return what is made: the path below /commercial/v1, and the body."""
        account = house.account
        rate = {"service": "sms", "unit": "segment", "country": "US", "price": "0.01"}
        form = {"customer_sid": house.customer, "number": "OF-1", "term_from": "2030-02-01", "term_to": "2031-01-31"}
        place = {"jurisdiction": "US-NY"}
        rule = {**place, "kind": "sales", "rate": "0.08875", "source": "law"}
        return [
            ("Contacts", {"kind": "legal", "address": "legal@northwind.example"}),
            (f"Customers/{house.customer}/Domiciles", {"country": "JP", "evidence": "register"}),
            (f"Customers/{house.customer}", {"size": "small", "partner_since": "2030-01-01", "evidence": "register"}),
            (f"Customers/{house.customer}/Attestations", {"compliance": True}),
            (f"Customers/{house.customer}/Accounts/{account}", {"administrator_sid": house.customer}),
            ("Organizations", {"name": "Parent", "country": "US"}),
            ("EndUserMarks", {"identity": "+14155550100", "kind": "complaint"}),
            ("Incidents", {"account_sid": account, "description": "a key leaked"}),
            ("NoticesIn", {"kind": "termination", "subject": "We end", "body": "In 30 days"}),
            ("Documents", {"name": "guide", "title": "A guide"}),
            ("Attachments", {"kind": "note", "reference": "N-1", "text": "words"}),
            ("ContractingEntities", {"key": "default", "name": "Operator Inc.", "address": "1 Way", "country": "US"}),
            (
                "PriceBooks/list/Prices",
                {"prices": [{**rate, "currency": "USD", "effective_from": "2030-03-01T00:00:00Z"}]},
            ),
            ("OrderForms", {**form, "rates": [rate], "commitments": [{"period": "year", "amount": "100"}]}),
            ("SurchargeRules", {**AMOUNT, "country": "US", "channel": "sms"}),
            ("TaxRules", rule),
            ("Exemptions", {**place, "kind": "sales", "certificate": "C-1", "document": {"content": "eA=="}}),
            (
                "Collections/LegalMaxima",
                {**place, "rate": "0.16", "from_on": "2020-01-01", "source": "law"},
            ),
            ("Collections/Policy", {"late_fee": "auto"}),
            ("Collections/Reviews", {}),
            ("InvoicingApplications", {"note": "please"}),
            ("AutoRecharge", {"threshold": "10", "amount": "20", "cap_per_day": "100", "enabled": False}),
            ("BillingProfiles", {}),
            (
                "Consents",
                {
                    **{"identity": "+14155550100", "channel": "sms", "purpose": "marketing", "source": "form"},
                    "given_at": "2030-01-01T00:00:00Z",
                },
            ),
            ("AuditReports", {"title": "SOC 2", "content": "words"}),
            ("Services/sms", {"stage": "ga", "provider": "operator"}),
            ("PlaceBlocks", {"kind": "embargo", "country": "KP", "reason": "law"}),
            ("Simulations", {"days": 1}),
        ]


# What a list does not do without.
QUERIES = {
    "/commercial/v1/LiabilityCap": "&services=sms&first_incident=2030-01-01T00:00:00Z",
    "/simulator/v1/letters": "&address=1+Way",
    "/commercial/v1/Resolve": "&term=net_days",
}
