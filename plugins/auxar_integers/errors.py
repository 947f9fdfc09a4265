"""The error of networks that have no integer twin."""


class NoIntegersError(Exception):
    """Raised if a network has a layer or an operation without an integer counterpart. The message names it."""
