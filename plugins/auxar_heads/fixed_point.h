// Functions of integers with a fixed number of bits after the binary point (fixed_point.py).

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace {

constexpr int64_t LOG_BITS = 24, POWER_BITS = 30, PARAMETER_BITS = 20, TANH_BITS = 20;
constexpr int64_t WIDEST_SOFTPLUS = int64_t(27) << LOG_BITS, WIDEST_TANH = int64_t(12) << PARAMETER_BITS;

// An entry of a table has a value in its lower 32 bits, and the next value minus this one in the others: a single load.
inline int64_t interpolated(const int64_t *table, int64_t x, int bits) {
    const int64_t entry = table[x >> bits], rest = x & ((int64_t(1) << bits) - 1);
    return (entry & 0xffffffff) + (((entry >> 32) * rest) >> bits);
}

struct FixedPoint {
    const int64_t *powers, *logarithms, *softplus_table, *tanh_table;
    int64_t log2_e;  // with `POWER_BITS` bits

    int64_t power(int64_t x) const {
        const int64_t whole = x >> LOG_BITS, rest = x & ((int64_t(1) << LOG_BITS) - 1);
        return interpolated(powers, rest, LOG_BITS - 10) >> std::min(whole, POWER_BITS + 1);
    }
    int64_t logarithm(int64_t x) const {
        const double exact = static_cast<double>(x);  // its exponent is found without a loop
        int64_t bits;
        std::memcpy(&bits, &exact, sizeof bits);
        const int64_t whole = (bits >> 52) - 1023;
        return (whole << LOG_BITS) + interpolated(logarithms, (x << (30 - whole)) - (int64_t(1) << 30), 30 - 10);
    }
    int64_t softplus(int64_t x) const {
        const int64_t size = std::min(x < 0 ? -x : x, WIDEST_SOFTPLUS);
        return (x < 0 ? -x : 0) + interpolated(softplus_table, size, LOG_BITS - 8);
    }
    int64_t tanh(int64_t x) const {
        const int64_t found = interpolated(tanh_table, std::min(x < 0 ? -x : x, WIDEST_TANH), PARAMETER_BITS - 8);
        return x < 0 ? -found : found;
    }
    int64_t natural_to_base_2(int64_t x) const {
        return (x * log2_e) >> (POWER_BITS + PARAMETER_BITS - LOG_BITS);
    }
};

}  // namespace
