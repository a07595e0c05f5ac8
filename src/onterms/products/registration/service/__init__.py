"""Use cases of the registration room."""
