"""Helpers for the tests of the contract checks."""

import contextlib
import re

import attrs
import pytest

from auxar.testing import distributions, heads
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxHead

PASSED: set[object] = set()
"""The checks of shipped heads that have passed in this process."""


def once(check):
    """Leaves out a check of a shipped head that has passed with the same arguments. The checks are deterministic."""

    def checked(head, spec, *arguments):
        if type(head) not in (SoftmaxHead, LogisticMixtureHead):  # Broken heads are subclasses.
            check(head, spec, *arguments)
            return
        key = check.__name__, type(head), head.parameter_count, spec, arguments
        if key not in PASSED:
            check(head, spec, *arguments)
            PASSED.add(key)

    return checked


@contextlib.contextmanager
def checking_shipped_heads_once():
    """Checks each shipped head once in the block. The check of a network takes most of its time for the head."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (heads, "check_likelihoods"),
            (heads, "check_drawn_pixels"),
            (distributions, "check_drawn_pixels"),
            (distributions, "check_conditionals"),
        ):
            patch.setattr(module, name, once(getattr(module, name)))
        yield


def tells(error, *expected):
    """Asserts that a `ContractError` has one of the expected laws or messages, and begins with the name of the law.

    An expected message is followed by the names of the parts of the example in parentheses, such as "range: … is not
    finite (image)". An ellipsis stands for any text.
    """
    message = re.split(r"\n  \w+ = ", str(error.value))[0]
    parts = re.findall(r"^  (\w+) = ", str(error.value), re.M)
    found = f"{message} ({', '.join(parts)})" if parts else message
    patterns = [".*".join(re.escape(text) for text in each.split("…")) for each in expected]
    assert error.value.law in expected or any(re.fullmatch(pattern, found, re.S) for pattern in patterns), found
    assert message.startswith(f"{error.value.law}: ")


def is_restricted(given):
    """Whether there are given views that restrict images."""
    return given is not None and given.restricted


def free(given):
    """Given views, if there are any, that do not restrict images."""
    return given and attrs.evolve(given, restricted=False)
