"""What the page needs to know of the installation."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PageFacts:
    """The account that the page shows, and how to reach it.

    Shapes: `numbers` are the account's own, `number` the one to use in examples; `handset` is empty where there is no
    simulator; `env_command` is a line for a shell.
    """

    account_sid: str
    auth_token: str
    test_account_sid: str
    test_auth_token: str
    number: str
    handset: str
    base_url: str
    env_command: str
    numbers: list[str]
