"""Use cases, by noun."""
