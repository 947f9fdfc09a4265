// Parts that drawing and decoding of pixels share: intervals from restrictions on sums, and the number of threads.

#pragma once

#include <cstdint>

#include "integer_heads.h"
#include "structures.h"
#include "team.h"

namespace {

// With fewer pixels for each thread, waiting for the threads costs more time than they save.
constexpr int64_t PIXELS_PER_THREAD = 8;

inline int64_t clamp(int64_t value, int64_t low, int64_t high) { return value < low ? low : value > high ? high : value; }

// The sum of a sub-pixel's group: the range of the remaining sum, the sub-pixel's weight, and the range of the sum of
// later sub-pixels.
struct Sums {
    int64_t &lowest, &highest;
    int64_t weight, least, most;

    Sums(const Drawing &drawing, int64_t place, int64_t image, int64_t channel)
        : Sums(drawing, channel * (drawing.outside + 1) + place, image) {}

    // The values that the sub-pixel may have. If no value can meet the sums any more, for example because of limits,
    // the interval is a single value near the required range.
    Interval interval(int64_t levels) const {
        const int64_t low = -quotient(-(lowest - most), weight), high = quotient(highest - least, weight);
        const int64_t from = low < 0 ? 0 : low > levels - 1 ? levels - 1 : low;
        const int64_t to = high > levels - 1 ? levels - 1 : high;
        return {from, to < from ? from : to};
    }

    void take(int64_t value) {
        lowest -= value * weight;
        highest -= value * weight;
    }

  private:
    Sums(const Drawing &drawing, int64_t at, int64_t image)
        : lowest(drawing.lowest[drawing.groups[at] * drawing.batch + image]),
          highest(drawing.highest[drawing.groups[at] * drawing.batch + image]),
          weight(drawing.weights[at]),
          least(drawing.least[at * drawing.later_images + image % drawing.later_images]),
          most(drawing.most[at * drawing.later_images + image % drawing.later_images]) {}
};

}  // namespace
