"""Pictures made smaller, each in a program of its own that may have so much memory and time and no more."""

from onterms.engines.imaging.studio import Studio

__all__ = ["Studio"]
