// Integer frequencies of a mixture of discretized logistics (logistic_mixture_frequencies.py).
// All arithmetic is in 64-bit integers, so results are the same on every machine.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "categorical.h"
#include "fixed_point.h"
#include "pixels.h"

namespace {

constexpr int64_t SCALE_BITS = 20, WEIGHT_BITS = 22, ONE = int64_t(1) << POWER_BITS;
constexpr int64_t FARTHEST = int64_t(1) << (17 + LOG_BITS), WIDEST = int64_t(17) << LOG_BITS;

// The distribution function at z, times two to the power of the anchor, as `_distribution` in Python: for mode 1, it is
// minus the probability above z.
inline int64_t distribution(const FixedPoint &fixed, int64_t position, int64_t mode, int64_t anchor) {
    const int64_t above = mode == 0 ? position >= 0 : mode > 0;
    const int64_t found = fixed.power(std::max<int64_t>(0, fixed.softplus(above ? -position : position) - anchor));
    return (mode == 0 ? above * ONE : 0) + (above ? -found : found);
}

class IntegerMixture : public IntegerHead {
  public:
    struct Constants {
        FixedPoint fixed;
        int64_t components;
        int64_t references;                             // 4 if components take turns between center and neighbors, or 1
        int64_t centers;                                // 1 to take the center of the drawn component
        int64_t spare;                                  // the number of bits by which sums are shifted to the right
        int64_t exact;                                  // 1 if every possible value gets a frequency of at least one
        int64_t min_weight;                             // with `POWER_BITS` bits
        int64_t smallest_log_scale, largest_log_scale;  // with `PARAMETER_BITS` bits
        int64_t reduction;                              // with `PARAMETER_BITS` bits
        int64_t log_of_unit;                            // log2 ((levels - 1) / log2 e), with `LOG_BITS` bits
    };

    static int64_t parameter_count(const Constants &c, Image image) {
        return c.components * (1 + 2 * image.channels + image.channels * (image.channels - 1) / 2);
    }

    IntegerMixture(const Constants &constants, Image of)
        : c(constants), image(of), fixed(c.fixed), lanes(padded(c.components)), spare(c.spare),
          rows(parameter_count(c, image) / c.components * lanes), means(image.channels * lanes),
          mantissas(image.channels * lanes), shifts(image.channels * lanes), excess(image.channels * lanes),
          around(image.channels * lanes), logits(lanes), mean(lanes), given(lanes), own(lanes), weights(lanes),
          modes(lanes), anchors(lanes), starts(lanes), masses(lanes) {}

    template <class T> void begin(const T *parameters, const int64_t *centers) {
        const int64_t size = c.components, channels = image.channels;
        const int64_t count = static_cast<int64_t>(rows.size()) / lanes, all = count * size;
        // Components of padding get numbers of the next rows where there are some: whole vectors are read faster.
        for (int64_t row = 0; row < count; row++) {
            const int64_t width = row * size + lanes <= all ? lanes : size;
            int64_t *own = rows.data() + row * lanes;
            const T *from = parameters + row * size;
#pragma omp simd
            for (int64_t k = 0; k < width; k++) own[k] = static_cast<int64_t>(from[k]);
        }
        if (centers != nullptr)
            for (int64_t k = 0, reference = 0; k < size; k++, reference = (reference + 1) % c.references)
                for (int64_t channel = 0; channel < channels; channel++)
                    around[channel * lanes + k] = centers[reference * channels + channel];
#pragma omp simd
        for (int64_t k = 0; k < lanes; k++) logits[k] = k < size ? fixed.natural_to_base_2(rows[k]) : NEVER;
        int64_t *coupling = couplings();
#pragma omp simd
        for (int64_t at = 0; at < channels * (channels - 1) / 2 * lanes; at++) coupling[at] = fixed.tanh(coupling[at]);
        for (int64_t channel = 0; channel < channels; channel++) read_channel(channel);
    }

    template <class Choice> int64_t draw(int64_t channel, Interval in, const int64_t *before, Choice &choice) {
        prepare(channel, before);
        measure(channel, in);
        if (c.centers) own = given;
        const int64_t heaviest = largest_of(given), least = c.min_weight;
        int64_t largest = INT64_MIN, total = 0, whole = 0;
#pragma omp simd reduction(max : largest)
        for (int64_t k = 0; k < lanes; k++) {
            weights[k] = least == 0 || fixed.power(heaviest - given[k]) >= least;
            largest = std::max(largest, weights[k] ? own[k] : INT64_MIN);
        }
#pragma omp simd reduction(+ : total, whole)
        for (int64_t k = 0; k < lanes; k++) {
            weights[k] = weights[k] ? fixed.power(largest - own[k]) >> (POWER_BITS - WEIGHT_BITS) : 0;
            total += weights[k] * masses[k];
            whole += weights[k];
        }
        const int64_t first = std::max_element(given.begin(), given.end()) - given.begin();
        if (c.centers) {
            const int64_t divisor = (whole << POWER_BITS) >> spare;
            return choose(choice, channel, in, [&](int64_t value) {
                int64_t sum = 0;
                for (int64_t k = 0; k < lanes; k++) sum += center(k, in) < value ? weights[k] : 0;
                return ((sum << POWER_BITS) >> spare) * TOTAL / divisor;
            });
        }
        total >>= spare;
        const int64_t values = in.high - in.low + 1, ones = c.exact ? values : 0;
        const auto below = [&](int64_t value) {
            const int64_t sum = total == 0 ? value - in.low : sum_below(channel, value);
            return sum * (TOTAL - ones) / (total == 0 ? values : total) + (c.exact ? value - in.low : 0);
        };
        return choose(choice, channel, in, below, center(first, in));
    }

    void take(int64_t channel, const int64_t *drawn) {
        prepare(channel, drawn);
        measure(channel, {drawn[channel], drawn[channel]});
        const int64_t largest = largest_of(given);
#pragma omp simd
        for (int64_t k = 0; k < lanes; k++) logits[k] = given[k] - largest;
    }

  private:
    static constexpr int64_t NEVER = -(int64_t(1) << 60);  // the logit of a padding component

    // The rows of `rows` are those of the parameters: logits, means, log-scales, couplings.
    int64_t *couplings() { return rows.data() + (1 + 2 * image.channels) * lanes; }

    static int64_t largest_of(const std::vector<int64_t> &values) {
        int64_t largest = INT64_MIN;
#pragma omp simd reduction(max : largest)
        for (size_t k = 0; k < values.size(); k++) largest = std::max(largest, values[k]);
        return largest;
    }

    // Computes the means and scales of a channel. A mean is relative to the center of its component, as `around` in
    // Python.
    void read_channel(int64_t channel) {
        constexpr int64_t bound = int64_t(16) << PARAMETER_BITS;
        const int64_t *first = rows.data() + (1 + channel) * lanes, *log_scales = first + image.channels * lanes;
        const int64_t *coupling = couplings() + channel * (channel - 1) / 2 * lanes;
        const int64_t *reference = around.data() + channel * lanes;
        std::fill(mean.begin(), mean.end(), 0);
        for (int64_t earlier = 0; earlier < channel; earlier++)
#pragma omp simd
            for (int64_t k = 0; k < lanes; k++)
                mean[k] += coupling[earlier * lanes + k] * around[earlier * lanes + k];
        int64_t *moved = means.data() + channel * lanes, *mantissa = mantissas.data() + channel * lanes;
        int64_t *shift = shifts.data() + channel * lanes, *over = excess.data() + channel * lanes;
        const int64_t most = image.levels - 1, small = c.smallest_log_scale, large = c.largest_log_scale;
        const int64_t reduction = c.reduction, unit = c.log_of_unit;
#pragma omp simd
        for (int64_t k = 0; k < lanes; k++) {
            moved[k] = limit(first[k] + reference[k] - (mean[k] >> TANH_BITS), -bound, bound) * most;
            const int64_t wide = fixed.natural_to_base_2(limit(log_scales[k], small, large) - reduction) + unit;
            over[k] = std::max<int64_t>(0, wide - WIDEST);
            const int64_t bits = wide - over[k];
            mantissa[k] = fixed.power(bits & ((int64_t(1) << LOG_BITS) - 1)) >> (POWER_BITS - SCALE_BITS);
            shift[k] = limit((bits >> LOG_BITS) + PARAMETER_BITS + SCALE_BITS - LOG_BITS, 2, 62);
        }
    }

    void prepare(int64_t channel, const int64_t *before) {
        std::copy_n(means.data() + channel * lanes, lanes, mean.data());
        const int64_t *coupling = couplings() + channel * (channel - 1) / 2 * lanes;
        for (int64_t earlier = 0; earlier < channel; earlier++, coupling += lanes) {
            const int64_t doubled = 2 * before[earlier] - (image.levels - 1);
#pragma omp simd
            for (int64_t k = 0; k < lanes; k++) mean[k] += coupling[k] * doubled;
        }
    }

    // Computes the components within an interval, as `_Parts` in Python. `own` is the base-2 logarithm of a component's
    // weight, divided by the numbers by which its probabilities are multiplied, and `given` that of its weight given the
    // interval.
    void measure(int64_t channel, Interval in) {
        const int64_t first = in.low == 0, last = in.high == image.levels - 1;
        const int64_t *mantissa = mantissas.data() + channel * lanes, *shift = shifts.data() + channel * lanes;
        const int64_t *over = excess.data() + channel * lanes;
        const int64_t from = edge(in.low), to = edge(in.high + 1), inner = !first && !last;
        const FixedPoint functions = fixed;
        // Without simdlen, gcc takes 16 lanes because of a number of 32 bits in the loop, and computes 8 one by one.
#pragma omp simd simdlen(8)
        for (int64_t k = 0; k < lanes; k++) {
            const int64_t lower = position(from, mean[k], mantissa[k], shift[k]);
            const int64_t upper = position(to, mean[k], mantissa[k], shift[k]);
            const int64_t right = last ? 0 : upper <= 0, left = first || right ? 0 : lower >= 0;
            const int64_t mode = left - right;
            const int64_t found = functions.softplus(right ? upper : -lower), anchor = mode == 0 ? 0 : found;
            const int64_t at_lower = distribution(functions, lower, mode, anchor), start = first ? 0 : at_lower;
            const int64_t at_upper = distribution(functions, upper, mode, anchor), all = left ? 0 : ONE;
            const int64_t end = last ? all : at_upper;
            modes[k] = mode;
            anchors[k] = anchor;
            starts[k] = start;
            masses[k] = end - start;
            own[k] = logits[k] - anchor - over[k] * inner;
            given[k] = own[k] + functions.logarithm(std::max<int64_t>(1, end - start));
        }
    }

    // The lower edge of a value, doubled, on the scale of means.
    int64_t edge(int64_t value) const { return (2 * value - image.levels) * (int64_t(1) << PARAMETER_BITS); }

    static int64_t position(int64_t edge, int64_t mean, int64_t mantissa, int64_t shift) {
        return limit((edge - mean) * mantissa >> shift, -FARTHEST, FARTHEST);
    }

    int64_t sum_below(int64_t channel, int64_t value) const {
        const int64_t *mantissa = mantissas.data() + channel * lanes, *shift = shifts.data() + channel * lanes;
        const int64_t at = edge(value);
        const FixedPoint functions = fixed;
        int64_t sum = 0;
#pragma omp simd simdlen(8) reduction(+ : sum)
        for (int64_t k = 0; k < lanes; k++) {
            const int64_t place = position(at, mean[k], mantissa[k], shift[k]);
            const int64_t found = distribution(functions, place, modes[k], anchors[k]) - starts[k];
            sum += weights[k] * std::max<int64_t>(0, found);
        }
        return sum >> spare;
    }

    int64_t center(int64_t k, Interval in) const {
        const int64_t doubled = mean[k] + ((image.levels - 1) << PARAMETER_BITS);
        const int64_t found = (doubled + (int64_t(1) << PARAMETER_BITS)) >> (PARAMETER_BITS + 1);
        return limit(found, in.low, in.high);
    }

    const Constants c;
    const Image image;
    const FixedPoint &fixed;
    const int64_t lanes, spare;
    std::vector<int64_t> rows, means, mantissas, shifts, excess, around;
    std::vector<int64_t> logits, mean, given, own, weights, modes, anchors, starts, masses;
};

}  // namespace

extern "C" {
HeadCode auxar_head = head_code<IntegerMixture>();
}
