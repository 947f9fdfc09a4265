"""The instruction sets of x86-64 for which the native library has code of its own, and the flags that choose them."""

from pathlib import Path

FLAGS = {
    "avx2": "-march=x86-64-v3",
    "avx512": "-march=x86-64-v4",
    "vnni": "-march=x86-64-v4 -mavx512vnni",
    "amx": "-march=x86-64-v4 -mavx512vnni -mamx-tile -mamx-int8",
}
"""Flags of g++ and clang++ by instruction set, from the smallest one to the largest."""
FEATURES = {
    "avx2": {"avx2", "bmi2", "fma"},
    "avx512": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
    "vnni": {"avx512vl", "avx512_vnni"},
    "amx": {"avx512_vnni", "amx_tile", "amx_int8"},
}
"""The features that a processor needs to run the result, with Linux' names."""


def missing_features(name: str) -> set[str]:
    """The features that an instruction set needs and this processor does not have."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    features = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return FEATURES[name] - set(features)
