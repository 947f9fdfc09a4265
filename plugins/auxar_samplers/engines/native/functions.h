// Exponential functions without tables, branches or calls, so that the compiler can vectorize loops over them.

#pragma once

#include <cstdint>
#include <cstring>

namespace {

// e^x = power · (1 + rest), where x = n ln 2 + r with |r| ≤ ln 2 / 2, power = 2^n and rest = e^r - 1. `rest` is
// computed directly, so that expm1 does not subtract nearly equal numbers. x is clamped to the range in which 2^n is a
// normal number.
template <class T> struct Exponential {
    T power, rest;
};

// Adding the constant SHIFT rounds to an integer and leaves it in the lowest bits of the sum. These bits are shifted
// into the exponent of a power of two. A conversion to integers is avoided, because few machines can convert a vector
// of doubles and because the conversion of NaN is undefined.
template <class T, class Bits> T power_of_two(T shifted, Bits bias, int mantissa) {
    Bits bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + bias) << mantissa;
    T power;
    std::memcpy(&power, &bits, sizeof power);
    return power;
}

inline Exponential<float> exponential(float x) {
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    constexpr float SHIFT = 0x1.8p23f;
    const float shifted = x * 1.44269504088896341f + SHIFT, n = shifted - SHIFT;
    const float r = (x - n * 0.693145751953125f) - n * 1.428606765330187e-06f;
    float p = 1.9841270e-4f;
    p = p * r + 1.3888889e-3f;
    p = p * r + 8.3333333e-3f;
    p = p * r + 4.1666667e-2f;
    p = p * r + 1.6666667e-1f;
    p = p * r + 0.5f;
    p = p * r * r + r;
    return {power_of_two<float, uint32_t>(shifted, 127, 23), p};
}

inline Exponential<double> exponential(double x) {
    x = x < -708.0 ? -708.0 : x > 709.0 ? 709.0 : x;
    constexpr double SHIFT = 0x1.8p52;
    const double shifted = x * 1.4426950408889634 + SHIFT, n = shifted - SHIFT;
    const double r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33;
    double p = 1.0 / 6227020800;
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r * r + r;
    return {power_of_two<double, uint64_t>(shifted, 1023, 52), p};
}

template <class T> T exp_of(T x) {
    const Exponential<T> found = exponential(x);
    return found.power * found.rest + found.power;
}

template <class T> T expm1_of(T x) {
    const Exponential<T> found = exponential(x);
    return found.power * found.rest + (found.power - T(1));
}

template <class T> T hyperbolic_tangent(T x) {
    const T e = expm1_of(T(-2) * (x < T(0) ? -x : x));
    const T magnitude = -e / (e + T(2));
    return x < T(0) ? -magnitude : magnitude;
}

}  // namespace
