// The interface between the C++ code of a head and the native engine, and the functions that draw and decode pixels.
//
// The code defines a class for the distribution of a pixel. Each thread has its own objects of the class. The code ends
// with `extern "C" { HeadCode auxar_head = head_code<Coins>(); }`.
//
//     class Coins {
//       public:
//         struct Constants {…};  // filled in by `native_form` in Python
//         // The numbers of parameters of a pixel, and of random numbers in (0, 1) that drawing it takes.
//         static int64_t parameter_count(const Constants &, Image);
//         static int64_t uniform_count(const Constants &, Image, bool restricted);
//         Coins(const Constants &, Image);
//         // Begins a pixel with its parameters. `T` is float or double. `centers` has the center of each channel, and, if
//         // the head has `neighbors`, after all of them the values to the left, above, and above-left likewise, with
//         // `CENTER_BITS` bits on the scale from -1 to 1; it is null if there are none or the head takes none.
//         template <class T> void begin(const T *parameters, const int64_t *centers);
//         // Draws the value of a channel within in.low … in.high. `before` has the values of earlier channels, and
//         // `uniforms` all random numbers of the pixel.
//         int64_t draw(int64_t channel, Interval in, const int64_t *before, const double *uniforms);
//         // Called after each channel but the last one, with the values drawn[0] … drawn[channel].
//         void take(int64_t channel, const int64_t *drawn);
//         // Optional: draws all channels of a pixel that is not restricted, without `begin`.
//         template <class T>
//         void draw_freely(const T *parameters, const int64_t *centers, const double *uniforms, int64_t *drawn);
//     };
//
// The class of a head with integer frequencies derives from `IntegerHead`. Its method `draw` is a template of a class
// `Choice`. It gets a `Choice &choice` in place of random numbers, and returns `choose(choice, channel, in, below)` or
// `choose(choice, channel, in, below, guess)`, where below(value) is the sum of the frequencies of in.low … value - 1,
// out of `TOTAL`, and `guess` a probable value, where the search begins. The same code then draws and decodes.

#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "structures.h"

namespace {

constexpr int64_t TOTAL_BITS = 24, TOTAL = int64_t(1) << TOTAL_BITS;  // sum of all frequencies
constexpr int64_t CENTER_BITS = 20;

struct Interval {
    int64_t low, high;
};

inline int64_t limit(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

// Integer division by a positive divisor, rounded down.
inline int64_t quotient(int64_t value, int64_t divisor) {
    const int64_t towards_zero = value / divisor;
    return towards_zero - (value % divisor < 0);
}

struct IntegerHead {
    template <class Constants> static int64_t uniform_count(const Constants &, Image image, bool) {
        return image.channels;
    }
};

// A value, and the range of frequencies start … end - 1 that belongs to it.
struct Found {
    int64_t value, start, end;
};

// Finds the value in an interval whose range of frequencies contains `target`, for an increasing function `below`. The
// search goes in steps of doubling size from `guess`, until the value lies between two steps.
template <class F> Found find_value(Interval in, int64_t target, F below, int64_t guess) {
    Found found{in.low, 0, TOTAL};
    int64_t high = in.high, next = guess, step = 1;
    while (found.value < high) {
        next = limit(next, found.value + 1, high);
        const int64_t sum = below(next);
        const bool up = sum <= target;
        if (up) found.value = next, found.start = sum;
        else high = next - 1, found.end = sum;
        const bool between = found.value > in.low && high < in.high;
        next = between ? (found.value + high + 1) / 2 : up ? next + step : next - step;
        step *= 2;
    }
    return found;
}

// Chooses a value in an interval by random numbers, one for each channel. It is probably near `guess`.
template <class F>
int64_t choose(const double *uniforms, int64_t channel, Interval in, F below, int64_t guess) {
    const int64_t target = static_cast<int64_t>(uniforms[channel] * static_cast<double>(TOTAL));
    return find_value(in, target, below, guess).value;
}

// Chooses a value in an interval, which is probably near the middle.
template <class Choice, class F> int64_t choose(Choice &choice, int64_t channel, Interval in, F below) {
    return choose(choice, channel, in, below, (in.low + in.high + 1) / 2);
}

// The range decoder of one image's stream.
class Stream {
  public:
    Stream(const Drawing &drawing, int64_t image)
        : bytes(drawing.bytes + image * drawing.size), size(drawing.size), next(drawing.next[image]),
          code(drawing.code[image]), width(drawing.width[image]) {}

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

// Chooses a value in an interval by the bytes of a stream.
template <class F> int64_t choose(Stream &stream, int64_t, Interval in, F below, int64_t guess) {
    const Found found = find_value(in, stream.target(), below, guess);
    // At least 1: a frequency of 0, which would be a mistake of the head, would lead to an endless loop.
    stream.take(found.start, std::max<int64_t>(1, found.end - found.start));
    return found.value;
}

// The center of a sub-pixel, as `center` in auxar/model/support.py computes it.
inline int64_t center(int64_t twice, int64_t most) {
    constexpr int64_t half = int64_t(1) << CENTER_BITS / 2;
    const int64_t scaled = limit(twice - most, -most, most) * half, first = quotient(scaled, most);
    return first * half + quotient((scaled - first * most) * half, most);
}

// The sum of a sub-pixel's group, which determines the interval and the center of the sub-pixel: the range of the
// remaining sum, the sub-pixel's weight, and the range of the sum of later sub-pixels.
struct Sums {
    int64_t &lowest, &highest, *expected;
    int64_t weight, least, most;

    Sums(const Drawing &drawing, int64_t place, int64_t image, int64_t channel)
        : Sums(drawing, channel * (drawing.outside + 1) + place, image) {}

    // The values that the sub-pixel may have. If no value can meet the sums any more, for example because of limits,
    // the interval is a single value near the required range.
    Interval interval(int64_t levels) const {
        const int64_t low = -quotient(-(lowest - most), weight), high = quotient(highest - least, weight);
        const int64_t from = limit(low, 0, levels - 1), to = std::min(high, levels - 1);
        return {from, std::max(from, to)};
    }

    void take(int64_t value) {
        lowest -= value * weight;
        highest -= value * weight;
        if (expected != nullptr) *expected -= 2 * value * weight;
    }

  private:
    Sums(const Drawing &drawing, int64_t at, int64_t image)
        : lowest(drawing.lowest[drawing.groups[at] * drawing.batch + image]),
          highest(drawing.highest[drawing.groups[at] * drawing.batch + image]),
          expected(drawing.expected ? drawing.expected + drawing.groups[at] * drawing.batch + image : nullptr),
          weight(drawing.weights[at]),
          least(drawing.least[at * drawing.later_images + image % drawing.later_images]),
          most(drawing.most[at * drawing.later_images + image % drawing.later_images]) {}
};

// The drawn value of a channel at a place. Its neighbors lie at fixed distances (auxar/model/centers.py).
inline int64_t &drawn_at(const Drawing &drawing, int64_t place, int64_t image, int64_t channel) {
    const int64_t row = place / drawing.columns + 1, column = place % drawing.columns + 1;
    const int64_t position = row * (drawing.columns + 1) + column;
    return drawing.neighbors[(channel * drawing.positions + position) * drawing.batch + image];
}

// The center of a channel, given the neighbors of the pixel.
inline int64_t center_by_neighbors(const Drawing &drawing, int64_t place, int64_t image, int64_t channel) {
    if (place == 0) return 0;
    const int64_t *own = &drawn_at(drawing, place, image, channel);
    const int64_t *above = own - (drawing.columns + 1) * drawing.batch;
    return center(2 * (own[-drawing.batch] + above[0] - above[-drawing.batch]), drawing.image.levels - 1);
}

// The centers of a pixel's channels, and the values of neighbors if heads take them; null if there are none. No channel of
// the pixel may have been taken.
inline const int64_t *centers_of(const Drawing &drawing, int64_t place, int64_t image, std::vector<int64_t> &centers) {
    if (drawing.neighbors == nullptr && drawing.expected == nullptr) return nullptr;
    for (int64_t channel = 0; channel < drawing.image.channels; channel++) {
        const int64_t at = channel * (drawing.outside + 1) + place;
        centers[channel] =
            drawing.expected == nullptr
                ? center_by_neighbors(drawing, place, image, channel)
                : center(drawing.expected[drawing.groups[at] * drawing.batch + image], drawing.most_left[at]);
        if (drawing.references == 1) continue;
        const int64_t *own = &drawn_at(drawing, place, image, channel);
        const int64_t *above = own - (drawing.columns + 1) * drawing.batch;
        const int64_t neighbors[] = {own[-drawing.batch], above[0], above[-drawing.batch]};
        for (int64_t number = 1; number < drawing.references; number++)
            centers[number * drawing.image.channels + channel] =
                center(2 * neighbors[number - 1], drawing.image.levels - 1);
    }
    return centers.data();
}

// Records the values of a pixel that was not restricted, for the centers of later pixels.
inline void take_pixel(const Drawing &drawing, int64_t place, int64_t image, const int64_t *values) {
    if (drawing.neighbors != nullptr)
        for (int64_t channel = 0; channel < drawing.image.channels; channel++)
            drawn_at(drawing, place, image, channel) = values[channel];
    if (drawing.groups == nullptr || drawing.restricted) return;
    for (int64_t channel = 0; channel < drawing.image.channels; channel++)
        Sums(drawing, place, image, channel).take(values[channel]);
}

// Decides a pixel channel by channel and, if it is restricted, within the intervals of sums.
template <class Head, class T, class Choice>
void walk_pixel(const Drawing &drawing, int64_t place, int64_t image, const T *parameters, const int64_t *centers,
                int64_t *drawn, Head &head, Choice &choice) {
    const int64_t channels = drawing.image.channels, levels = drawing.image.levels;
    head.begin(parameters, centers);
    for (int64_t channel = 0; channel < channels; channel++) {
        if (!drawing.restricted) {
            drawn[channel] = head.draw(channel, {0, levels - 1}, drawn, choice);
        } else {
            Sums sums(drawing, place, image, channel);
            Interval in = sums.interval(levels);
            if (drawing.low != nullptr) {
                const int64_t at = (place * drawing.batch + image) * channels + channel;
                const int64_t low = drawing.low[at], high = drawing.high[at];
                in = {limit(in.low, low, high), limit(in.high, low, high)};
            }
            // A single possible value is neither drawn nor coded.
            drawn[channel] = in.low == in.high ? in.low : head.draw(channel, in, drawn, choice);
            sums.take(drawn[channel]);
        }
        if (channel + 1 < channels) head.take(channel, drawn);
    }
}

template <class Head, class T, class = void> constexpr bool DRAWS_FREELY = false;
template <class Head, class T>
using FreeDraw = decltype(std::declval<Head>().draw_freely(
    std::declval<const T *>(), std::declval<const int64_t *>(), std::declval<const double *>(),
    std::declval<int64_t *>()));
template <class Head, class T> constexpr bool DRAWS_FREELY<Head, T, FreeDraw<Head, T>> = true;

template <class Head, class T>
void draw_pixel(const Drawing &drawing, int64_t place, int64_t image, const T *parameters, const int64_t *centers,
                const double *uniforms, int64_t *drawn, Head &head) {
    if constexpr (DRAWS_FREELY<Head, T>) {
        if (!drawing.restricted) head.draw_freely(parameters, centers, uniforms, drawn);
        else walk_pixel(drawing, place, image, parameters, centers, drawn, head, uniforms);
    } else {
        walk_pixel(drawing, place, image, parameters, centers, drawn, head, uniforms);
    }
    if (!drawing.restricted && drawing.low != nullptr) {
        const int64_t channels = drawing.image.channels, at = (place * drawing.batch + image) * channels;
        for (int64_t channel = 0; channel < channels; channel++)
            drawn[channel] = limit(drawn[channel], drawing.low[at + channel], drawing.high[at + channel]);
    }
    take_pixel(drawing, place, image, drawn);
}

template <class Head> void count(const Drawing &drawing, int64_t *counts) {
    const auto &constants = *static_cast<const typename Head::Constants *>(drawing.constants);
    counts[0] = Head::parameter_count(constants, drawing.image);
    counts[1] = Head::uniform_count(constants, drawing.image, drawing.restricted);
}

// A `Source` that draws pixels. Threads do not change the same sum, because places that are drawn together belong to
// different groups.
template <class Head, class T>
void draw_pixels(const void *state, const int64_t *places, int64_t slots, const void *parameters, int64_t *drawn,
                 int64_t thread, int64_t threads) {
    const Drawing &drawing = *static_cast<const Drawing *>(state);
    const int64_t channels = drawing.image.channels, pixels = slots * drawing.batch;
    int64_t counts[2];
    count<Head>(drawing, counts);
    Head head(*static_cast<const typename Head::Constants *>(drawing.constants), drawing.image);
    std::vector<int64_t> centers(channels * drawing.references);
    for (int64_t pixel = pixels * thread / threads; pixel < pixels * (thread + 1) / threads; pixel++) {
        const int64_t place = places[pixel / drawing.batch], image = pixel % drawing.batch;
        int64_t *values = drawn + pixel * channels;
        if (place == drawing.outside) {
            std::fill_n(values, channels, 0);
            continue;
        }
        const double *uniforms = drawing.uniforms + (place * drawing.batch + image) * counts[1];
        draw_pixel(drawing, place, image, static_cast<const T *>(parameters) + pixel * counts[0],
                   centers_of(drawing, place, image, centers), uniforms, values, head);
    }
}

// A `Source` that decodes pixels, in the order of places. Each thread decodes the streams of its share of the images.
template <class Head>
void decode_pixels(const void *state, const int64_t *places, int64_t count, const void *parameters, int64_t *decoded,
                   int64_t thread, int64_t threads) {
    const Drawing &drawing = *static_cast<const Drawing *>(state);
    const auto &constants = *static_cast<const typename Head::Constants *>(drawing.constants);
    const int64_t channels = drawing.image.channels, batch = drawing.batch;
    const int64_t size = Head::parameter_count(constants, drawing.image);
    std::vector<int64_t> slots(count);
    for (int64_t slot = 0; slot < count; slot++) slots[slot] = slot;
    std::sort(slots.begin(), slots.end(), [&](int64_t one, int64_t other) { return places[one] < places[other]; });
    Head head(constants, drawing.image);
    std::vector<int64_t> centers(channels * drawing.references);
    for (int64_t image = batch * thread / threads; image < batch * (thread + 1) / threads; image++) {
        Stream stream(drawing, image);
        for (const int64_t slot : slots) {
            const int64_t pixel = slot * batch + image;
            int64_t *values = decoded + pixel * channels;
            if (places[slot] == drawing.outside) {
                std::fill_n(values, channels, 0);
                continue;
            }
            const int64_t place = places[slot];
            if (place < drawing.known) {
                std::copy_n(drawing.known_pixels + (place * batch + image) * channels, channels, values);
                if (drawing.restricted)
                    for (int64_t channel = 0; channel < channels; channel++)
                        Sums(drawing, place, image, channel).take(values[channel]);
            } else {
                const int64_t *around = centers_of(drawing, place, image, centers);
                walk_pixel(drawing, place, image, static_cast<const double *>(parameters) + pixel * size, around,
                           values, head, stream);
            }
            take_pixel(drawing, place, image, values);
        }
    }
}

// A value whose range is noted where a value would be chosen.
struct Noted {
    const int64_t value;
    int64_t &start, &frequency;
};

template <class F> int64_t choose(Noted &noted, int64_t, Interval in, F below, int64_t) {
    const bool inside = in.low <= noted.value && noted.value <= in.high;
    const int64_t own = inside ? noted.value : in.low;
    noted.start = own == in.low ? 0 : below(own);
    noted.frequency = inside ? (own == in.high ? TOTAL : below(own + 1)) - noted.start : 0;
    return noted.value;
}

template <class Head> void coding_ranges(const Coding &coding, int64_t thread, int64_t threads) {
    const auto &constants = *static_cast<const typename Head::Constants *>(coding.constants);
    const int64_t channels = coding.image.channels, size = Head::parameter_count(constants, coding.image);
    Head head(constants, coding.image);
    for (int64_t k = coding.count * thread / threads; k < coding.count * (thread + 1) / threads; k++) {
        const int64_t *values = coding.values + k * channels;
        head.begin(coding.parameters + k * size,
                   coding.centers == nullptr ? nullptr : coding.centers + k * coding.center_count);
        for (int64_t channel = 0; channel < channels; channel++) {
            const int64_t at = k * channels + channel;
            const Interval in{coding.low[at], coding.high[at]};
            Noted noted{values[channel], coding.starts[at], coding.frequencies[at]};
            if (in.low == in.high) choose(noted, channel, in, [](int64_t) { return TOTAL; });
            else head.draw(channel, in, values, noted);
            if (channel + 1 < channels) head.take(channel, values);
        }
    }
}

template <class Head> constexpr HeadCode head_code() {
    Source decode = nullptr;
    Ranges ranges = nullptr;
    if constexpr (std::is_base_of_v<IntegerHead, Head>) decode = decode_pixels<Head>, ranges = coding_ranges<Head>;
    return {sizeof(typename Head::Constants), count<Head>, draw_pixels<Head, float>, draw_pixels<Head, double>, decode,
            ranges};
}

}  // namespace
