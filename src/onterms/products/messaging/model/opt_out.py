"""Words of opting out and what they are answered with: the default ones, a sender's own, by language and country."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from onterms.products.messaging.model import REPLIES, Keyword, keyword_of

_FAMILIES: tuple[Keyword, ...] = ("STOP", "START", "HELP")


class Heard(NamedTuple):
    """A keyword that somebody sent, with its reply; an empty one is not sent."""

    keyword: Keyword
    reply: str


def hear(body: str, own: Mapping[str, Any] | None, country: str) -> Heard | None:
    """Return the keyword that a message is, if it is one word and nothing else.

    Twilio docs, Advanced Opt-Out: further languages add their words to the default ones and are answered in their own;
    what is set for a country stands in for all of it there.

    Shapes: `own` has words in capitals under stop_words, start_words and help_words, replies under stop_reply and so
    on, and may have the same again for each of `languages` and `countries`; `country` is where the message came from.
    """
    if own is None:
        found = keyword_of(body)
        return None if found is None else Heard(found, REPLIES[found])
    word = body.strip().upper()
    # Of a word in several languages the wish to stop counts first.
    for family in _FAMILIES:
        for words in _sets(own, country):
            if word in words[f"{family.lower()}_words"]:
                return Heard(family, words[f"{family.lower()}_reply"])
    return None


def _sets(own: Mapping[str, Any], country: str) -> Iterator[Mapping[str, Any]]:
    for each in own.get("countries", ()):
        if each["country"] == country:
            yield each
            return
    yield own
    yield from own.get("languages", ())
