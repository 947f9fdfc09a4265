// Convolutions of whole images of integers, by products of 8-bit pieces, for likelihoods and embeddings.

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "integer_products.h"
#include "team.h"

extern "C" {
// Multiplies values (rows + the last shift, channels) with a matrix of weights for each shift: row r of the result is the
// bias plus the sum, over all shifts, of row r + shift of the values times the shift's matrix (channels, outputs). The
// pieces and offsets of weights are those of the matrices one below the other. Returns 0 if a value is not an integer of
// 16 bits, or the processor does not multiply pieces.
int64_t convolve(const double *values, int64_t rows, int64_t channels, const int64_t *shifts, int64_t count,
                 const int8_t *weights, const double *offsets, const double *bias, int64_t outputs, double *out,
                 int64_t threads) {
#if defined(__AVX512VNNI__)
    const int64_t inputs = (count * channels + BLOCK - 1) / BLOCK * BLOCK, groups = (outputs + GROUP - 1) / GROUP;
    const int64_t size = (rows + shifts[count - 1]) * channels;
    const std::unique_ptr<uint8_t[]> lower(new uint8_t[size]), higher(new uint8_t[size]);
    std::atomic<bool> whole{true};
    Team &team = Team::own();
    team.run(threads, [&](int64_t thread, int64_t of) {
        const int64_t from = size * thread / of, to = size * (thread + 1) / of;
        if (!split_values(values + from, to - from, lower.get() + from, higher.get() + from)) whole = false;
        team.barrier();
        if (!whole) return;
        Multiplier multiplier(rows);
        PieceSums sums[PANEL];
        const int64_t most = multiplier.most_rows(), end = rows * (thread + 1) / of;
        std::vector<uint8_t> pieces(2 * most * inputs);
        for (int64_t row = rows * thread / of; row < end; row += most) {
            const int64_t height = end - row < most ? end - row : most;
            for (int64_t m = 0; m < height; m++)
                for (int64_t k = 0; k < count; k++) {
                    const int64_t at = (row + m + shifts[k]) * channels;
                    uint8_t *own = pieces.data() + m * inputs + k * channels;
                    std::memcpy(own, lower.get() + at, channels);
                    std::memcpy(own + most * inputs, higher.get() + at, channels);
                }
            for (int64_t first = 0; first < groups; first += PANEL) {
                const int64_t panel = groups - first < PANEL ? groups - first : PANEL;
                multiplier.multiply(height, panel, pieces.data(), pieces.data() + most * inputs, inputs,
                                    weights + 2 * first * inputs * GROUP, sums);
                for (int64_t m = 0; m < height; m++)
                    for (int64_t n = 0; n < panel; n++) {
                        const int64_t column = (first + n) * GROUP;
                        const int64_t width = outputs - column < GROUP ? outputs - column : GROUP;
                        add_up(sums[n], m, width, bias + column, offsets + column, out + (row + m) * outputs + column);
                    }
            }
        }
    });
    return whole;
#else
    (void)values, (void)rows, (void)channels, (void)shifts, (void)count, (void)weights, (void)offsets, (void)bias;
    (void)outputs, (void)out, (void)threads;
    return 0;
#endif
}
}
