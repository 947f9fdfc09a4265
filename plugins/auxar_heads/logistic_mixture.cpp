// The mixture of discretized logistics (logistic_mixture.py, auxar/numerics/logistic.py). All arithmetic is in float64.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "categorical.h"
#include "functions.h"
#include "pixels.h"

namespace {

// Rounds a position, in units of pixel values, to the nearest value in the interval; halves round up.
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
    struct Constants {
        int64_t components;
        int64_t references; // 4 if components take turns between the center and three neighbors, otherwise 1
        int64_t centers;    // 1 to take the center of the drawn component, 0 to draw from the component
        double min_weight;  // least weight of a component, as a fraction of the heaviest one's weight, in [0, 1)
        double smallest_log_scale, largest_log_scale, reduction, smallest_reduced_log_scale;
    };

    static int64_t parameter_count(const Constants &c, Image image) {
        return c.components * (1 + 2 * image.channels + image.channels * (image.channels - 1) / 2);
    }
    static int64_t uniform_count(const Constants &, Image image, bool restricted) {
        return restricted ? 2 * image.channels : 1 + image.channels;
    }

    Mixture(const Constants &constants, Image of)
        : c(constants), image(of), lanes(padded(c.components)), rows(parameter_count(c, image) / c.components),
          loaded(rows * lanes), nats(lanes), share(lanes), mean(lanes), inverse_scale(lanes), lower(lanes),
          upper(lanes), inside_nats(lanes), inside_share(lanes),
          around(image.channels * lanes) {}

    // Draws a component, then all channels from this component.
    template <class T>
    void draw_freely(const T *parameters, const int64_t *centers, const double *uniforms, int64_t *drawn) {
        load(parameters, centers);
        exponentials(loaded.data(), c.components);
        drop_light(loaded.data(), c.components, c.min_weight);
        const int64_t k = draw_category(uniforms[0], loaded.data(), c.components);
        // A coupling multiplies an earlier channel's distance from its center on the scale [-1, 1]. Here positions are
        // in units of pixel values. Without centers, the middle of the range is the center.
        const double middle = static_cast<double>(image.levels - 1) / 2;
        const double *coupling = couplings() + k;
        for (int64_t channel = 0; channel < image.channels; channel++) {
            double point = means(channel)[k] + around[channel * lanes + k];
            if (!c.centers) {
                const double uniform = uniforms[1 + channel];
                point += std::exp(reduced(log_scales(channel)[k])) * std::log(uniform / (1 - uniform));
            }
            double position = point * middle + middle;
            for (int64_t earlier = 0; earlier < channel; earlier++, coupling += lanes)
                position += std::tanh(*coupling) *
                            (static_cast<double>(drawn[earlier]) - middle - around[earlier * lanes + k] * middle);
            drawn[channel] = nearest_to(position, {0, image.levels - 1});
        }
    }

    template <class T> void begin(const T *parameters, const int64_t *centers) {
        load(parameters, centers);
        for (int64_t k = 0; k < lanes; k++) nats[k] = loaded[k], share[k] = 1;
        prepared = -1;
    }

    int64_t draw(int64_t channel, Interval in, const int64_t *before, const double *uniforms) {
        prepare(channel, before);
        measure(in);
#pragma omp simd
        for (int64_t k = 0; k < lanes; k++) inside_nats[k] += nats[k];
        exponentials(inside_nats.data(), c.components);
#pragma omp simd
        for (int64_t k = 0; k < lanes; k++) inside_nats[k] *= share[k] * inside_share[k];
        drop_light(inside_nats.data(), c.components, c.min_weight);
        const int64_t k = draw_category(uniforms[2 * channel], inside_nats.data(), c.components);
        if (c.centers) return nearest_value(mean[k], in, image.levels);
        return draw_between(uniforms[2 * channel + 1], mean[k], inverse_scale[k], in, image.levels);
    }

    // Multiplies the components' weights by the probability of the channel's value, drawn[channel].
    void take(int64_t channel, const int64_t *drawn) {
        prepare(channel, drawn);
        measure({drawn[channel], drawn[channel]});
#pragma omp simd
        for (int64_t k = 0; k < lanes; k++) nats[k] += inside_nats[k], share[k] *= inside_share[k];
    }

  private:
    template <class T> void load(const T *parameters, const int64_t *centers) {
        constexpr double unit = 1.0 / static_cast<double>(int64_t(1) << CENTER_BITS);
        if (centers != nullptr)
            for (int64_t channel = 0; channel < image.channels; channel++)
                for (int64_t k = 0; k < c.components; k++)
                    around[channel * lanes + k] =
                        static_cast<double>(centers[k % c.references * image.channels + channel]) * unit;
        for (int64_t row = 0; row < rows; row++, parameters += c.components)
            for (int64_t k = 0; k < c.components; k++) loaded[row * lanes + k] = static_cast<double>(parameters[k]);
    }
    const double *means(int64_t channel) const { return loaded.data() + (1 + channel) * lanes; }
    const double *log_scales(int64_t channel) const { return loaded.data() + (1 + image.channels + channel) * lanes; }
    const double *couplings() const { return loaded.data() + (1 + 2 * image.channels) * lanes; }

    // Clamps a log-scale to the same bounds as for the likelihood, and then subtracts the reduction of the rule.
    double reduced(double log_scale) const {
        const double bounded = log_scale < c.smallest_log_scale  ? c.smallest_log_scale
                               : log_scale > c.largest_log_scale ? c.largest_log_scale
                                                                 : log_scale;
        const double lowered = bounded - c.reduction;
        return lowered < c.smallest_reduced_log_scale ? c.smallest_reduced_log_scale : lowered;
    }

    // Computes the channel's means, shifted by the earlier channels, and its scales. It is called on demand, because
    // the last channel does not need them if only one value is possible.
    void prepare(int64_t channel, const int64_t *before) {
        if (prepared == channel) return;
        prepared = channel;
        const double *own_means = means(channel), *own_scales = log_scales(channel);
#pragma omp simd
        for (int64_t k = 0; k < lanes; k++) {
            mean[k] = own_means[k] + around[channel * lanes + k];
            inverse_scale[k] = exp_of(-reduced(own_scales[k]));
        }
        const double *coupling = couplings() + channel * (channel - 1) / 2 * lanes;
        for (int64_t earlier = 0; earlier < channel; earlier++, coupling += lanes) {
            const double most = static_cast<double>(image.levels - 1);
            const double scaled = static_cast<double>(before[earlier]) * (2.0 / most) - 1;
            const double *references = around.data() + earlier * lanes;
#pragma omp simd
            for (int64_t k = 0; k < lanes; k++) mean[k] += hyperbolic_tangent(coupling[k]) * (scaled - references[k]);
        }
    }

    // Computes the probability of an interval in each component, e^inside_nats · inside_share. The shares of a few
    // channels can be multiplied without underflow, so no logarithm of the share is needed.
    void measure(Interval in) {
        constexpr double infinite = std::numeric_limits<double>::infinity();
        const double half = 1.0 / static_cast<double>(image.levels - 1);
        const bool lowest = in.low == 0, highest = in.high == image.levels - 1;
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

    const Constants c;
    const Image image;
    int64_t lanes, rows, prepared = -1;
    std::vector<double> loaded, nats, share, mean, inverse_scale, lower, upper, inside_nats, inside_share;
    std::vector<double> around;  // (channels, lanes): the value to which a mean is relative, or 0
};

}  // namespace

extern "C" {
HeadCode auxar_head = head_code<Mixture>();
}
