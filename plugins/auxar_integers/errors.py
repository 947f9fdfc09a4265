"""The error for networks that cannot be converted to integers."""


class NoIntegersError(Exception):
    """Raised if a network has a layer or an operation without an integer counterpart. The message names it."""
