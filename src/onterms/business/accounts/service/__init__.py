"""Use cases of the room: accounts, their credentials, and who is calling."""
