"""A document on paper, set by Typst. The package is optional: without it everything else works.

The words of the document travel beside the template as data, so nothing in a customer's name is read as markup.
"""

import importlib
from typing import Any

import msgspec

from onterms.business.invoicing.errors import NoPdf
from onterms.business.invoicing.model import Invoice

_TEMPLATE = """
#let d = json(bytes(sys.inputs.document))
#set document(title: d.number, date: none)
#set page(paper: "a4", margin: 2cm, footer: [
  #set text(size: 8pt)
  SHA-256 of the document: #d.sha256
])
#set text(size: 10pt)
#let issuer = d.names.at(d.issuer.entity, default: d.issuer.entity)
#text(size: 16pt, weight: "bold")[#d.title #d.number]
#v(4mm)
#grid(columns: (1fr, 1fr), row-gutter: 2mm,
  [#strong(issuer)
   #if d.issuer.on_behalf_of != none [ \\ as agent of #d.names.at(d.issuer.on_behalf_of)]],
  [#strong(d.names.at(d.bill_to, default: d.bill_to))],
  [Date: #d.issued_on], [Due by the end of: #d.due_on],
  [Period: #d.period.at(0) to before #d.period.at(1)], [Currency: #d.currency],
)
#v(6mm)
#for section in d.sections [
  #if d.sections.len() > 1 [ #strong(d.names.at(section.name, default: section.name)) ]
  #table(columns: (auto, 1fr, auto, auto), align: (left, left, right, right), stroke: 0.3pt,
    table.header([Kind], [Description], [Quantity], [Amount]),
    ..section.lines.map(l => (
      [#l.kind.replace("_", " ")],
      [#l.name #if l.at("rate", default: none) != none [(#l.rate % on #l.base)]],
      [#l.quantity #l.unit], [#l.amount],
    )).flatten()
  )
]
#align(right)[#text(size: 12pt, weight: "bold")[Total #d.total #d.currency]]
"""


def render(invoice: Invoice) -> bytes:
    """Print a finalised document; takes tens of milliseconds of processor time.

    Raises: NoPdf where the optional package is not installed.
    """
    try:
        typst: Any = importlib.import_module("typst")
    except ImportError as error:
        raise NoPdf from error
    document = msgspec.json.decode(invoice.body)
    sections: dict[str, list[Any]] = {}
    for line in document["lines"]:
        sections.setdefault(line["section"], []).append(line)
    document |= {
        "sha256": invoice.sha256,
        "title": "Invoice" if invoice.kind == "invoice" else "Debit note",
        "sections": [{"name": name, "lines": lines} for name, lines in sections.items()],
    }
    made: bytes = typst.compile(_TEMPLATE.encode(), sys_inputs={"document": msgspec.json.encode(document).decode()})
    return made
