"""The use cases: suspending, detecting, screening, admitting."""
