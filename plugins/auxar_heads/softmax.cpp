// The softmax head (softmax.py). All arithmetic is in float64.

#include <cstdint>
#include <vector>

#include "categorical.h"
#include "pixels.h"

namespace {

// A softmax over the levels of each channel. Its parameters (channels, levels) are logits.
class Softmax {
  public:
    struct Constants {
        double temperature;
    };

    static int64_t parameter_count(const Constants &, Image image) { return image.channels * image.levels; }
    static int64_t uniform_count(const Constants &, Image image, bool) { return image.channels; }

    Softmax(const Constants &constants, Image image)
        : temperature(constants.temperature), levels(image.levels), logits(image.channels * levels),
          nats(padded(levels)) {}

    template <class T> void begin(const T *parameters, const int64_t *) {
        const int64_t count = static_cast<int64_t>(logits.size());
#pragma omp simd
        for (int64_t k = 0; k < count; k++) logits[k] = static_cast<double>(parameters[k]) / temperature;
    }

    int64_t draw(int64_t channel, Interval in, const int64_t *, const double *uniforms) {
        const double *own = logits.data() + channel * levels + in.low;
        const int64_t count = in.high - in.low + 1;
        for (int64_t k = 0; k < count; k++) nats[k] = own[k];
        exponentials(nats.data(), count);
        return in.low + draw_category(uniforms[channel], nats.data(), count);
    }

    void take(int64_t, const int64_t *) {}

  private:
    const double temperature;
    const int64_t levels;
    std::vector<double> logits, nats;
};

}  // namespace

extern "C" {
HeadCode auxar_head = head_code<Softmax>();
}
