"""Calling a room's operations as the engine does, without HTTP."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import jsonschema
import pytest

from onterms.core.clock import VirtualClock
from onterms.core.db import Database
from onterms.core.errors import Refusal
from onterms.engines.api import Account, Binding, Call, Caller, Operation, Page, load
from onterms.engines.api.paging import page_request


@cache
def _operations() -> dict[str, Operation]:
    return {operation.id: operation for operation in load()}


class Door:
    """Call the operations of one room for an account, each in its own transaction."""

    def __init__(self, database: Database, clock: VirtualClock, bindings: Iterable[Binding]) -> None:
        self.database = database
        self.clock = clock
        self.bindings = {binding.operation_id: binding for binding in bindings}

    def call(
        self,
        operation_id: str,
        account: Account,
        params: Mapping[str, Any] | None = None,
        *,
        caller: Account | None = None,
        **path: str,
    ) -> Call:
        params = params or {}
        operation = _operations()[operation_id]
        known = {**operation.query, **operation.body}
        unknown = [name for name in params if name not in known]
        assert not unknown, f"{operation_id} has no parameters {unknown}"
        sender = caller or account
        return Call(
            operation=operation,
            caller=Caller(sender, "token", sender.sid),
            account=account,
            path={"AccountSid": account.sid, **path},
            # Text goes through the contract's own parsers, as it does on the wire.
            params={
                name: known[name].parse(value) if isinstance(value, str) else value for name, value in params.items()
            },
            at=self.clock.now(),
            request_id="RQ" + "0" * 32,
            paging=page_request(params, operation.page_size_max),
        )

    async def raw(self, *args: Any, **kwargs: Any) -> Any:
        call = self.call(*args, **kwargs)
        handler = self.bindings[call.operation.id].handler
        assert handler is not None
        async with self.database.transaction() as tx:
            return await handler(tx, call)

    async def __call__(self, operation_id: str, *args: Any, **kwargs: Any) -> Any:
        """Return the rendered row, or the rendered rows of a list, each checked against the contract's schema."""
        outcome = await self.raw(operation_id, *args, **kwargs)
        operation = _operations()[operation_id]
        if outcome is None:
            return None
        if isinstance(outcome, Page):
            return [_checked(operation, row) for row in outcome.rows]
        return _checked(operation, outcome)

    async def refused(self, *args: Any, **kwargs: Any) -> Refusal:
        """Return the refusal that the operation raises."""
        with pytest.raises(Refusal) as caught:
            await self.raw(*args, **kwargs)
        return caught.value


def _checked(operation: Operation, row: Mapping[str, Any]) -> dict[str, Any]:
    schema = _row_schema(operation.id)
    missing = set(schema["properties"]) - set(row)
    assert not missing, f"{operation.id} leaves out {missing}"
    rendered = operation.render(row)
    jsonschema.validate(rendered, schema)
    return rendered


@cache
def _row_schema(operation_id: str) -> dict[str, Any]:
    operation = _operations()[operation_id]
    document = operation.document

    def resolved(schema: Any) -> Any:
        if isinstance(schema, list):
            return [resolved(item) for item in schema]
        if not isinstance(schema, dict):
            return schema
        if "$ref" in schema:
            target: Any = document
            for part in schema["$ref"].split("/")[1:]:
                target = target[part]
            return resolved(target)
        plain = {name: resolved(value) for name, value in schema.items()}
        if plain.pop("nullable", False):
            if "enum" in plain:
                plain["enum"] = [*plain["enum"], None]
            return {"anyOf": [plain, {"type": "null"}]}
        return plain

    schema = resolved(operation.response_schema)
    if operation.list_key is not None:
        schema = schema["properties"][operation.list_key]["items"]
    return dict(schema)


@pytest.fixture
def door(database: Database, clock: VirtualClock) -> Callable[[Iterable[Binding]], Door]:
    """Return a maker of doors into a room, given its bindings."""
    return lambda bindings: Door(database, clock, bindings)


@pytest.fixture
def account() -> Account:
    """Return a customer's main account."""
    return make_account("a")


@pytest.fixture
def stranger() -> Account:
    """Return another customer's account."""
    return make_account("b")


def make_account(letter: str, **fields: Any) -> Account:
    sid = "AC" + letter * 32
    return Account(sid, fields.pop("owner_sid", sid), fields.pop("status", "active"), f"Account {letter}", **fields)
