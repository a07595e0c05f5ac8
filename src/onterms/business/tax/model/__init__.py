"""Taxes, exemptions, withholding and VAT identifiers, all pure."""

from onterms.business.tax.model.exemptions import (
    BackBilling,
    Exempted,
    Exemption,
    back_bill,
    interest,
)
from onterms.business.tax.model.exemptions import move as move_exemption
from onterms.business.tax.model.taxes import (
    CHARGEABLE_KINDS,
    EXCLUDED_KINDS,
    TaxableLine,
    TaxLine,
    TaxResult,
    TaxRule,
    applicable,
    compute,
    jurisdictions,
)
from onterms.business.tax.model.vat import VatCheck, check_vat_id
from onterms.business.tax.model.withholding import Proof, WithholdingProfile, gross_up, still_due
from onterms.business.tax.model.withholding import move as move_proof

__all__ = [
    "CHARGEABLE_KINDS",
    "EXCLUDED_KINDS",
    "BackBilling",
    "Exempted",
    "Exemption",
    "Proof",
    "TaxLine",
    "TaxResult",
    "TaxRule",
    "TaxableLine",
    "VatCheck",
    "WithholdingProfile",
    "applicable",
    "back_bill",
    "check_vat_id",
    "compute",
    "gross_up",
    "interest",
    "jurisdictions",
    "move_exemption",
    "move_proof",
    "still_due",
]
