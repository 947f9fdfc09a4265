// Convolutions of whole images of integers, by products of 8-bit pieces, for likelihoods and embeddings.

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "integer_products.h"
#include "structures.h"
#include "team.h"

extern "C" {
// Computes a convolution. Returns 0 if a value is not an integer of 16 bits, or the processor does not multiply pieces.
int64_t convolve(const ImageProduct *of, int64_t threads) {
#if defined(__AVX512VNNI__)
    const ImageProduct &job = *of;
    const int64_t inputs = (job.count * job.channels + BLOCK - 1) / BLOCK * BLOCK;
    const int64_t size = job.batch * job.height * job.width * job.channels, pixels = job.batch * job.rows * job.columns;
    const int64_t groups = (job.outputs + GROUP - 1) / GROUP;
    const std::unique_ptr<uint8_t[]> lower(new uint8_t[size]), higher(new uint8_t[size]);
    std::atomic<bool> whole{true};
    Team &team = Team::own();
    team.run(threads, [&](int64_t thread, int64_t count) {
        const int64_t from = size * thread / count, to = size * (thread + 1) / count;
        if (!split_values(job.values + from, to - from, lower.get() + from, higher.get() + from)) whole = false;
        team.barrier();
        if (!whole) return;
        Multiplier multiplier(pixels);
        PieceSums sums[PANEL];
        const int64_t most = multiplier.most_rows(), end = pixels * (thread + 1) / count;
        std::vector<uint8_t> pieces(2 * most * inputs);
        uint8_t *const own_higher = pieces.data() + most * inputs;
        for (int64_t first = pixels * thread / count; first < end; first += most) {
            const int64_t height = end - first < most ? end - first : most;
            for (int64_t m = 0; m < height; m++) {
                const int64_t image = (first + m) / (job.rows * job.columns);
                const int64_t row = (first + m) / job.columns % job.rows, column = (first + m) % job.columns;
                for (int64_t k = 0; k < job.count; k++) {
                    const int64_t y = row + job.places[2 * k], x = column + job.places[2 * k + 1];
                    const int64_t to = m * inputs + k * job.channels;
                    if (y < 0 || y >= job.height || x < 0 || x >= job.width) {  // 0 has the pieces of 32768.
                        std::memset(pieces.data() + to, 0, job.channels);
                        std::memset(own_higher + to, 128, job.channels);
                        continue;
                    }
                    const int64_t at = ((image * job.height + y) * job.width + x) * job.channels;
                    std::memcpy(pieces.data() + to, lower.get() + at, job.channels);
                    std::memcpy(own_higher + to, higher.get() + at, job.channels);
                }
            }
            for (int64_t group = 0; group < groups; group += PANEL) {
                const int64_t panel = groups - group < PANEL ? groups - group : PANEL;
                multiplier.multiply(height, panel, pieces.data(), own_higher, inputs,
                                    job.weights + 2 * group * inputs * GROUP, sums);
                for (int64_t m = 0; m < height; m++)
                    for (int64_t n = 0; n < panel; n++) {
                        const int64_t at = (group + n) * GROUP, left = job.outputs - at;
                        add_up(sums[n], m, left < GROUP ? left : GROUP, job.bias + at, job.offsets + at,
                               job.out + (first + m) * job.outputs + at);
                    }
            }
        }
    });
    return whole;
#else
    (void)of, (void)threads;
    return 0;
#endif
}
}
