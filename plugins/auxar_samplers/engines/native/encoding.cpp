// A range encoder: writes values, given by their ranges of frequencies, into bytes.

#include <cstdint>

#include "pixels.h"

namespace {

constexpr uint64_t LEAST = uint64_t(1) << 56;

// Adds 1 to the number that the bytes before `end` stand for.
void carry(uint8_t *end) {
    while (++*--end == 0) {}
}

}  // namespace

extern "C" {
// Does what `encode` of auxar/numerics/range_coder.py does, and returns the number of bytes. `starts` is followed by as
// many positive frequencies. `out` has room for 3 bytes of each value, and 1 more.
int64_t encode(const int64_t *starts, int64_t count, uint8_t *const out) {
    uint64_t low = 0, width = ~uint64_t(0);
    uint8_t *next = out;
    const int64_t *frequencies = starts + count;
    for (int64_t k = 0; k < count; k++) {
        const uint64_t scale = width >> TOTAL_BITS, added = static_cast<uint64_t>(starts[k]) * scale;
        low += added;
        if (low < added) carry(next);
        width = static_cast<uint64_t>(frequencies[k]) * scale;
        for (; width < LEAST; width <<= 8, low <<= 8) *next++ = static_cast<uint8_t>(low >> 56);
    }
    // The width is at least 2^56, so a multiple of 2^56 lies in the interval. Only its highest byte is written.
    const uint64_t last = (low >> 56) + (low % LEAST != 0);
    if (last > 255) carry(next);
    *next++ = static_cast<uint8_t>(last);
    while (next > out && next[-1] == 0) next--;
    return next - out;
}
}
