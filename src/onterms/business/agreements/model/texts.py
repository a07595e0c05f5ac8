"""A document's words: clauses, machine-readable terms, defined words, differences, and how they are shown.

A binding text is Markdown. A heading `### 3.3.2(i): Late fee` begins the clause `3.3.2(i)`; its id, never its title, is
the key. A term that programs use stands in the words themselves, as a link: `within [15](term:cure_days) days`. So what
a program reads is what a person reads. `[JPY](term:currency?yields)` is a term that steps back where an order form says
otherwise. A word is defined where it first stands as **"Word"**.
"""

import difflib
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

# Bounded, so that no text makes them slow: an operator may paste anything.
_HEADING = re.compile(r"^(#{1,6})[ \t]+(?:([^:\s][^:\n]{0,59}):[ \t]+)?(\S.*)$", re.M)
_TERM = re.compile(r"\[([^\]\[\n]{1,200})\]\(term:([a-z0-9_.]{1,80})(\?yields)?\)")
_DEFINED = re.compile(r'\*\*"([^"*\n]{1,80})"\*\*')


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause: its id, its title, its words."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Term:
    """A value that programs use, with the clause it stands in."""

    key: str
    value: str
    clause: str
    # It says itself that an order form may say otherwise.
    yields: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one clause between two texts."""

    clause: str
    kind: str
    old: str
    new: str
    lines: tuple[str, ...]


def sha256(text: str) -> str:
    """Return the hash by which a text is known."""
    return hashlib.sha256(text.encode()).hexdigest()


def clauses(text: str) -> list[Clause]:
    """Split a text at its headings; what stands before the first is the clause with an empty id."""
    found: list[Clause] = []
    headings = list(_HEADING.finditer(text))
    first = headings[0].start() if headings else len(text)
    if text[:first].strip():
        found.append(Clause("", "", text[:first].strip()))
    for place, heading in enumerate(headings):
        end = headings[place + 1].start() if place + 1 < len(headings) else len(text)
        found.append(Clause(heading[2] or "", heading[3].strip(), text[heading.end() : end].strip()))
    return found


@lru_cache(maxsize=256)
def terms(text: str) -> tuple[Term, ...]:
    """List the terms of a text in its order."""
    return tuple(
        Term(match[2], match[1], clause.id, match[3] is not None)
        for clause in clauses(text)
        for match in _TERM.finditer(clause.text)
    )


def twice_stated(text: str) -> str | None:
    """Return a term that one clause gives two values, which no program could follow, or None."""
    seen: dict[tuple[str, str], str] = {}
    for term in terms(text):
        if seen.setdefault((term.clause, term.key), term.value) != term.value:
            return f"{term.key} in {term.clause}"
    return None


def glossary(text: str) -> dict[str, str]:
    """Return the clause that defines each word: the first that has it in bold and quotes."""
    found: dict[str, str] = {}
    for clause in clauses(text):
        for match in _DEFINED.finditer(clause.text):
            found.setdefault(match[1], clause.id)
    return dict(sorted(found.items()))


def differences(old: str, new: str) -> list[Change]:
    """List the clauses that were added, removed or changed, in the new text's order, the removed ones last."""
    before, after = _by_id(old), _by_id(new)
    changes: list[Change] = []
    for key, text in after.items():
        if key not in before:
            changes.append(Change(key, "added", "", text, _lines("", text)))
        elif before[key] != text:
            changes.append(Change(key, "changed", before[key], text, _lines(before[key], text)))
    changes += [Change(key, "removed", text, "", _lines(text, "")) for key, text in before.items() if key not in after]
    return changes


def _by_id(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for clause in clauses(text):
        key = clause.id or clause.title
        # A heading without an id, or one used twice, still has its words compared.
        found[key] = f"{found[key]}\n\n{plain(clause.text)}" if key in found else plain(clause.text)
    return found


def _lines(old: str, new: str) -> tuple[str, ...]:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0)
    return tuple(line for line in lines if not line.startswith(("---", "+++", "@@")))


def search(text: str, words: str) -> list[Clause]:
    """List the clauses that hold every word asked for, whatever the case."""
    wanted = words.lower().split()
    found = []
    for clause in clauses(text):
        whole = f"{clause.id} {clause.title} {plain(clause.text)}".lower()
        if wanted and all(word in whole for word in wanted):
            found.append(clause)
    return found


def plain(text: str) -> str:
    """Return a text with its terms as mere words."""
    return _TERM.sub(lambda match: match[1], text)


def struck(text: str, overrides: Mapping[str, tuple[str, str]]) -> str:
    """Return a text for reading: overridden clauses struck through with reason and replacement, terms as words."""
    parts: list[str] = []
    position = 0
    headings = list(_HEADING.finditer(text))
    for place, heading in enumerate(headings):
        if heading[2] not in overrides:
            continue
        end = headings[place + 1].start() if place + 1 < len(headings) else len(text)
        reason, replacement = overrides[heading[2]]
        body = text[heading.end() : end].strip()
        lines = "\n".join(f"~~{line}~~" if line.strip() else "" for line in body.splitlines())
        added = f"\n\n{replacement}" if replacement else ""
        parts += [text[position : heading.end()], f"\n\n{lines}\n\n*Not enforced: {reason}*{added}\n\n"]
        position = end
    return plain("".join(parts) + text[position:])


def as_html(title: str, text: str, notes: Sequence[str] = ()) -> str:
    """Render Markdown of the kind our texts use (headings, paragraphs, lists, strikes, bold, emphasis) as a page."""
    blocks = [f"<p><small>{html.escape(note)}</small></p>" for note in notes]
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.strip().splitlines()
        while lines and (heading := re.match(r"^(#{1,6})\s+(.*)$", lines[0])):
            level = len(heading[1])
            blocks.append(f"<h{level}>{_inline(heading[2])}</h{level}>")
            lines = lines[1:]
        if not lines:
            continue
        if all(line.startswith("- ") for line in lines):
            blocks.append("<ul>" + "".join(f"<li>{_inline(line[2:])}</li>" for line in lines) + "</ul>")
        else:
            blocks.append(f"<p>{_inline(' '.join(lines))}</p>")
    body = "\n".join(blocks)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title></head>'
        f"<body>\n{body}\n</body></html>\n"
    )


def _inline(text: str) -> str:
    safe = html.escape(text)
    safe = re.sub(r"~~(.+?)~~", r"<del>\1</del>", safe)
    safe = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", safe)
    return re.sub(r"(?<!\*)\*([^*]+)\*(?!\*)", r"<em>\1</em>", safe)
