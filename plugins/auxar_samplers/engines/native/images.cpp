// Convolutions of whole images of integers, for likelihoods and embeddings.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "integer_products.h"
#include "structures.h"
#include "team.h"

extern "C" {
// Computes a convolution. Returns 0 if a value is not an integer of 16 bits, or the processor does not multiply these.
int64_t convolve(const ImageProduct *of, int64_t threads) {
#if defined(AUXAR_WORDS)
    const ImageProduct &job = *of;
    const int64_t inputs = job.words->inputs, groups = groups_of(job.outputs);
    const int64_t size = job.batch * job.height * job.width * job.channels, pixels = job.batch * job.rows * job.columns;
    const std::unique_ptr<int16_t[]> values(new int16_t[size]);
    // Places side by side, whose values lie one after another, are copied at once: the number of them from each on.
    std::vector<int64_t> runs(job.count, 1);
    for (int64_t k = job.count - 2; k >= 0; k--) {
        const int64_t *place = job.places + 2 * k;
        if (place[0] == place[2] && place[1] + 1 == place[3]) runs[k] = runs[k + 1] + 1;
    }
    std::atomic<bool> whole{true};
    Team &team = Team::own();
    team.run(threads, [&](int64_t thread, int64_t count) {
        const int64_t from = size * thread / count, to = size * (thread + 1) / count;
        if (!to_words(job.values + from, to - from, values.get() + from)) whole = false;
        team.barrier();
        if (!whole) return;
        Multiplier multiplier(*job.words, pixels);
        Sums sums[MOST_ROWS];
        const int64_t end = pixels * (thread + 1) / count;
        std::vector<int16_t> block(MOST_ROWS * inputs);
        for (int64_t first = pixels * thread / count; first < end; first += MOST_ROWS) {
            const int64_t height = std::min(MOST_ROWS, end - first);
            for (int64_t m = 0; m < height; m++) {
                const int64_t image = (first + m) / (job.rows * job.columns);
                const int64_t row = (first + m) / job.columns % job.rows, column = (first + m) % job.columns;
                for (int64_t k = 0, run; k < job.count; k += run) {
                    const int64_t y = row + job.places[2 * k], x = column + job.places[2 * k + 1];
                    int16_t *out = block.data() + m * inputs + k * job.channels;
                    run = x >= 0 ? std::max(std::min(runs[k], job.width - x), int64_t{1}) : 1;
                    const size_t bytes = run * job.channels * sizeof(int16_t);
                    if (y < 0 || y >= job.height || x < 0 || x >= job.width) {
                        std::memset(out, 0, bytes);
                        continue;
                    }
                    const int64_t at = ((image * job.height + y) * job.width + x) * job.channels;
                    std::memcpy(out, values.get() + at, bytes);
                }
            }
            multiplier.begin(height, block.data());
            for (int64_t group = 0; group < groups; group += PANEL) {
                const int64_t panel = std::min(PANEL, groups - group), column = group * GROUP;
                const size_t bytes = std::min(panel * GROUP, job.outputs - column) * sizeof(double);
                for (int64_t m = 0; m < height; m++) std::memcpy(sums[m], job.bias + column, bytes);
                multiplier.multiply(group, panel, sums);
                for (int64_t m = 0; m < height; m++)
                    std::memcpy(job.out + (first + m) * job.outputs + column, sums[m], bytes);
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
