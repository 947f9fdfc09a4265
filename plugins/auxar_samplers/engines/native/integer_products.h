// Exact products of integers in 8-bit pieces, for processors that multiply bytes faster than they multiply floats.
//
// A value a of -32768 … 32767 is stored as the bytes of a + 32768, which are its lower and its higher piece:
// a = 256 · higher + lower - 32768. A weight is 256 · higher + lower with signed pieces. The product of a row with a
// column is then a sum of four products of bytes, minus 32768 times the sum of the column. Sums of products of bytes fit
// into 32 bits, so they are exact, and the result is the same as in float64.

#pragma once

#include <cstdint>

#if defined(__AVX512VNNI__)
#include <immintrin.h>
#endif
#if defined(__AMX_INT8__) && defined(__linux__)
#define AUXAR_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

// Weights are stored for groups of columns and blocks of inputs: for each group, for each block, first all lower and then
// all higher pieces, each as (inputs / 4, columns, 4).
constexpr int64_t GROUP = 16, BLOCK = 64, PIECE_BYTES = GROUP * BLOCK;
// With more inputs than this, a sum of two products of bytes could need more than 32 bits.
constexpr int64_t MOST_INPUTS = 32768;

// Holds the products of up to 16 rows with a group of columns: of the lower pieces, of lower and higher ones, and of the
// higher pieces.
struct PieceSums {
    alignas(64) int32_t low[16][GROUP], middle[16][GROUP], high[16][GROUP];
};

// Splits a matrix of weights (inputs, outputs) into `pieces`, which must hold zeros, and computes 32768 times the sum of
// each column. Returns whether all weights are integers that two signed 8-bit pieces can represent.
inline bool split_weights(const double *weight, int64_t inputs, int64_t outputs, int8_t *pieces, double *offsets) {
    constexpr double least = -32768 - 128, most = 32767 - 128;
    const int64_t blocks = (inputs + BLOCK - 1) / BLOCK;
    for (int64_t n = 0; n < outputs; n++) offsets[n] = 0;
    for (int64_t k = 0; k < inputs; k++)
        for (int64_t n = 0; n < outputs; n++, weight++) {
            if (!(*weight >= least && *weight <= most)) return false;
            const int32_t whole = static_cast<int32_t>(*weight);
            if (whole != *weight) return false;
            const int8_t lower = static_cast<int8_t>(whole);
            int8_t *out = pieces + 2 * (n / GROUP * blocks + k / BLOCK) * PIECE_BYTES;
            out += k % BLOCK / 4 * (4 * GROUP) + n % GROUP * 4 + k % 4;
            out[0] = lower;
            out[PIECE_BYTES] = static_cast<int8_t>((whole - lower) / 256);
            offsets[n] += 32768 * *weight;
        }
    return true;
}

#if defined(__AVX512VNNI__)

constexpr int64_t VECTOR_ROWS = 8;

// Multiplies ROWS rows with GROUPS groups of columns. The pieces of a row's values are `inputs` bytes apart.
template <int ROWS, int GROUPS>
void multiply_vectors(const uint8_t *lower, const uint8_t *higher, int64_t inputs, const int8_t *weights,
                      PieceSums *sums) {
    __m512i low[ROWS][GROUPS], middle[ROWS][GROUPS], high[ROWS][GROUPS];
#pragma GCC unroll 8
    for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 4
        for (int n = 0; n < GROUPS; n++) low[m][n] = middle[m][n] = high[m][n] = _mm512_setzero_si512();
    for (int64_t block = 0; block < inputs / BLOCK; block++) {
        for (int64_t k = 0; k < BLOCK / 4; k++) {
            const int64_t at = block * BLOCK + 4 * k;
#pragma GCC unroll 4
            for (int n = 0; n < GROUPS; n++) {
                const int8_t *own = weights + 2 * (n * inputs * GROUP + block * PIECE_BYTES) + k * 4 * GROUP;
                const __m512i w0 = _mm512_loadu_si512(own), w1 = _mm512_loadu_si512(own + PIECE_BYTES);
#pragma GCC unroll 8
                for (int m = 0; m < ROWS; m++) {
                    int32_t a0, a1;
                    __builtin_memcpy(&a0, lower + m * inputs + at, 4);
                    __builtin_memcpy(&a1, higher + m * inputs + at, 4);
                    const __m512i v0 = _mm512_set1_epi32(a0), v1 = _mm512_set1_epi32(a1);
                    low[m][n] = _mm512_dpbusd_epi32(low[m][n], v0, w0);
                    middle[m][n] = _mm512_dpbusd_epi32(middle[m][n], v0, w1);
                    high[m][n] = _mm512_dpbusd_epi32(high[m][n], v1, w1);
                    middle[m][n] = _mm512_dpbusd_epi32(middle[m][n], v1, w0);
                }
            }
        }
    }
#pragma GCC unroll 4
    for (int n = 0; n < GROUPS; n++)
#pragma GCC unroll 8
        for (int m = 0; m < ROWS; m++) {
            _mm512_store_si512(sums[n].low[m], low[m][n]);
            _mm512_store_si512(sums[n].middle[m], middle[m][n]);
            _mm512_store_si512(sums[n].high[m], high[m][n]);
        }
}

template <int ROWS, int GROUPS>
void multiply_rows(int64_t rows, const uint8_t *lower, const uint8_t *higher, int64_t inputs, const int8_t *weights,
                   PieceSums *sums) {
    if constexpr (ROWS > 0) {
        if (rows == ROWS) multiply_vectors<ROWS, GROUPS>(lower, higher, inputs, weights, sums);
        else multiply_rows<ROWS - 1, GROUPS>(rows, lower, higher, inputs, weights, sums);
    }
}

// Splits values into the bytes of a + 32768. Returns whether all of them are integers in the range of pieces.
inline bool split_values(const double *values, int64_t count, uint8_t *lower, uint8_t *higher) {
    const __m512i offset = _mm512_set1_epi32(32768), most = _mm512_set1_epi32(65535);
    __mmask16 outside = 0;
    __mmask8 fractional = 0;
    // Values out of the range of int32 become -2³¹, which is out of the range of pieces, too.
    const auto shifted = [&](__m512d first, __m512d second) {
        const __m256i one = _mm512_cvttpd_epi32(first), other = _mm512_cvttpd_epi32(second);
        fractional |= _mm512_cmp_pd_mask(_mm512_cvtepi32_pd(one), first, _CMP_NEQ_UQ);
        fractional |= _mm512_cmp_pd_mask(_mm512_cvtepi32_pd(other), second, _CMP_NEQ_UQ);
        return _mm512_add_epi32(_mm512_inserti64x4(_mm512_castsi256_si512(one), other, 1), offset);
    };
    int64_t k = 0;
    for (; k + 16 <= count; k += 16) {
        const __m512i number = shifted(_mm512_loadu_pd(values + k), _mm512_loadu_pd(values + k + 8));
        outside |= _mm512_cmpgt_epu32_mask(number, most);
        _mm_storeu_si128(reinterpret_cast<__m128i *>(lower + k), _mm512_cvtepi32_epi8(number));
        _mm_storeu_si128(reinterpret_cast<__m128i *>(higher + k), _mm512_cvtepi32_epi8(_mm512_srli_epi32(number, 8)));
    }
    if (k < count) {
        const unsigned used = (1u << (count - k)) - 1;
        const __m512i number = shifted(_mm512_maskz_loadu_pd(static_cast<__mmask8>(used), values + k),
                                       _mm512_maskz_loadu_pd(static_cast<__mmask8>(used >> 8), values + k + 8));
        outside |= _mm512_mask_cmpgt_epu32_mask(static_cast<__mmask16>(used), number, most);
        _mm512_mask_cvtepi32_storeu_epi8(lower + k, static_cast<__mmask16>(used), number);
        _mm512_mask_cvtepi32_storeu_epi8(higher + k, static_cast<__mmask16>(used), _mm512_srli_epi32(number, 8));
    }
    return outside == 0 && fractional == 0;
}

// Adds up the products of pieces of a row: out = start + (65536 · high + 256 · middle + low - offsets).
inline void add_up(const PieceSums &sums, int64_t row, int64_t width, const double *start, const double *offsets,
                   double *out) {
    for (int64_t k = 0; k < width; k += 8) {
        const __mmask8 used = width - k < 8 ? static_cast<__mmask8>((1 << (width - k)) - 1) : 0xFF;
        const auto in = [&](const int32_t *values) {
            return _mm512_cvtepi32_pd(_mm256_load_si256(reinterpret_cast<const __m256i *>(values + k)));
        };
        __m512d sum = _mm512_sub_pd(in(sums.low[row]), _mm512_maskz_loadu_pd(used, offsets + k));
        sum = _mm512_fmadd_pd(in(sums.high[row]), _mm512_set1_pd(65536), sum);
        sum = _mm512_fmadd_pd(in(sums.middle[row]), _mm512_set1_pd(256), sum);
        _mm512_mask_storeu_pd(out + k, used, _mm512_add_pd(sum, _mm512_maskz_loadu_pd(used, start + k)));
    }
}

#endif

#if defined(AUXAR_AMX)

struct alignas(64) TileConfiguration {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {};
    uint8_t rows[16] = {};
};

// Whether the system lets this process use the tile registers.
bool tiles_allowed() {
    constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;
    static const bool allowed = syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
    return allowed;
}

void configure_tiles(int64_t rows) {
    TileConfiguration configuration;
    for (int tile = 0; tile < 7; tile++) {
        configuration.bytes[tile] = BLOCK;
        configuration.rows[tile] = static_cast<uint8_t>(tile < 5 ? rows : BLOCK / 4);
    }
    // `_tile_loadconfig` of older compilers says that it reads 8 bytes only, so that the others are not written.
    asm volatile("ldtilecfg %0" ::"m"(configuration));
}

// Multiplies rows, for whose number the tiles are configured, with a group of columns.
void multiply_tiles(const uint8_t *lower, const uint8_t *higher, int64_t inputs, const int8_t *weights,
                    PieceSums &sums) {
    asm volatile("" ::: "memory");  // Loads of tiles do not tell older compilers that they read memory.
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    for (int64_t at = 0; at < inputs; at += BLOCK, weights += 2 * PIECE_BYTES) {
        _tile_loadd(3, lower + at, inputs);
        _tile_loadd(5, weights, 4 * GROUP);
        _tile_loadd(6, weights + PIECE_BYTES, 4 * GROUP);
        _tile_loadd(4, higher + at, inputs);
        _tile_dpbusd(0, 3, 5);
        _tile_dpbusd(1, 3, 6);
        _tile_dpbusd(2, 4, 6);
        _tile_dpbusd(1, 4, 5);
    }
    _tile_stored(0, sums.low, 4 * GROUP);
    _tile_stored(1, sums.middle, 4 * GROUP);
    _tile_stored(2, sums.high, 4 * GROUP);
}

#endif

#if defined(__AVX512VNNI__)

constexpr int64_t PANEL = 4;  // groups

// Multiplies blocks of rows with panels of groups of columns: by tiles if there are enough rows, otherwise by vectors.
class Multiplier {
  public:
    explicit Multiplier(int64_t rows) {
#if defined(AUXAR_AMX)
        tiles = rows > VECTOR_ROWS && tiles_allowed();
#endif
        most = tiles ? 16 : VECTOR_ROWS;
    }
    ~Multiplier() {
#if defined(AUXAR_AMX)
        if (configured) _tile_release();
#endif
    }
    Multiplier(const Multiplier &) = delete;
    Multiplier &operator=(const Multiplier &) = delete;

    // The largest number of rows of a block.
    int64_t most_rows() const { return most; }

    // Multiplies a block of rows with up to `PANEL` groups. The pieces of a row are `inputs` bytes apart.
    void multiply(int64_t rows, int64_t groups, const uint8_t *lower, const uint8_t *higher, int64_t inputs,
                  const int8_t *weights, PieceSums *sums) {
        const auto own = [&](int64_t group) { return weights + 2 * group * inputs * GROUP; };
#if defined(AUXAR_AMX)
        if (tiles) {
            if (configured != rows) configure_tiles(rows);
            configured = rows;
            for (int64_t n = 0; n < groups; n++) multiply_tiles(lower, higher, inputs, own(n), sums[n]);
            return;
        }
#endif
        // 4 · rows · groups sums and pieces fit into 32 registers. With few rows, several groups at once keep the
        // processor from waiting for the last sum.
        int64_t n = 0;
        if (rows <= 2 && groups == 4) {
            multiply_rows<2, 4>(rows, lower, higher, inputs, weights, sums);
            n = 4;
        }
        for (; rows <= 4 && n + 2 <= groups; n += 2)
            multiply_rows<4, 2>(rows, lower, higher, inputs, own(n), sums + n);
        for (; n < groups; n++) multiply_rows<VECTOR_ROWS, 1>(rows, lower, higher, inputs, own(n), sums + n);
    }

  private:
    bool tiles = false;
    int64_t most, configured = 0;  // `configured` is the number of rows for which the tiles are configured
};

#endif

}  // namespace
