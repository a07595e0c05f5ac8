"""The front door: the only floor that knows all the others."""
