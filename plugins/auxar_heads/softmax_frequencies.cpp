// Integer frequencies of a categorical distribution (softmax_frequencies.py).
// All arithmetic is in 64-bit integers, so results are the same on every machine.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "fixed_point.h"
#include "pixels.h"

namespace {

class IntegerSoftmax : public IntegerHead {
  public:
    struct Constants {
        FixedPoint fixed;
        int64_t spare;        // the number of bits by which weights are shifted to the right
        int64_t temperature;  // with 16 bits, or 0 for none
    };

    static int64_t parameter_count(const Constants &, Image image) { return image.channels * image.levels; }

    IntegerSoftmax(const Constants &constants, Image image)
        : c(constants), fixed(c.fixed), levels(image.levels), logits(image.channels * levels), sums(levels + 1) {}

    template <class T> void begin(const T *parameters, const int64_t *) {
        for (int64_t k = 0; k < static_cast<int64_t>(logits.size()); k++) {
            const int64_t logit = fixed.natural_to_base_2(static_cast<int64_t>(parameters[k]));
            logits[k] = c.temperature ? quotient(logit * 65536, c.temperature) : logit;
        }
    }

    template <class Choice> int64_t draw(int64_t channel, Interval in, const int64_t *, Choice &choice) {
        const int64_t *own = logits.data() + channel * levels, count = in.high - in.low + 1;
        const int64_t highest = *std::max_element(own + in.low, own + in.high + 1);
        sums[0] = 0;
        for (int64_t k = 0; k < count; k++)
            sums[k + 1] = sums[k] + (fixed.power(highest - own[in.low + k]) >> c.spare);
        return choose(choice, channel, in, [&](int64_t value) {
            return sums[value - in.low] * (TOTAL - count) / sums[count] + value - in.low;
        });
    }

    void take(int64_t, const int64_t *) {}

  private:
    const Constants c;
    const FixedPoint &fixed;
    const int64_t levels;
    std::vector<int64_t> logits, sums;
};

}  // namespace

extern "C" {
HeadCode auxar_head = head_code<IntegerSoftmax>();
}
