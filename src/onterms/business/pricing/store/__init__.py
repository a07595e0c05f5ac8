"""Every SQL statement of this room, by noun."""
