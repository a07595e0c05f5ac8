"""What this room says."""

USAGE_UNUSUAL = "usage.unusual"
SIGN_IN_REFUSED = "sign_in.refused_by_region"
POLICY_HIT = "policy.hit"
