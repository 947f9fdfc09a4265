// Heads with integer frequencies. Names and formulas follow auxar_heads/fixed_point.py and the files *_frequencies.py
// beside it, which explain them. All arithmetic is in 64-bit integers, so results are the same on every machine.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "structures.h"

namespace {

constexpr int64_t LOG_BITS = 24, POWER_BITS = 30, PARAMETER_BITS = 20, SCALE_BITS = 20, WEIGHT_BITS = 22;
constexpr int64_t FARTHEST = int64_t(1) << (17 + LOG_BITS), WIDEST = int64_t(17) << LOG_BITS;
constexpr int64_t ONE = int64_t(1) << POWER_BITS, TOTAL = int64_t(1) << 24;
constexpr int64_t WIDEST_SOFTPLUS = int64_t(27) << LOG_BITS, WIDEST_TANH = int64_t(12) << PARAMETER_BITS;

// Integer division by a positive divisor, rounded down.
inline int64_t quotient(int64_t value, int64_t divisor) {
    const int64_t towards_zero = value / divisor;
    return towards_zero - (value % divisor < 0);
}

struct Interval {
    int64_t low, high;
};

inline int64_t limit(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

inline int64_t interpolated(const int64_t *table, int64_t x, int bits) {
    const int64_t index = x >> bits, rest = x & ((int64_t(1) << bits) - 1);
    return table[index] + (((table[index + 1] - table[index]) * rest) >> bits);
}

struct FixedPoint {
    const IntegerTables &tables;

    int64_t power(int64_t x) const {
        const int64_t whole = x >> LOG_BITS, rest = x & ((int64_t(1) << LOG_BITS) - 1);
        return interpolated(tables.powers, rest, LOG_BITS - 10) >> std::min(whole, POWER_BITS + 1);
    }
    int64_t logarithm(int64_t x) const {
        int64_t whole = 0;
        for (int64_t step : {16, 8, 4, 2, 1})
            if (x >> (whole + step)) whole += step;
        return (whole << LOG_BITS) + interpolated(tables.logarithms, (x << (30 - whole)) - (int64_t(1) << 30), 30 - 10);
    }
    int64_t softplus(int64_t x) const {
        const int64_t size = std::min(x < 0 ? -x : x, WIDEST_SOFTPLUS);
        return (x < 0 ? -x : 0) + interpolated(tables.softplus, size, LOG_BITS - 8);
    }
    int64_t tanh(int64_t x) const {
        const int64_t found = interpolated(tables.tanh, std::min(x < 0 ? -x : x, WIDEST_TANH), PARAMETER_BITS - 8);
        return x < 0 ? -found : found;
    }
    int64_t natural_to_base_2(int64_t x) const {
        return (x * tables.log2_e) >> (POWER_BITS + PARAMETER_BITS - LOG_BITS);
    }
};

// Finds the value in low … high whose range of frequencies contains `target`, for an increasing function `below`.
template <class F> int64_t find_value(int64_t low, int64_t high, int64_t target, F below) {
    while (low < high) {
        const int64_t middle = (low + high + 1) / 2;
        if (below(middle) <= target) low = middle;
        else high = middle - 1;
    }
    return low;
}

// Chooses a value in an interval by random numbers, one for each channel. Decoding (decoding.cpp) chooses it by the bytes
// of a stream instead.
template <class F> int64_t choose(const double *uniforms, int64_t channel, Interval in, F below) {
    const int64_t target = static_cast<int64_t>(uniforms[channel] * static_cast<double>(TOTAL));
    return find_value(in.low, in.high, target, below);
}

// The distribution function at z, without the bits of the anchor.
inline int64_t distribution(const FixedPoint &fixed, int64_t position, int64_t mode, int64_t anchor) {
    const bool above = mode > 0 || (mode == 0 && position >= 0);
    const int64_t found = fixed.power(std::max<int64_t>(0, fixed.softplus(above ? -position : position) - anchor));
    return !above ? found : mode == 0 ? ONE - found : -found;
}

class IntegerMixture {
  public:
    static int64_t parameter_count(const Drawing &d) {
        return d.components * (1 + 2 * d.channels + d.channels * (d.channels - 1) / 2);
    }
    static int64_t uniform_count(const Drawing &d) { return d.channels; }

    explicit IntegerMixture(const Drawing &drawing)
        : d(drawing), tables(*drawing.tables), fixed{tables}, size(d.components), logits(size), mean(size),
          means(size * d.channels), mantissas(size * d.channels), shifts(size * d.channels), excess(size * d.channels),
          couplings(size * d.channels * (d.channels - 1) / 2), components(size), given(size), own(size), weights(size),
          spare(tables.spare) {}

    template <class T> void draw_freely(const T *parameters, const double *uniforms, int64_t *drawn) {
        begin(parameters);
        for (int64_t channel = 0; channel < d.channels; channel++) {
            drawn[channel] = draw(channel, {0, d.levels - 1}, drawn, uniforms);
            if (channel + 1 < d.channels) take(channel, drawn);
        }
    }

    template <class T> void begin(const T *parameters) {
        const int64_t bound = int64_t(16) << PARAMETER_BITS;
        for (int64_t k = 0; k < size; k++) {
            const auto read = [&](int64_t row) { return static_cast<int64_t>(parameters[row * size + k]); };
            logits[k] = fixed.natural_to_base_2(read(0));
            for (int64_t channel = 0; channel < d.channels; channel++) {
                const int64_t at = channel * size + k;
                means[at] = limit(read(1 + channel), -bound, bound) * (d.levels - 1);
                const int64_t log_scale =
                    limit(read(1 + d.channels + channel), tables.smallest_log_scale, tables.largest_log_scale) -
                    tables.reduction;
                int64_t bits = fixed.natural_to_base_2(log_scale) + tables.log_of_unit;
                excess[at] = std::max<int64_t>(0, bits - WIDEST);
                bits -= excess[at];
                mantissas[at] = fixed.power(bits & ((int64_t(1) << LOG_BITS) - 1)) >> (POWER_BITS - SCALE_BITS);
                shifts[at] = limit((bits >> LOG_BITS) + PARAMETER_BITS + SCALE_BITS - LOG_BITS, 2, 62);
            }
            const int64_t count = d.channels * (d.channels - 1) / 2;
            for (int64_t number = 0; number < count; number++)
                couplings[number * size + k] = fixed.tanh(read(1 + 2 * d.channels + number));
        }
    }

    template <class Choice> int64_t draw(int64_t channel, Interval in, const int64_t *before, Choice &choice) {
        prepare(channel, before);
        int64_t heaviest = INT64_MIN;
        for (int64_t k = 0; k < size; k++) {
            components[k] = anchored(channel, k, in);
            own[k] = without(channel, k, in);
            given[k] = own[k] + fixed.logarithm(std::max<int64_t>(1, components[k].mass));
            heaviest = std::max(heaviest, given[k]);
        }
        if (d.centers) own = given;
        int64_t largest = INT64_MIN;
        for (int64_t k = 0; k < size; k++) {
            weights[k] = tables.min_weight == 0 || fixed.power(heaviest - given[k]) >= tables.min_weight;
            if (weights[k]) largest = std::max(largest, own[k]);
        }
        int64_t total = 0, whole = 0;
        for (int64_t k = 0; k < size; k++) {
            if (weights[k]) weights[k] = fixed.power(largest - own[k]) >> (POWER_BITS - WEIGHT_BITS);
            total += weights[k] * components[k].mass;
            whole += weights[k];
        }
        if (d.centers) {
            const int64_t divisor = (whole << POWER_BITS) >> spare;
            return choose(choice, channel, in, [&](int64_t value) {
                int64_t sum = 0;
                for (int64_t k = 0; k < size; k++) sum += center(k, in) < value ? weights[k] : 0;
                return ((sum << POWER_BITS) >> spare) * TOTAL / divisor;
            });
        }
        total >>= spare;
        const int64_t count = in.high - in.low + 1, least = tables.exact ? count : 0;
        return choose(choice, channel, in, [&](int64_t value) {
            const int64_t sum = total == 0 ? value - in.low : sum_below(channel, value);
            return sum * (TOTAL - least) / (total == 0 ? count : total) + (tables.exact ? value - in.low : 0);
        });
    }

    void take(int64_t channel, const int64_t *drawn) {
        prepare(channel, drawn);
        const Interval in{drawn[channel], drawn[channel]};
        int64_t largest = INT64_MIN;
        for (int64_t k = 0; k < size; k++) {
            components[k] = anchored(channel, k, in);
            own[k] = without(channel, k, in) + fixed.logarithm(std::max<int64_t>(1, components[k].mass));
            largest = std::max(largest, own[k]);
        }
        for (int64_t k = 0; k < size; k++) logits[k] = own[k] - largest;
    }

  private:
    struct Component {
        int64_t mode, anchor, start, mass;
    };

    void prepare(int64_t channel, const int64_t *before) {
        for (int64_t k = 0; k < size; k++) mean[k] = means[channel * size + k];
        const int64_t *coupling = couplings.data() + channel * (channel - 1) / 2 * size;
        for (int64_t earlier = 0; earlier < channel; earlier++, coupling += size)
            for (int64_t k = 0; k < size; k++) mean[k] += coupling[k] * (2 * before[earlier] - (d.levels - 1));
    }

    int64_t position(int64_t channel, int64_t k, int64_t edge) const {
        const int64_t at = channel * size + k, distance = (2 * edge - d.levels) * (int64_t(1) << PARAMETER_BITS);
        return limit((distance - mean[k]) * mantissas[at] >> shifts[at], -FARTHEST, FARTHEST);
    }

    Component anchored(int64_t channel, int64_t k, Interval in) const {
        const int64_t lower = position(channel, k, in.low), upper = position(channel, k, in.high + 1);
        const bool first = in.low == 0, last = in.high == d.levels - 1;
        const bool right = upper <= 0 && !last, left = lower >= 0 && !first && !right;
        const int64_t mode = int64_t(left) - int64_t(right);
        const int64_t anchor = right ? fixed.softplus(upper) : left ? fixed.softplus(-lower) : 0;
        const int64_t start = first ? 0 : distribution(fixed, lower, mode, anchor);
        const int64_t end = last ? (left ? 0 : ONE) : distribution(fixed, upper, mode, anchor);
        return {mode, anchor, start, end - start};
    }

    int64_t without(int64_t channel, int64_t k, Interval in) const {
        const bool inner = in.low > 0 && in.high < d.levels - 1;
        return logits[k] - components[k].anchor - (inner ? excess[channel * size + k] : 0);
    }

    int64_t sum_below(int64_t channel, int64_t value) const {
        int64_t sum = 0;
        for (int64_t k = 0; k < size; k++) {
            if (weights[k] == 0) continue;
            const Component &one = components[k];
            const int64_t found = distribution(fixed, position(channel, k, value), one.mode, one.anchor) - one.start;
            sum += weights[k] * std::max<int64_t>(0, found);
        }
        return sum >> spare;
    }

    int64_t center(int64_t k, Interval in) const {
        const int64_t doubled = mean[k] + ((d.levels - 1) << PARAMETER_BITS);
        const int64_t found = (doubled + (int64_t(1) << PARAMETER_BITS)) >> (PARAMETER_BITS + 1);
        return limit(found, in.low, in.high);
    }

    const Drawing &d;
    const IntegerTables &tables;
    const FixedPoint fixed;
    int64_t size;
    std::vector<int64_t> logits, mean, means, mantissas, shifts, excess, couplings;
    std::vector<Component> components;
    std::vector<int64_t> given, own, weights;
    int64_t spare;
};

class IntegerSoftmax {
  public:
    static int64_t parameter_count(const Drawing &d) { return d.channels * d.levels; }
    static int64_t uniform_count(const Drawing &d) { return d.channels; }

    explicit IntegerSoftmax(const Drawing &drawing)
        : d(drawing), tables(*drawing.tables), fixed{tables}, logits(parameter_count(d)), sums(d.levels + 1) {}

    template <class T> void draw_freely(const T *parameters, const double *uniforms, int64_t *drawn) {
        begin(parameters);
        for (int64_t channel = 0; channel < d.channels; channel++)
            drawn[channel] = draw(channel, {0, d.levels - 1}, drawn, uniforms);
    }

    template <class T> void begin(const T *parameters) {
        for (int64_t k = 0; k < parameter_count(d); k++) {
            const int64_t logit = fixed.natural_to_base_2(static_cast<int64_t>(parameters[k]));
            logits[k] = tables.temperature ? quotient(logit * 65536, tables.temperature) : logit;
        }
    }

    template <class Choice> int64_t draw(int64_t channel, Interval in, const int64_t *, Choice &choice) {
        const int64_t *own = logits.data() + channel * d.levels, count = in.high - in.low + 1;
        const int64_t highest = *std::max_element(own + in.low, own + in.high + 1);
        sums[0] = 0;
        for (int64_t k = 0; k < count; k++)
            sums[k + 1] = sums[k] + (fixed.power(highest - own[in.low + k]) >> tables.spare);
        return choose(choice, channel, in, [&](int64_t value) {
            return sums[value - in.low] * (TOTAL - count) / sums[count] + value - in.low;
        });
    }

    void take(int64_t, const int64_t *) {}

  private:
    const Drawing &d;
    const IntegerTables &tables;
    const FixedPoint fixed;
    std::vector<int64_t> logits, sums;
};

}  // namespace
