"""The simulator's post: letters on paper that can be read where they would have arrived."""

from onterms.carriers.letterbox.letterbox import Letterbox

__all__ = ["Letterbox"]
