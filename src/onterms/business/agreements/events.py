"""What this room says."""

AGREEMENT_ACCEPTED = "agreement.accepted"
# Whoever winds accounts down listens to this one.
AGREEMENT_DECLINED = "agreement.declined"
VERSION_EFFECTIVE = "agreement.version_effective"
LEGAL_TASK_OPENED = "agreement.legal_task_opened"
