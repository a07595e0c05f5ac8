"""From host, method and path to an operation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote

from onterms.engines.api.contract import Operation, PathParameter

FORMATS = ("json", "xml", "csv")
# At most about 4 MB.
_REMEMBERED_MAX = 4096
_REMEMBERED_CHARS_MAX = 200


@dataclass(slots=True)
class _Node:
    literal: dict[str, "_Node"] = field(default_factory=dict)
    # Variable children with text around the name ({Sid}:retry) come before plain ones, which match anything.
    variable: list[tuple[str, str, "_Node"]] = field(default_factory=list)
    operations: dict[str, Operation] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes: an operation with its path parameters, or the methods the path would take."""

    operation: Operation | None
    path: Mapping[str, str]
    extension: str | None
    allowed: tuple[str, ...] = ()
    # A SID that cannot exist is a resource that does not.
    is_possible: bool = True


class Router:
    """A tree of path segments per host."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._remembered = lru_cache(maxsize=_REMEMBERED_MAX)(self._find)
        self._hosts: dict[str, _Node] = {}
        for operation in operations:
            node = self._hosts.setdefault(operation.host, _Node())
            for segment in operation.segments:
                node = self._child(node, segment)
            node.operations[operation.method] = operation

    @staticmethod
    def _child(node: _Node, segment: str | PathParameter) -> _Node:
        if isinstance(segment, str):
            return node.literal.setdefault(segment, _Node())
        for prefix, suffix, child in node.variable:
            if (prefix, suffix) == (segment.prefix, segment.suffix):
                return child
        child = _Node()
        node.variable.append((segment.prefix, segment.suffix, child))
        node.variable.sort(key=lambda entry: -len(entry[0]) - len(entry[1]))
        return child

    def knows(self, host: str) -> bool:
        """Tell whether any operation lives on the host."""
        return host in self._hosts

    def find(self, host: str, method: str, path: str) -> Route | None:
        """Find the operation; None where no operation has this path."""
        # A busy client asks for few paths, mostly the list it adds to. Hostile ones take no memory: see the bounds.
        find = self._remembered if len(path) <= _REMEMBERED_CHARS_MAX else self._find
        return find(host, method, path)

    def _find(self, host: str, method: str, path: str) -> Route | None:
        root = self._hosts.get(host)
        if root is None:
            return None
        extension = None
        stem, dot, ending = path.rpartition(".")
        if dot and ending in FORMATS:
            extension, path = ending, stem
        parts = path.strip("/").split("/")
        values: list[str] = []
        node = self._walk(root, parts, 0, values, method)
        if node is None:
            # Any method the path would take makes this a 405 and not a 404.
            values.clear()
            node = self._walk(root, parts, 0, values, None)
            if node is None:
                return None
            return Route(None, {}, extension, tuple(sorted(node.operations)))
        operation = node.operations[method]
        names = [segment.name for segment in operation.segments if isinstance(segment, PathParameter)]
        found = dict(zip(names, values, strict=True))
        for name, value in found.items():
            if "%" in value:
                # PostgreSQL stores no NUL in text.
                found[name] = unquote(value).replace("\0", "\ufffd")
        is_possible = all(
            segment.matches(found[segment.name])
            for segment in operation.segments
            if isinstance(segment, PathParameter) and segment.matches
        )
        return Route(operation, found, extension, is_possible=is_possible)

    def _walk(self, node: _Node, parts: list[str], index: int, values: list[str], method: str | None) -> _Node | None:
        if index == len(parts):
            usable = bool(node.operations) if method is None else method in node.operations
            return node if usable else None
        part = parts[index]
        child = node.literal.get(part)
        if child is not None:
            found = self._walk(child, parts, index + 1, values, method)
            if found is not None:
                return found
        for prefix, suffix, child in node.variable:
            if len(part) > len(prefix) + len(suffix) and part.startswith(prefix) and part.endswith(suffix):
                values.append(part[len(prefix) : len(part) - len(suffix)] if prefix or suffix else part)
                found = self._walk(child, parts, index + 1, values, method)
                if found is not None:
                    return found
                values.pop()
        return None
