"""Where addresses are, by a file of the operator's."""

from onterms.carriers.geofile.places import GeoFile

__all__ = ["GeoFile"]
