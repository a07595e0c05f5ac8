"""Which elements may stand where, and with which attributes.

The table beside this file was made from the public TwiML classes of the SDKs. It keeps no attribute types: a wrong
value has a code of its own for each verb (13210, 13212, 14101 ...), which the verb's interpreter knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources

from onterms.protocols.twiml.document import Kind

Children = Mapping[str, frozenset[str]]
"""Attribute names by the name of a child element."""


@cache
def load(kind: Kind) -> Mapping[str, Children]:
    """Load the table of one kind of document: the children that each element may have."""
    text = resources.files("onterms.protocols.twiml").joinpath("schema.json").read_text("utf-8")
    parents: dict[str, dict[str, str]] = json.loads(text)[kind]
    return {
        parent: {child: frozenset(attributes.split()) for child, attributes in children.items()}
        for parent, children in parents.items()
    }
