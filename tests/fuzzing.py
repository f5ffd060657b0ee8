"""What the tests under `fuzz` share: how many examples, and what a refusal looks like."""

import os

from hypothesis import HealthCheck, settings

SEARCH = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""Examples of a search with fresh random numbers; 0 for the fixed examples of every run of the tests."""


def examples(number):
    return settings(
        max_examples=SEARCH or number,
        derandomize=not SEARCH,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )


def outcome(function, *arguments, **options):
    """(result, None), or (None, message) where the input was refused; any other error passes through, and fails the test."""
    try:
        return function(*arguments, **options), None
    except ValueError as error:
        assert type(error) is ValueError, repr(error)
        message = str(error)
        assert message.isprintable() and len(message) < 2000, message
        return None, message
