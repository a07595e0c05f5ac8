"""Sans-IO cores: bytes to meaning and back, with no clock, socket or thread."""
