// Integer frequencies of a mixture of discretized logistics (logistic_mixture_frequencies.py).
// All arithmetic is in 64-bit integers, so results are the same on every machine.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "fixed_point.h"
#include "pixels.h"

namespace {

constexpr int64_t SCALE_BITS = 20, WEIGHT_BITS = 22, ONE = int64_t(1) << POWER_BITS;
constexpr int64_t FARTHEST = int64_t(1) << (17 + LOG_BITS), WIDEST = int64_t(17) << LOG_BITS;

// The distribution function at z, times two to the power of the anchor, as `_distribution` in Python: for mode 1, it is
// minus the probability above z.
inline int64_t distribution(const FixedPoint &fixed, int64_t position, int64_t mode, int64_t anchor) {
    const bool above = mode > 0 || (mode == 0 && position >= 0);
    const int64_t found = fixed.power(std::max<int64_t>(0, fixed.softplus(above ? -position : position) - anchor));
    return !above ? found : mode == 0 ? ONE - found : -found;
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
        : c(constants), image(of), fixed(c.fixed), size(c.components), logits(size), mean(size),
          means(size * image.channels), mantissas(size * image.channels), shifts(size * image.channels),
          excess(size * image.channels), couplings(size * image.channels * (image.channels - 1) / 2),
          components(size), given(size), own(size), weights(size), spare(c.spare) {}

    template <class T> void begin(const T *parameters, const int64_t *centers) {
        const int64_t bound = int64_t(16) << PARAMETER_BITS;
        for (int64_t k = 0; k < size; k++) {
            const auto read = [&](int64_t row) { return static_cast<int64_t>(parameters[row * size + k]); };
            logits[k] = fixed.natural_to_base_2(read(0));
            const int64_t count = image.channels * (image.channels - 1) / 2;
            for (int64_t number = 0; number < count; number++)
                couplings[number * size + k] = fixed.tanh(read(1 + 2 * image.channels + number));
            for (int64_t channel = 0; channel < image.channels; channel++) {
                const int64_t at = channel * size + k;
                means[at] = limit(read(1 + channel) + moved(channel, k, centers), -bound, bound) * (image.levels - 1);
                const int64_t log_scale =
                    limit(read(1 + image.channels + channel), c.smallest_log_scale, c.largest_log_scale) -
                    c.reduction;
                int64_t bits = fixed.natural_to_base_2(log_scale) + c.log_of_unit;
                excess[at] = std::max<int64_t>(0, bits - WIDEST);
                bits -= excess[at];
                mantissas[at] = fixed.power(bits & ((int64_t(1) << LOG_BITS) - 1)) >> (POWER_BITS - SCALE_BITS);
                shifts[at] = limit((bits >> LOG_BITS) + PARAMETER_BITS + SCALE_BITS - LOG_BITS, 2, 62);
            }
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
        if (c.centers) own = given;
        int64_t largest = INT64_MIN;
        for (int64_t k = 0; k < size; k++) {
            weights[k] = c.min_weight == 0 || fixed.power(heaviest - given[k]) >= c.min_weight;
            if (weights[k]) largest = std::max(largest, own[k]);
        }
        int64_t total = 0, whole = 0;
        for (int64_t k = 0; k < size; k++) {
            if (weights[k]) weights[k] = fixed.power(largest - own[k]) >> (POWER_BITS - WEIGHT_BITS);
            total += weights[k] * components[k].mass;
            whole += weights[k];
        }
        if (c.centers) {
            const int64_t divisor = (whole << POWER_BITS) >> spare;
            return choose(choice, channel, in, [&](int64_t value) {
                int64_t sum = 0;
                for (int64_t k = 0; k < size; k++) sum += center(k, in) < value ? weights[k] : 0;
                return ((sum << POWER_BITS) >> spare) * TOTAL / divisor;
            });
        }
        total >>= spare;
        const int64_t count = in.high - in.low + 1, least = c.exact ? count : 0;
        return choose(choice, channel, in, [&](int64_t value) {
            const int64_t sum = total == 0 ? value - in.low : sum_below(channel, value);
            return sum * (TOTAL - least) / (total == 0 ? count : total) + (c.exact ? value - in.low : 0);
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
    // A component within an interval, as `_Parts` in Python.
    struct Component {
        int64_t mode, anchor, start, mass;
    };

    // What `around` in Python adds to the mean of a channel.
    int64_t moved(int64_t channel, int64_t k, const int64_t *centers) const {
        if (centers == nullptr) return 0;
        const int64_t *around = centers + k % c.references * image.channels;
        int64_t own = 0;
        for (int64_t earlier = 0; earlier < channel; earlier++)
            own += couplings[(channel * (channel - 1) / 2 + earlier) * size + k] * around[earlier];
        return around[channel] - (own >> TANH_BITS);
    }

    void prepare(int64_t channel, const int64_t *before) {
        for (int64_t k = 0; k < size; k++) mean[k] = means[channel * size + k];
        const int64_t *coupling = couplings.data() + channel * (channel - 1) / 2 * size;
        for (int64_t earlier = 0; earlier < channel; earlier++, coupling += size)
            for (int64_t k = 0; k < size; k++) mean[k] += coupling[k] * (2 * before[earlier] - (image.levels - 1));
    }

    int64_t position(int64_t channel, int64_t k, int64_t edge) const {
        const int64_t at = channel * size + k, distance = (2 * edge - image.levels) * (int64_t(1) << PARAMETER_BITS);
        return limit((distance - mean[k]) * mantissas[at] >> shifts[at], -FARTHEST, FARTHEST);
    }

    Component anchored(int64_t channel, int64_t k, Interval in) const {
        const int64_t lower = position(channel, k, in.low), upper = position(channel, k, in.high + 1);
        const bool first = in.low == 0, last = in.high == image.levels - 1;
        const bool right = upper <= 0 && !last, left = lower >= 0 && !first && !right;
        const int64_t mode = int64_t(left) - int64_t(right);
        const int64_t anchor = right ? fixed.softplus(upper) : left ? fixed.softplus(-lower) : 0;
        const int64_t start = first ? 0 : distribution(fixed, lower, mode, anchor);
        const int64_t end = last ? (left ? 0 : ONE) : distribution(fixed, upper, mode, anchor);
        return {mode, anchor, start, end - start};
    }

    // Base-2 logarithm of a component's weight, divided by the numbers by which its probabilities are multiplied.
    int64_t without(int64_t channel, int64_t k, Interval in) const {
        const bool inner = in.low > 0 && in.high < image.levels - 1;
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
        const int64_t doubled = mean[k] + ((image.levels - 1) << PARAMETER_BITS);
        const int64_t found = (doubled + (int64_t(1) << PARAMETER_BITS)) >> (PARAMETER_BITS + 1);
        return limit(found, in.low, in.high);
    }

    const Constants c;
    const Image image;
    const FixedPoint &fixed;
    int64_t size;
    std::vector<int64_t> logits, mean, means, mantissas, shifts, excess, couplings;
    std::vector<Component> components;
    std::vector<int64_t> given, own, weights;
    int64_t spare;
};

}  // namespace

extern "C" {
HeadCode auxar_head = head_code<IntegerMixture>();
}
