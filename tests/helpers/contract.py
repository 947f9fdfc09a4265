"""The comparison of a message of the contract checks with the expected one."""

import re


def tells(error, *expected):
    """Asserts that a `ContractError` has one of the expected messages, and an example with the expected parts.

    Expected is the message with the names of the parts in parentheses, such as "range: … is not finite (image)". An
    ellipsis stands for any text. Messages must begin with the law.
    """
    message = re.split(r"\n  \w+ = ", str(error.value))[0]
    parts = re.findall(r"^  (\w+) = ", str(error.value), re.M)
    found = f"{message} ({', '.join(parts)})" if parts else message
    patterns = [".*".join(re.escape(text) for text in each.split("…")) for each in expected]
    assert any(re.fullmatch(pattern, found, re.S) for pattern in patterns), found
    assert message.startswith(f"{error.value.law}: ")
