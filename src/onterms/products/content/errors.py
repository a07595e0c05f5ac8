"""What the content room refuses, with Twilio's codes."""

from onterms.core.errors import Refusal


class TypesRequired(Refusal):
    """A template has no type."""

    code = 92001


class TooManyVariables(Refusal):
    """A template has more variables than it may."""

    code = 92002


class InvalidLanguage(Refusal):
    """The language is not written as a code."""

    code = 92004


class UnsupportedType(Refusal):
    """A template names a type that does not exist."""

    code = 92008


class AlreadySubmitted(Refusal):
    """The template was submitted for approval before."""

    code = 92009


class InvalidVariables(Refusal):
    """ContentVariables is no JSON object of texts, or leaves a variable without a value."""

    code = 21656


class TypeNotOnChannel(Refusal):
    """No type of the template can be sent by this channel."""

    code = 216602
