"""Compares the bytes of auxar's range coder with those of constriction, an independent range coder.

    pip install constriction
    python tests/benchmarks/range_coders.py --values 100000

Both encode the same values of the same random distributions over 256 values. constriction takes probabilities in
floating point, and makes its own integers from them with the same 24 bits; `frequencies` is the information content of
auxar's.
"""

from __future__ import annotations

import argparse
import importlib
import math

import numpy as np

from auxar.numerics.range_coder import TOTAL, encode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=int, default=100_000, metavar="N")
    options = parser.parse_args()
    constriction = importlib.import_module("constriction")
    numbers = np.random.default_rng(0)
    # Bell curves of all widths, from nearly deterministic to nearly uniform, as a decoder predicts them.
    places = numbers.uniform(0, 255, (options.values, 1))
    widths = np.exp(numbers.uniform(-1, 5, (options.values, 1)))
    curves = np.exp(-(((np.arange(256) - places) / widths) ** 2) / 2)
    probabilities = curves / curves.sum(1, keepdims=True)
    frequencies = 1 + np.floor(probabilities * (TOTAL - 256)).astype(np.int64)
    frequencies[np.arange(options.values), frequencies.argmax(1)] += TOTAL - frequencies.sum(1)
    values = (numbers.uniform(size=(options.values, 1)) * TOTAL > frequencies.cumsum(1)).sum(1)
    chosen = frequencies[np.arange(options.values), values]
    starts = frequencies.cumsum(1)[np.arange(options.values), values] - chosen
    own = len(encode(zip(starts.tolist(), chosen.tolist(), strict=True)))
    coder = constriction.stream.queue.RangeEncoder()
    coder.encode(values.astype(np.int32), constriction.stream.model.Categorical(perfect=False), frequencies / TOTAL)
    peer = 4 * len(coder.get_compressed())
    print(f"frequencies   {sum(math.log2(TOTAL / each) for each in chosen) / 8:12.1f} bytes")
    print(f"auxar         {own:10} bytes\nconstriction  {peer:10} bytes")


if __name__ == "__main__":
    main()
