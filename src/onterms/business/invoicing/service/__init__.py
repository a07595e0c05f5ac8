"""Closing months, settling what is open, correcting by notes."""
