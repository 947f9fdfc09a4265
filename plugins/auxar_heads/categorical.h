// Draws of a category from logits. Names and formulas follow auxar/numerics/categorical.py.

#pragma once

#include <cstdint>

#include "functions.h"

namespace {

// Loops over components or values run to a multiple of LANES, so that vectorized loops need no scalar remainder.
constexpr int64_t LANES = 8;
inline int64_t padded(int64_t count) { return (count + LANES - 1) & -LANES; }

inline double largest_of(const double *values, int64_t count) {
    double largest = values[0];
#if !defined(__clang__)  // clang does not vectorize this loop, and would warn
#pragma omp simd reduction(max : largest)
#endif
    for (int64_t k = 0; k < count; k++) largest = values[k] > largest ? values[k] : largest;
    return largest;
}

// Replaces nats (a padded array) by exp(nats - largest), so that the largest of the first `count` values is 1.
inline void exponentials(double *nats, int64_t count) {
    const double largest = largest_of(nats, count);
    const int64_t lanes = padded(count);
#pragma omp simd
    for (int64_t k = 0; k < lanes; k++) nats[k] = exp_of(nats[k] - largest);
}

// Replaces weights that are less than min_weight times the largest one by 0, so that they are never drawn.
inline void drop_light(double *weights, int64_t count, double min_weight) {
    if (min_weight == 0) return;
    const double least = min_weight * largest_of(weights, count);
#pragma omp simd
    for (int64_t k = 0; k < count; k++) weights[k] = weights[k] < least ? 0 : weights[k];
}

// Draws a category with probability in proportion to the weights, from one uniform number. Replaces the weights by
// their cumulative sums.
inline int64_t draw_category(double uniform, double *weights, int64_t count) {
    for (int64_t k = 1; k < count; k++) weights[k] += weights[k - 1];
    const double threshold = uniform * weights[count - 1];
    int64_t category = 0;
#pragma omp simd reduction(+ : category)
    for (int64_t k = 0; k < count - 1; k++) category += weights[k] <= threshold;
    return category;
}

}  // namespace
