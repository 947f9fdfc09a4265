"""Helpers for the tests of the contract checks: right components, each with one fault that breaks one law."""

import contextlib
import functools
import inspect
import itertools

import attrs
import pytest

from auxar.testing import ContractError, distributions, heads
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


def mutant(base, /, **edits):
    """A subclass of `base` with faults: each edit gets the object, its right method, and the method's arguments.

    An edit that is no function is an attribute of the class.
    """

    def method(name, edit):
        right = getattr(base, name)
        return lambda self, *given, **named: edit(self, functools.partial(right, self), *given, **named)

    methods = {name: method(name, edit) if callable(edit) else edit for name, edit in edits.items()}
    return type("Mutant", (base,), methods)


def then(change):
    """An edit that changes what the right method returns."""
    return lambda self, right, *given, **named: change(right(*given, **named))


def before(**changes):
    """An edit that changes arguments of the right method before it is called, by their names."""

    def edit(self, right, *given, **named):
        call = inspect.signature(right).bind(*given, **named)
        call.apply_defaults()
        call.arguments.update({name: change(call.arguments[name]) for name, change in changes.items()})
        return right(*call.args, **call.kwargs)

    return edit


def first(action):
    """An edit that calls `action()` before the right method."""

    def edit(self, right, *given, **named):
        action()
        return right(*given, **named)

    return edit


def alternately(other):
    """An edit that changes what the right method returns in every second call."""
    calls = itertools.count()
    return then(lambda found: other(found) if next(calls) % 2 else found)


def setting(**attributes):
    """An edit of `__init__` that sets attributes. Functions compute them from the object."""

    def edit(self, right, *given, **named):
        right(*given, **named)
        for name, value in attributes.items():
            setattr(self, name, value(self) if inspect.isfunction(value) else value)

    return edit


def in_memory_order(values):
    """Values (b, c, h, w), as read by code that takes their memory for contiguous."""
    height, width = values.shape[2:]
    strides = values.stride(0), height * width, width, 1
    return values.as_strided(values.shape, strides) if len(values) else values


def cases(mutants, slow=()):
    """The entries of a table of mutants as parameters of a test. Those named in `slow` are slow."""
    return [
        pytest.param(*entry, id=name, marks=pytest.mark.slow if name in slow else []) for name, entry in mutants.items()
    ]


def breaks(law, check, *arguments, **options):
    """Asserts that a check raises the error of a law. Returns its message."""
    with pytest.raises(ContractError) as error:
        check(*arguments, **options)
    assert error.value.law == law, error.value
    assert str(error.value).startswith(f"{law}: ")
    return str(error.value)


def is_restricted(given):
    """Whether there are given views that restrict images."""
    return given is not None and given.restricted


def free(given):
    """Given views, if there are any, that do not restrict images."""
    return given and attrs.evolve(given, restricted=False)
