// A pixel source that decodes pixels from the bytes of a range coder (auxar/numerics/range_coder.py), with the integer
// frequencies of a head. Each image has its own stream.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "integer_heads.h"
#include "pixels.h"
#include "structures.h"

namespace {

constexpr int64_t TOTAL_BITS = 24;

// The decoder of one image's stream.
class Stream {
  public:
    Stream(const Decoding &decoding, int64_t image)
        : bytes(decoding.bytes + image * decoding.size), size(decoding.size), next(decoding.next[image]),
          code(decoding.code[image]), width(decoding.width[image]) {}

    // A number in the range of cumulative frequencies of the next value.
    int64_t target() const {
        const uint64_t found = code / (width >> TOTAL_BITS);
        return static_cast<int64_t>(std::min(found, static_cast<uint64_t>(TOTAL - 1)));
    }
    void take(int64_t start, int64_t frequency) {
        const uint64_t scale = width >> TOTAL_BITS;
        code -= static_cast<uint64_t>(start) * scale;
        width = static_cast<uint64_t>(frequency) * scale;
        while (width < uint64_t(1) << 56) {
            code = code << 8 | (next < size ? bytes[next] : 0);
            width <<= 8;
            next++;
        }
    }

  private:
    const uint8_t *bytes;
    const int64_t size;
    int64_t &next;
    uint64_t &code, &width;
};

template <class F> int64_t choose(Stream &stream, int64_t, Interval in, F below) {
    const int64_t value = find_value(in.low, in.high, stream.target(), below);
    const int64_t start = value == in.low ? 0 : below(value), end = value == in.high ? TOTAL : below(value + 1);
    // At least 1: a frequency of 0, which would be a mistake of the head, would lead to an endless loop.
    stream.take(start, std::max<int64_t>(1, end - start));
    return value;
}

template <class Head>
void decode_pixel(const Drawing &drawing, int64_t place, int64_t image, const double *parameters, int64_t *decoded,
                  Head &head, Stream &stream) {
    head.begin(parameters);
    for (int64_t channel = 0; channel < drawing.channels; channel++) {
        Interval in{0, drawing.levels - 1};
        if (drawing.groups != nullptr) in = Sums(drawing, place, image, channel).interval(drawing.levels);
        // A single possible value is not coded.
        decoded[channel] = in.low == in.high ? in.low : head.draw(channel, in, decoded, stream);
        if (drawing.groups != nullptr) Sums(drawing, place, image, channel).take(decoded[channel]);
        if (channel + 1 < drawing.channels) head.take(channel, decoded);
    }
}

// Decodes the pixels at `places` (count,) of every image, in the order of places. The arguments are those of
// `draw_pixels` in drawing.cpp.
template <class Head>
void decode_pixels(const Decoding &decoding, const int64_t *places, int64_t count, const double *parameters,
                   int64_t *decoded, int64_t threads) {
    const Drawing &drawing = decoding.drawing;
    const int64_t channels = drawing.channels, batch = drawing.batch, size = Head::parameter_count(drawing);
    std::vector<int64_t> slots;
    for (int64_t slot = 0; slot < count; slot++) {
        if (places[slot] != drawing.outside) slots.push_back(slot);
        else std::fill_n(decoded + slot * batch * channels, batch * channels, 0);
    }
    std::sort(slots.begin(), slots.end(), [&](int64_t one, int64_t other) { return places[one] < places[other]; });
    const bool few = batch == 1 || count * batch < threads * PIXELS_PER_THREAD;
    Team::own().run(few ? 1 : threads, [&](int64_t thread, int64_t used) {
        Head head(drawing);
        for (int64_t image = batch * thread / used; image < batch * (thread + 1) / used; image++) {
            Stream stream(decoding, image);
            for (const int64_t slot : slots) {
                const int64_t pixel = slot * batch + image;
                decode_pixel(drawing, places[slot], image, parameters + pixel * size, decoded + pixel * channels, head,
                             stream);
            }
        }
    });
}

}  // namespace

extern "C" {
void decode_integer_mixture_double(const void *decoding, const int64_t *places, int64_t count, const void *parameters,
                                   int64_t *decoded, int64_t threads) {
    decode_pixels<IntegerMixture>(*static_cast<const Decoding *>(decoding), places, count,
                                  static_cast<const double *>(parameters), decoded, threads);
}
void decode_integer_softmax_double(const void *decoding, const int64_t *places, int64_t count, const void *parameters,
                                   int64_t *decoded, int64_t threads) {
    decode_pixels<IntegerSoftmax>(*static_cast<const Decoding *>(decoding), places, count,
                                  static_cast<const double *>(parameters), decoded, threads);
}
}
