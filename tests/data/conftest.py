"""A fixture of the tests of image sets."""

from collections import Counter
from typing import Any

import pytest

from auxar.data.conversion import Preparation


@pytest.fixture
def conversions(monkeypatch) -> Counter[str]:
    """Counts the conversions of each image."""
    count: Counter[str] = Counter()
    convert = Preparation.__call__

    def counting(self: Preparation, encoded: bytes, name: str) -> Any:
        count[name] += 1
        return convert(self, encoded, name)

    monkeypatch.setattr(Preparation, "__call__", counting)
    return count
