"""Every SQL statement on a table that belongs to customers says whose rows it means.

A statement binds account_sid once for each such table that it names: by a comparison, or as a column it inserts. Where
that cannot be, a comment `# tenant: reason` stands directly above the function or the constant.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "onterms"

# Tables that no request of a customer reads or writes by itself, though their rows say whose they are.
OF_THE_HOUSE = {
    "jobs": "the worker runs the jobs of every account; only the operator sees them",
}

_OWNERS = ("account_sid", "customer_sid")
_CREATE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+) \((.*?)^\)", re.S | re.M)
_ADDED = re.compile(r"ALTER TABLE (\w+)\s+ADD COLUMN account_sid\b")
_NAMED = r"\b(FROM|JOIN|INTO|UPDATE|USING)\s+(?:ONLY\s+)?({tables})\b"
# `account_sid = ...`, `... = m.account_sid`, `(account_sid, sid) IN ...`, `JOIN ... USING (account_sid, ...)`. A join
# to the table of accounts itself (`a.sid = k.account_sid`) says nothing of whose rows are meant.
_COMPARED = (
    r"(?:\w+\.)?\b{column}\s*(?:=(?!\s*\w+\.sid\b)|IN\b)"
    r"|(?<!\.sid )(?<!{column} )=\s*(?:\w+\.)?{column}\b(?!\s*(?:=|IN\b))"
    r"|\(\s*(?:\w+\.)?{column}\s*,[^()]*\)\s*(?:=|IN\b)|USING\s*\(\s*{column}\b"
)
_REASON = re.compile(r"^\s*# tenant: \S.*")
_DYNAMIC = "{...}"


class Finding(NamedTuple):
    line: int
    where: str
    table: str


def tables_of_customers() -> dict[str, set[str]]:
    """Read from the migrations which tables have an account_sid, with the columns that say whose a row is."""
    found: dict[str, set[str]] = {}
    for path in sorted((SOURCE / "app" / "migrations").glob("*.sql")):
        text = re.sub(r"--.*", "", path.read_text())
        for name, body in _CREATE.findall(text):
            found[name] = {column for column in _OWNERS if re.search(rf"^\s*{column}\s", body, re.M)}
        for name in _ADDED.findall(text):
            found.setdefault(name, set()).add("account_sid")
    return {name: own for name, own in found.items() if "account_sid" in own and name not in OF_THE_HOUSE}


def unbound(source: str, tables: dict[str, set[str]]) -> list[Finding]:
    """List the statements of a module that name a table of customers, do not bind the account and give no reason."""
    lines = source.splitlines()
    tree = ast.parse(source)
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and node.value is not None
    }
    findings: list[Finding] = []
    for node, name in _owners(tree):
        if _has_reason(lines, node):
            continue
        texts = [(text.lineno, _text(text, constants)) for text in _strings(node)]
        for line, text in texts:
            # What a statement is put together of stands in the same function.
            whole = " ".join(other for _, other in texts) if _DYNAMIC in text else text
            findings += [Finding(line, name, table) for table in _unbound_tables(text, whole, tables)]
    return findings


def _owners(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """Yield each function (methods too) and each statement of the module's own, with a name."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                yield item, f"{node.name}.{getattr(item, 'name', '')}"
        else:
            yield node, getattr(node, "name", "") or ast.unparse(node)[:40]


def _has_reason(lines: list[str], node: ast.stmt) -> bool:
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    above = first - 2
    while above >= 0 and lines[above].lstrip().startswith("#"):
        if _REASON.match(lines[above]):
            return True
        above -= 1
    return False


def _strings(node: ast.AST) -> Iterator[ast.Constant | ast.JoinedStr]:
    """Yield whole strings, f-strings in one piece, without docstrings."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
            continue
        if isinstance(child, ast.JoinedStr) or (isinstance(child, ast.Constant) and isinstance(child.value, str)):
            yield child
        # Inside an f-string's placeholders there are strings too.
        yield from (
            _strings(child)
            if not isinstance(child, ast.JoinedStr)
            else (inner for value in child.values if isinstance(value, ast.FormattedValue) for inner in _strings(value))
        )


def _text(node: ast.expr, constants: dict[str, ast.expr], depth: int = 0) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, constants, depth) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, constants, depth)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, constants, depth) + _text(node.right, constants, depth)
    if isinstance(node, ast.Name) and node.id in constants and depth < 5:
        return _text(constants[node.id], constants, depth + 1)
    return _DYNAMIC


def _unbound_tables(text: str, whole: str, tables: dict[str, set[str]]) -> list[str]:
    if not tables:
        return []
    text, whole = _plain(text), _plain(whole)
    named = re.findall(_NAMED.format(tables="|".join(sorted(tables))), text)
    if not named:
        return []
    inserts = re.findall(r"INSERT INTO (\w+)(?: AS \w+)? \(([^()]*)\)", text)
    # Rows of the contract are a customer's, which may have several accounts: there its SID says whose they are.
    columns = {"account_sid"}.union(*(tables[name] for _, name in named))
    bound = sum(len(re.findall(_COMPARED.format(column=column), whole)) for column in columns)
    bound += sum(1 for name, given in inserts if name in tables and columns & set(re.findall(r"\w+", given)))
    return [] if bound >= len(named) else [name for _, name in named]


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"--[^\n]*", "", text))


TABLES = {
    "messages": {"account_sid"},
    "message_media": {"account_sid"},
    "ledger_holds": {"account_sid", "customer_sid"},
}


def running(sql: str) -> str:
    """Return a module with a function that runs a statement."""
    return f'async def f(tx):\n    await tx.fetch("""{sql}""")'


VIOLATIONS = {
    "a_fetch_by_sid_alone": running("SELECT * FROM messages WHERE sid = $1"),
    "an_account_in_the_columns_only": running("SELECT account_sid FROM messages WHERE sid = $1"),
    "an_update": running("UPDATE messages SET body = '' WHERE sid = $1"),
    "an_update_from_others": running("UPDATE messages m SET body = $1 FROM k WHERE k.sid = m.sid"),
    "a_delete": running("DELETE FROM messages WHERE sid = $1"),
    "an_insert_without_the_column": running("INSERT INTO messages (sid) VALUES ($1)"),
    "a_second_table_left_open": running(
        "SELECT 1 FROM messages m, (SELECT * FROM message_media) x WHERE m.account_sid = $1"
    ),
    "a_join_left_open": running(
        "SELECT 1 FROM messages m JOIN message_media d ON d.message_sid = m.sid WHERE m.account_sid = $1"
    ),
    "a_join_to_the_accounts": running("SELECT 1 FROM messages m JOIN accounts a ON a.sid = m.account_sid"),
    "a_join_the_other_way": running("SELECT 1 FROM messages m JOIN accounts a ON m.account_sid = a.sid"),
    "a_customer_where_there_is_none": running("SELECT * FROM messages WHERE customer_sid = $1"),
    "a_hold_of_anybody": running("SELECT * FROM ledger_holds WHERE id = $1"),
    "a_constant": 'SQL = "SELECT * FROM messages"',
    "columns_in_an_f_string": 'COLUMNS = "account_sid"\ndef f(tx):\n    tx.fetch(f"SELECT {COLUMNS} FROM messages")',
    "a_method": 'class A:\n    def f(self, tx):\n        tx.fetch("SELECT * FROM messages")',
    "put_together": 'def f(tx):\n    c = ["sid = $1"]\n    tx.fetch(f"SELECT * FROM messages WHERE {c[0]}")',
    "a_binding_in_a_comment_of_sql": running("SELECT * FROM messages -- account_sid = $1\n"),
    "a_reason_that_says_nothing": "# tenant:\n" + running("SELECT * FROM messages"),
    "a_reason_far_above": "# tenant: because\n\nX = 1\n" + running("SELECT * FROM messages"),
}

LAWFUL = {
    "bound": running("SELECT * FROM messages WHERE account_sid = $1"),
    "bound_to_many": running("SELECT * FROM messages WHERE account_sid = ANY($1)"),
    "bound_by_a_join": running("SELECT * FROM messages m JOIN unnest($1) k ON m.account_sid = k.account"),
    "bound_by_a_pair": running("SELECT * FROM messages WHERE (account_sid, sid) IN (VALUES ($1, $2))"),
    "bound_by_a_join_of_two": running(
        "SELECT 1 FROM messages m JOIN message_media d ON d.account_sid = m.account_sid WHERE m.account_sid = $1"
    ),
    "bound_to_a_customer": running("SELECT * FROM ledger_holds WHERE customer_sid = $1"),
    "inserted": running("INSERT INTO messages (account_sid, sid) VALUES ($1, $2)"),
    "put_together": 'def f(tx):\n    c = ["account_sid = $1"]\n    tx.fetch(f"SELECT * FROM messages WHERE {c[0]}")',
    "another_table": running("SELECT * FROM countries"),
    "a_docstring": 'def f():\n    """Return rows FROM messages as they are."""',
    "a_reason": "# tenant: a carrier knows only its own id.\n" + running("SELECT * FROM messages"),
    "a_reason_of_two_lines": '# tenant: a carrier knows\n# only its own id.\nSQL = "SELECT * FROM messages"',
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_an_open_statement_is_seen(name: str) -> None:
    assert unbound(VIOLATIONS[name], TABLES)


@pytest.mark.parametrize("name", LAWFUL)
def test_a_bound_or_reasoned_statement_is_let_pass(name: str) -> None:
    assert unbound(LAWFUL[name], TABLES) == []


def test_tables_of_customers_are_read_from_the_migrations() -> None:
    tables = tables_of_customers()
    assert {
        "messages",
        "message_media",
        "incoming_numbers",
        "applications",
        "api_keys",
        "alerts",
        "events",
    } <= tables.keys()
    assert not tables.keys() & {"accounts", "number_inventory", "simulator_messages", "job_workers", "jobs"}


def test_every_statement_on_a_table_of_customers_is_bound_to_accounts() -> None:
    tables = tables_of_customers()
    found = [
        f"{path.relative_to(SOURCE)}:{finding.line} {finding.where} ({finding.table})"
        for path in sorted(SOURCE.rglob("*.py"))
        for finding in unbound(path.read_text(), tables)
    ]
    assert found == []
