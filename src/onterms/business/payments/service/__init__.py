"""The room's use cases, by noun."""
