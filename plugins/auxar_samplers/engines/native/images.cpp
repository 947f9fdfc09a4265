// Steps of graphs of integers for whole images: convolutions, and functions of their results while the cache has them.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "integer_products.h"
#include "pointwise.h"
#include "structures.h"
#include "team.h"

#if defined(AUXAR_WORDS)
namespace {

// The numbers of places side by side from each place on.
std::vector<int64_t> runs_of(const ImageProduct &product) {
    std::vector<int64_t> runs(product.count, 1);
    for (int64_t k = product.count - 2; k >= 0; k--) {
        const int64_t *place = product.places + 2 * k;
        if (place[0] == place[2] && place[1] + 1 == place[3]) runs[k] = runs[k + 1] + 1;
    }
    return runs;
}

// Gathers the inputs of a convolution for `height` pixels from `first` on. Places side by side, whose values lie one
// after another, are copied at once.
void gather(const ImageStep &step, const ImageProduct &product, const std::vector<int64_t> &runs, int64_t first,
            int64_t height, int16_t *block) {
    const int64_t inputs = product.words->inputs, channels = product.channels;
    for (int64_t m = 0; m < height; m++, block += inputs) {
        const int64_t image = (first + m) / (step.height * step.width);
        const int64_t row = (first + m) / step.width % step.height, column = (first + m) % step.width;
        for (int64_t k = 0, run; k < product.count; k += run) {
            const int64_t y = row + product.places[2 * k], x = column + product.places[2 * k + 1];
            run = x >= 0 ? std::max(std::min(runs[k], step.width - x), int64_t{1}) : 1;
            int16_t *out = block + k * channels;
            const size_t bytes = run * channels * sizeof(int16_t);
            if (y < 0 || y >= step.height || x < 0 || x >= step.width)
                std::memset(out, 0, bytes);
            else
                std::memcpy(out, product.values + ((image * step.height + y) * step.width + x) * channels, bytes);
        }
    }
}

// The values of a block of pixels, as doubles: MOST_ROWS rows for each value, at its place in `room`.
struct Block {
    int64_t first, height;
    double *room;
    const double *zeros;
    double *value(const Operand &operand) const { return room + operand.first_slot * MOST_ROWS; }
};

// Convolves a block, and adds to its values if the product is `added`.
void convolve(const ImageStep &step, const ImageProduct &product, Multiplier &multiplier, const Block &block) {
    Results results{product.output.channels, {}, {}};
    for (int64_t m = 0; m < block.height; m++) {
        const int64_t x = (block.first + m) % step.width, y = (block.first + m) / step.width % step.height;
        const double *bias = x >= product.first_column && y >= product.first_row ? product.bias : block.zeros;
        double *const own = results.to[m] = block.value(product.output) + m * results.outputs;
        if (product.added) each(own, results.outputs, [&](int64_t n) { return own[n] + bias[n]; });
        results.from[m] = product.added ? own : bias;
    }
    for (int64_t group = 0, groups = groups_of(results.outputs); group < groups; group += PANEL)
        multiplier.multiply(group, std::min(PANEL, groups - group), results);
}

// Applies a function to a block. Returns whether all values that are stored in 16 bits are integers of 16 bits.
bool apply_to(const Instruction &function, const Block &block, double *numbers) {
    const Operand &output = function.output;
    Rows<double> in[MOST_OPERANDS], out{block.value(output), output.channels};
    for (int32_t k = 0; k < function.operand_count; k++) {
        const Operand &operand = function.operands[k];
        const int64_t count = block.height * operand.channels, place = block.first * operand.channels;
        in[k] = {block.value(operand), operand.channels};
        if (operand.kind != TABLE) continue;
        const int16_t *words = reinterpret_cast<const int16_t *>(operand.base) + place;
        in[k].first = operand.words ? numbers : reinterpret_cast<double *>(operand.base) + place;
        if (!operand.words) continue;
        each(numbers, count, [&](int64_t i) { return double(words[i]); });
        numbers += count;
    }
    apply(function, out, in, block.height);
    const int64_t count = block.height * output.channels, at = block.first * output.channels;
    if (output.base == nullptr) return true;
    if (output.words) return to_words(out.first, count, reinterpret_cast<int16_t *>(output.base) + at);
    std::memcpy(reinterpret_cast<double *>(output.base) + at, out.first, count * sizeof(double));
    return true;
}

}  // namespace
#endif

extern "C" {
// Converts values to 16 bits. Returns whether all are integers of 16 bits.
int64_t convert_to_words(const double *values, int64_t count, int16_t *out) { return to_words(values, count, out); }
// Computes a step. Returns 0 if a stored value is not an integer of 16 bits, or the processor does not multiply these.
int64_t compute_images(const ImageStep *of, int64_t threads) {
#if defined(AUXAR_WORDS)
    const ImageStep &step = *of;
    const int64_t pixels = step.batch * step.height * step.width;
    std::atomic<bool> whole{true};
    Team::own().run(threads, [&](int64_t thread, int64_t count) {
        std::vector<std::unique_ptr<Multiplier>> multipliers;
        std::vector<std::vector<int64_t>> runs;
        int64_t inputs = 0;
        for (int64_t k = 0; k < step.product_count; k++) {
            multipliers.push_back(std::make_unique<Multiplier>(*step.products[k].words, pixels));
            runs.push_back(runs_of(step.products[k]));
            inputs = std::max(inputs, step.products[k].words->inputs);
        }
        int64_t read = 0;
        for (int64_t k = 0; k < step.function_count; k++) {
            int64_t own = 0;
            for (int32_t n = 0; n < step.functions[k].operand_count; n++) own += step.functions[k].operands[n].channels;
            read = std::max(read, own);
        }
        std::vector<int16_t> gathered(MOST_ROWS * inputs);
        std::vector<double> room(MOST_ROWS * step.channels), numbers(MOST_ROWS * read), zeros(step.channels);
        const int64_t end = pixels * (thread + 1) / count;
        for (int64_t first = pixels * thread / count; first < end && whole; first += MOST_ROWS) {
            const Block block{first, std::min(MOST_ROWS, end - first), room.data(), zeros.data()};
            Inputs given;
            for (int64_t k = 0; k < step.product_count; k++) {
                gather(step, step.products[k], runs[k], first, block.height, gathered.data());
                given.set(gathered.data(), step.products[k].words->inputs, block.height);
                multipliers[k]->begin(block.height, given);
                convolve(step, step.products[k], *multipliers[k], block);
            }
            for (int64_t k = 0; k < step.function_count; k++)
                if (!apply_to(step.functions[k], block, numbers.data())) whole = false;
        }
    });
    return whole;
#else
    (void)of, (void)threads;
    return 0;
#endif
}
}
