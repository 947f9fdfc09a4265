// Pixel sources. Pixels are drawn freely, drawn under restrictions on sums, or copied from given images.
//
// Drawing a pixel takes little arithmetic; calls of tensor operations would take longer. Names and formulas follow the
// heads' `draw` and `draw_restricted`, auxar/numerics and `SumWalk`. All arithmetic is in float64.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "functions.h"
#include "integer_heads.h"
#include "pixels.h"
#include "structures.h"

namespace {

// Loops over components or values run to a multiple of LANES, so that vectorized loops need no scalar remainder.
constexpr int64_t LANES = 8;
int64_t padded(int64_t count) { return (count + LANES - 1) & -LANES; }

double largest_of(const double *values, int64_t count) {
    double largest = values[0];
#if !defined(__clang__)  // clang does not vectorize this loop, and would warn
#pragma omp simd reduction(max : largest)
#endif
    for (int64_t k = 0; k < count; k++) largest = values[k] > largest ? values[k] : largest;
    return largest;
}

// Replaces nats (a padded array) by exp(nats - largest), so that the largest of the first `count` values is 1.
void exponentials(double *nats, int64_t count) {
    const double largest = largest_of(nats, count);
    const int64_t lanes = padded(count);
#pragma omp simd
    for (int64_t k = 0; k < lanes; k++) nats[k] = exp_of(nats[k] - largest);
}

// Replaces weights that are less than min_weight times the largest one by 0, so that they are never drawn.
void drop_light(double *weights, int64_t count, double min_weight) {
    if (min_weight == 0) return;
    const double least = min_weight * largest_of(weights, count);
#pragma omp simd
    for (int64_t k = 0; k < count; k++) weights[k] = weights[k] < least ? 0 : weights[k];
}

// Draws a category with probability in proportion to the weights, from one uniform number. Replaces the weights by
// their cumulative sums.
int64_t draw_category(double uniform, double *weights, int64_t count) {
    for (int64_t k = 1; k < count; k++) weights[k] += weights[k - 1];
    const double threshold = uniform * weights[count - 1];
    int64_t category = 0;
#pragma omp simd reduction(+ : category)
    for (int64_t k = 0; k < count - 1; k++) category += weights[k] <= threshold;
    return category;
}

// Rounds a position, in units of pixel values, to the nearest value of the interval; halves round up.
int64_t nearest_to(double position, Interval in) {
    const double found = std::floor(position + 0.5);
    if (!(found > static_cast<double>(in.low))) return in.low;  // NaN also gives this value.
    return found < static_cast<double>(in.high) ? static_cast<int64_t>(found) : in.high;
}

// Rounds a point on the scale [-1, 1] to the nearest value of the interval.
int64_t nearest_value(double point, Interval in, int64_t levels) {
    const double half = static_cast<double>(levels - 1) / 2;
    return nearest_to(point * half + half, in);
}

// Draws from a discretized logistic that is restricted to an interval, by its inverse distribution function. An
// interval whose middle is right of the mean is mirrored to the left tail, where the formulas do not cancel.
int64_t draw_between(double uniform, double mean, double inverse_scale, Interval in, int64_t levels) {
    constexpr double infinite = std::numeric_limits<double>::infinity();
    const double half = 1.0 / static_cast<double>(levels - 1);
    const double lower =
        in.low == 0 ? -infinite : (static_cast<double>(2 * in.low - 1) * half - 1 - mean) * inverse_scale;
    const double upper =
        in.high == levels - 1 ? infinite : (static_cast<double>(2 * in.high + 1) * half - 1 - mean) * inverse_scale;
    const bool mirrored = lower + upper > 0;
    const double left = mirrored ? -upper : lower, right = mirrored ? -lower : upper;
    const double rest = mirrored ? uniform : 1 - uniform, share = mirrored ? 1 - uniform : uniform;
    const double signed_scale = (mirrored ? -1 : 1) / inverse_scale;
    if (right > 1) {
        const double below = std::exp(left), above = std::exp(-right);
        const double by_left = rest * (1 + above), by_right = share * (1 + below);
        const double point = std::log((by_left * below + by_right) / (by_left + by_right * above));
        return nearest_value(mean + signed_scale * point, in, levels);
    }
    const double count = static_cast<double>(in.high - in.low + 1);
    const double width = std::isinf(left) ? infinite : count * (2 * half) * inverse_scale;
    const double above = 1 + std::exp(right), inside = -std::expm1(-width);
    const double distance = std::log1p(rest * inside * above / (above * std::exp(-width) + share * inside));
    const double end = mirrored ? static_cast<double>(2 * in.low - 1) : static_cast<double>(2 * in.high + 1);
    return nearest_value(end * half - 1 - signed_scale * distance, in, levels);
}

// A mixture of discretized logistics. Its parameters (1 + 2 · channels + couplings, components) are logits, means,
// log-scales and couplings, in this order. Each thread has its own object.
class Mixture {
  public:
    static int64_t parameter_count(const Drawing &d) {
        return d.components * (1 + 2 * d.channels + d.channels * (d.channels - 1) / 2);
    }
    static int64_t uniform_count(const Drawing &d) { return d.groups == nullptr ? 1 + d.channels : 2 * d.channels; }

    explicit Mixture(const Drawing &drawing)
        : d(drawing), lanes(padded(d.components)), rows(parameter_count(d) / d.components), loaded(rows * lanes),
          nats(lanes), share(lanes), mean(lanes), inverse_scale(lanes), lower(lanes), upper(lanes),
          inside_nats(lanes), inside_share(lanes) {}

    // Draws a component, then all channels from this component.
    template <class T> void draw_freely(const T *parameters, const double *uniforms, int64_t *drawn) {
        load(parameters);
        exponentials(loaded.data(), d.components);
        drop_light(loaded.data(), d.components, d.min_weight);
        const int64_t k = draw_category(uniforms[0], loaded.data(), d.components);
        // A coupling multiplies an earlier channel's value on the scale [-1, 1]. Here positions are in units of pixel
        // values, so it multiplies the value's signed distance from the middle of the range.
        const double middle = static_cast<double>(d.levels - 1) / 2;
        const double *coupling = couplings() + k;
        for (int64_t channel = 0; channel < d.channels; channel++) {
            double point = means(channel)[k];
            if (!d.centers) {
                const double uniform = uniforms[1 + channel];
                point += std::exp(reduced(log_scales(channel)[k])) * std::log(uniform / (1 - uniform));
            }
            double position = point * middle + middle;
            for (int64_t earlier = 0; earlier < channel; earlier++, coupling += lanes)
                position += std::tanh(*coupling) * (static_cast<double>(drawn[earlier]) - middle);
            drawn[channel] = nearest_to(position, {0, d.levels - 1});
        }
    }

    template <class T> void begin(const T *parameters) {
        load(parameters);
        for (int64_t k = 0; k < lanes; k++) nats[k] = loaded[k], share[k] = 1;
        prepared = -1;
    }

    int64_t draw(int64_t channel, Interval in, const int64_t *before, const double *uniforms) {
        prepare(channel, before);
        measure(in);
#pragma omp simd
        for (int64_t k = 0; k < lanes; k++) inside_nats[k] += nats[k];
        exponentials(inside_nats.data(), d.components);
#pragma omp simd
        for (int64_t k = 0; k < lanes; k++) inside_nats[k] *= share[k] * inside_share[k];
        drop_light(inside_nats.data(), d.components, d.min_weight);
        const int64_t k = draw_category(uniforms[2 * channel], inside_nats.data(), d.components);
        if (d.centers) return nearest_value(mean[k], in, d.levels);
        return draw_between(uniforms[2 * channel + 1], mean[k], inverse_scale[k], in, d.levels);
    }

    // Multiplies the components' weights by the probability of the channel's value, drawn[channel].
    void take(int64_t channel, const int64_t *drawn) {
        prepare(channel, drawn);
        measure({drawn[channel], drawn[channel]});
#pragma omp simd
        for (int64_t k = 0; k < lanes; k++) nats[k] += inside_nats[k], share[k] *= inside_share[k];
    }

  private:
    template <class T> void load(const T *parameters) {
        for (int64_t row = 0; row < rows; row++, parameters += d.components)
            for (int64_t k = 0; k < d.components; k++) loaded[row * lanes + k] = static_cast<double>(parameters[k]);
    }
    const double *means(int64_t channel) const { return loaded.data() + (1 + channel) * lanes; }
    const double *log_scales(int64_t channel) const { return loaded.data() + (1 + d.channels + channel) * lanes; }
    const double *couplings() const { return loaded.data() + (1 + 2 * d.channels) * lanes; }

    // Clamps a log-scale to the bounds that the likelihood has too, and then subtracts the rule's reduction.
    double reduced(double log_scale) const {
        const double bounded = log_scale < d.smallest_log_scale  ? d.smallest_log_scale
                               : log_scale > d.largest_log_scale ? d.largest_log_scale
                                                                 : log_scale;
        const double lowered = bounded - d.reduction;
        return lowered < d.smallest_reduced_log_scale ? d.smallest_reduced_log_scale : lowered;
    }

    // Computes the channel's means, shifted by the earlier channels, and its scales. It is called on demand, because
    // the last channel does not need them if only one value is possible.
    void prepare(int64_t channel, const int64_t *before) {
        if (prepared == channel) return;
        prepared = channel;
        const double *own_means = means(channel), *own_scales = log_scales(channel);
#pragma omp simd
        for (int64_t k = 0; k < lanes; k++) {
            mean[k] = own_means[k];
            inverse_scale[k] = exp_of(-reduced(own_scales[k]));
        }
        const double *coupling = couplings() + channel * (channel - 1) / 2 * lanes;
        for (int64_t earlier = 0; earlier < channel; earlier++, coupling += lanes) {
            const double scaled = static_cast<double>(before[earlier]) * (2.0 / static_cast<double>(d.levels - 1)) - 1;
#pragma omp simd
            for (int64_t k = 0; k < lanes; k++) mean[k] += hyperbolic_tangent(coupling[k]) * scaled;
        }
    }

    // Computes the probability of an interval in each component, e^inside_nats · inside_share. The shares of a few
    // channels can be multiplied without underflow, so no logarithm of the share is needed.
    void measure(Interval in) {
        constexpr double infinite = std::numeric_limits<double>::infinity();
        const double half = 1.0 / static_cast<double>(d.levels - 1);
        const bool lowest = in.low == 0, highest = in.high == d.levels - 1;
        standardize(lowest ? -infinite : static_cast<double>(in.low) * (2 * half) - 1 - half, lower);
        standardize(highest ? infinite : static_cast<double>(in.high) * (2 * half) - 1 + half, upper);
        const double width = lowest || highest ? infinite : static_cast<double>(in.high - in.low + 1) * (2 * half);
#pragma omp simd
        for (int64_t k = 0; k < lanes; k++) {
            inside_nats[k] = (upper[k] < 0 ? upper[k] : 0) - (lower[k] > 0 ? lower[k] : 0);
            const double divisor = (1 + exp_of(-std::fabs(lower[k]))) * (1 + exp_of(-std::fabs(upper[k])));
            inside_share[k] = -expm1_of(-width * inverse_scale[k]) / divisor;
        }
        if (lowest && highest) std::fill(inside_share.begin(), inside_share.end(), 1.0);
    }

    // Computes the ends on the scale of each component. An infinite end stays infinite; the formula could give NaN.
    void standardize(double end, std::vector<double> &ends) const {
        if (std::isinf(end)) {
            std::fill(ends.begin(), ends.end(), end);
            return;
        }
#pragma omp simd
        for (int64_t k = 0; k < lanes; k++) ends[k] = (end - mean[k]) * inverse_scale[k];
    }

    const Drawing &d;
    int64_t lanes, rows, prepared = -1;
    std::vector<double> loaded, nats, share, mean, inverse_scale, lower, upper, inside_nats, inside_share;
};

// A softmax over the levels of each channel. Its parameters (channels, levels) are logits.
class Softmax {
  public:
    static int64_t parameter_count(const Drawing &d) { return d.channels * d.levels; }
    static int64_t uniform_count(const Drawing &d) { return d.channels; }

    explicit Softmax(const Drawing &drawing) : d(drawing), logits(parameter_count(d)), nats(padded(d.levels)) {}

    template <class T> void draw_freely(const T *parameters, const double *uniforms, int64_t *drawn) {
        begin(parameters);
        for (int64_t channel = 0; channel < d.channels; channel++)
            drawn[channel] = draw(channel, {0, d.levels - 1}, drawn, uniforms);
    }

    template <class T> void begin(const T *parameters) {
        const double temperature = d.temperature;
        const int64_t count = parameter_count(d);
#pragma omp simd
        for (int64_t k = 0; k < count; k++) logits[k] = static_cast<double>(parameters[k]) / temperature;
    }

    int64_t draw(int64_t channel, Interval in, const int64_t *, const double *uniforms) {
        const double *own = logits.data() + channel * d.levels + in.low;
        const int64_t count = in.high - in.low + 1;
        for (int64_t k = 0; k < count; k++) nats[k] = own[k];
        exponentials(nats.data(), count);
        return in.low + draw_category(uniforms[channel], nats.data(), count);
    }

    void take(int64_t, const int64_t *) {}

  private:
    const Drawing &d;
    std::vector<double> logits, nats;
};

template <class Head, class T>
void draw_pixel(const Drawing &drawing, int64_t place, int64_t image, const T *parameters, int64_t *drawn,
                Head &head) {
    const int64_t channels = drawing.channels, pixel = place * drawing.batch + image;
    const double *uniforms = drawing.uniforms + pixel * Head::uniform_count(drawing);
    if (drawing.groups == nullptr) {
        head.draw_freely(parameters, uniforms, drawn);
        if (drawing.low == nullptr) return;
        for (int64_t channel = 0; channel < channels; channel++) {
            const int64_t at = pixel * channels + channel;
            drawn[channel] = clamp(drawn[channel], drawing.low[at], drawing.high[at]);
        }
        return;
    }
    head.begin(parameters);
    for (int64_t channel = 0; channel < channels; channel++) {
        Sums sums(drawing, place, image, channel);
        Interval in = sums.interval(drawing.levels);
        if (drawing.low != nullptr) {
            const int64_t at = pixel * channels + channel;
            in = {clamp(in.low, drawing.low[at], drawing.high[at]), clamp(in.high, drawing.low[at], drawing.high[at])};
        }
        if (in.low == in.high) drawn[channel] = in.low;
        else drawn[channel] = head.draw(channel, in, drawn, uniforms);
        sums.take(drawn[channel]);
        if (channel + 1 < channels) head.take(channel, drawn);
    }
}

// Draws the pixels at `places` (count,) of every image from `parameters` (count · batch, …). Writes `drawn` (count ·
// batch, channels), with zeros for places outside the image. Threads do not change the same sum, because places that
// are drawn together belong to different groups.
template <class Head, class T>
void draw_pixels(const Drawing &drawing, const int64_t *places, int64_t count, const T *parameters, int64_t *drawn,
                 int64_t threads) {
    const int64_t channels = drawing.channels, pixels = count * drawing.batch;
    const int64_t size = Head::parameter_count(drawing);
    Team::own().run(pixels >= threads * PIXELS_PER_THREAD ? threads : 1, [&](int64_t thread, int64_t used) {
        Head head(drawing);
        for (int64_t pixel = pixels * thread / used; pixel < pixels * (thread + 1) / used; pixel++) {
            const int64_t place = places[pixel / drawing.batch], image = pixel % drawing.batch;
            int64_t *values = drawn + pixel * channels;
            if (place == drawing.outside)
                for (int64_t channel = 0; channel < channels; channel++) values[channel] = 0;
            else
                draw_pixel(drawing, place, image, parameters + pixel * size, values, head);
        }
    });
}

}  // namespace

extern "C" {
void draw_mixture_float(const void *drawing, const int64_t *places, int64_t count, const void *parameters,
                        int64_t *drawn, int64_t threads) {
    draw_pixels<Mixture>(*static_cast<const Drawing *>(drawing), places, count, static_cast<const float *>(parameters),
                         drawn, threads);
}
void draw_mixture_double(const void *drawing, const int64_t *places, int64_t count, const void *parameters,
                         int64_t *drawn, int64_t threads) {
    draw_pixels<Mixture>(*static_cast<const Drawing *>(drawing), places, count, static_cast<const double *>(parameters),
                         drawn, threads);
}
void draw_softmax_float(const void *drawing, const int64_t *places, int64_t count, const void *parameters,
                        int64_t *drawn, int64_t threads) {
    draw_pixels<Softmax>(*static_cast<const Drawing *>(drawing), places, count, static_cast<const float *>(parameters),
                         drawn, threads);
}
void draw_softmax_double(const void *drawing, const int64_t *places, int64_t count, const void *parameters,
                         int64_t *drawn, int64_t threads) {
    draw_pixels<Softmax>(*static_cast<const Drawing *>(drawing), places, count, static_cast<const double *>(parameters),
                         drawn, threads);
}
void draw_integer_mixture_double(const void *drawing, const int64_t *places, int64_t count, const void *parameters,
                                 int64_t *drawn, int64_t threads) {
    draw_pixels<IntegerMixture>(*static_cast<const Drawing *>(drawing), places, count,
                                static_cast<const double *>(parameters), drawn, threads);
}
void draw_integer_softmax_double(const void *drawing, const int64_t *places, int64_t count, const void *parameters,
                                 int64_t *drawn, int64_t threads) {
    draw_pixels<IntegerSoftmax>(*static_cast<const Drawing *>(drawing), places, count,
                                static_cast<const double *>(parameters), drawn, threads);
}
void force(const void *forcing, const int64_t *places, int64_t count, const void *, int64_t *drawn, int64_t) {
    const Forcing &given = *static_cast<const Forcing *>(forcing);
    const int64_t size = given.batch * given.channels;
    for (int64_t k = 0; k < count; k++)
        std::memcpy(drawn + k * size, given.image + places[k] * size, size * sizeof(int64_t));
}
}
