"""Use cases of the trust room."""
