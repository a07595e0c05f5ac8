"""ClamAV: files are looked through by clamd, over its own protocol."""

from onterms.carriers.clamav.scanner import ClamdScanner

__all__ = ["ClamdScanner"]
