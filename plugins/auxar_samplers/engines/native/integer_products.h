// Exact products of integers of 16 bits, for processors that multiply pairs of them faster than floats.
//
// An instruction multiplies pairs of 16-bit numbers and adds their sum to 32 bits. Sums over a block of inputs, whose
// length follows from the weights, fit into 32 bits, and sums of blocks are added in float64, so all sums are exact.
// Processors with tiles (AMX) multiply 8-bit pieces of both numbers instead if there are enough rows.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "structures.h"

#if defined(__AVX2__)
#define AUXAR_WORDS
#include <immintrin.h>
#endif
#if defined(__AMX_INT8__) && defined(__linux__)
#define AUXAR_AMX
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

// Weights are stored for groups of columns, with zeros for missing columns and inputs: for each group and each pair of
// inputs, (columns, 2). Tiles take BLOCK inputs at once.
constexpr int64_t GROUP = 16, BLOCK = 64, PIECE_BYTES = GROUP * BLOCK;
// With more inputs than this, a sum of two products of bytes could need more than 32 bits.
constexpr int64_t MOST_INPUTS = 32768;
// Products of values with weights of this sum of magnitudes fit into 32 bits.
constexpr int64_t MOST_WEIGHT = 65535;

inline int64_t padded_inputs(int64_t inputs) {
#if defined(AUXAR_AMX)
    return (inputs + BLOCK - 1) / BLOCK * BLOCK;
#else
    return (inputs + 1) / 2 * 2;
#endif
}
inline int64_t groups_of(int64_t outputs) { return (outputs + GROUP - 1) / GROUP; }

inline int64_t padded_size(int64_t inputs, int64_t outputs) {
    return GROUP * groups_of(outputs) * padded_inputs(inputs);
}

// The bytes of packed weights: 16-bit numbers, two pieces of each, and a double for each column.
inline int64_t bytes_of_words(int64_t inputs, int64_t outputs) {
    return 4 * padded_size(inputs, outputs) + 8 * GROUP * groups_of(outputs);
}

#if defined(AUXAR_AMX)

// The products of up to 16 rows with a group of columns: of lower pieces, of lower and higher ones, and of higher pieces.
// A value is 256 · higher + lower - 32768 with unsigned pieces, and a weight 256 · higher + lower with signed ones.
struct PieceSums {
    alignas(64) int32_t low[16][GROUP], middle[16][GROUP], other[16][GROUP], high[16][GROUP];
};

// Packs weights (inputs, outputs) into pieces: for each group and each block of inputs, first all lower and then all
// higher pieces, each as (inputs / 4, columns, 4). Computes 32768 times the sum of each column. Returns whether two signed
// bytes can represent all weights.
inline bool pack_pieces(const std::vector<int64_t> &weights, int64_t inputs, int64_t outputs, int8_t *pieces,
                        double *offsets) {
    const int64_t blocks = padded_inputs(inputs) / BLOCK;
    for (int64_t k = 0; k < inputs; k++)
        for (int64_t n = 0; n < outputs; n++) {
            const int64_t weight = weights[k * outputs + n], lower = static_cast<int8_t>(weight);
            if (weight > 32767 - 128) return false;
            int8_t *out = pieces + 2 * (n / GROUP * blocks + k / BLOCK) * PIECE_BYTES;
            out += k % BLOCK / 4 * (4 * GROUP) + n % GROUP * 4 + k % 4;
            out[0] = static_cast<int8_t>(lower);
            out[PIECE_BYTES] = static_cast<int8_t>((weight - lower) / 256);
            offsets[n] += 32768 * static_cast<double>(weight);
        }
    return true;
}

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
    for (int tile = 0; tile < 8; tile++) {
        configuration.bytes[tile] = BLOCK;
        configuration.rows[tile] = static_cast<uint8_t>(tile < 6 ? rows : BLOCK / 4);
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
    _tile_zero(3);
    for (int64_t at = 0; at < inputs; at += BLOCK, weights += 2 * PIECE_BYTES) {
        _tile_loadd(4, lower + at, inputs);
        _tile_loadd(6, weights, 4 * GROUP);
        _tile_loadd(7, weights + PIECE_BYTES, 4 * GROUP);
        _tile_loadd(5, higher + at, inputs);
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_stored(0, sums.low, 4 * GROUP);
    _tile_stored(1, sums.middle, 4 * GROUP);
    _tile_stored(2, sums.other, 4 * GROUP);
    _tile_stored(3, sums.high, 4 * GROUP);
}

#endif

// The length of blocks in which no column's sum of magnitudes is larger than MOST_WEIGHT, or 0 if there is none.
inline int64_t block_of(const int64_t *weights, int64_t inputs, int64_t outputs) {
    int64_t block = padded_inputs(inputs);
    std::vector<int64_t> sums(outputs);
    for (int64_t k = 0; k < inputs; k++) {
        if (k % block == 0) std::fill(sums.begin(), sums.end(), 0);
        bool fits = true;
        for (int64_t n = 0; n < outputs; n++) fits &= (sums[n] += std::abs(weights[k * outputs + n])) <= MOST_WEIGHT;
        if (fits) continue;
        if (block < 4) return 0;
        block = block * 3 / 8 * 2;
        k = -1;
    }
    return block;
}

// Packs weights (inputs, outputs), which must be integers of 16 bits, into the zeros at `words.weights`, and sets the
// other fields. Returns whether it is possible.
inline bool pack_words(const double *weight, int64_t inputs, int64_t outputs, Words &words) {
    std::vector<int64_t> whole(inputs * outputs);
    for (int64_t k = 0; k < inputs * outputs; k++) {
        if (!(weight[k] >= -32768 && weight[k] <= 32767) || weight[k] != std::floor(weight[k])) return false;
        whole[k] = static_cast<int64_t>(weight[k]);
    }
    int16_t *const out = reinterpret_cast<int16_t *>(words.weights);
    words.inputs = padded_inputs(inputs);
    words.block = block_of(whole.data(), inputs, outputs);
    if (words.block == 0) return false;
    for (int64_t k = 0; k < inputs; k++)
        for (int64_t n = 0; n < outputs; n++) {
            const int64_t pair = n / GROUP * words.inputs / 2 + k / 2;
            out[pair * 2 * GROUP + n % GROUP * 2 + k % 2] = static_cast<int16_t>(whole[k * outputs + n]);
        }
    words.pieces = nullptr;
#if defined(AUXAR_AMX)
    int8_t *const pieces = reinterpret_cast<int8_t *>(out + padded_size(inputs, outputs));
    double *const offsets = reinterpret_cast<double *>(pieces + 2 * words.inputs * GROUP * groups_of(outputs));
    if (tiles_allowed() && pack_pieces(whole, inputs, outputs, pieces, offsets))
        words.pieces = pieces, words.offsets = offsets;
#endif
    return true;
}

// Converts values to 16 bits. Returns whether all of them are integers of 16 bits.
inline bool to_words(const double *values, int64_t count, int16_t *out) {
    int32_t wrong = 0;
    int64_t done = 0;
#if defined(__AVX512BW__)
    // Numbers beyond 32 bits become the smallest one, which does not fit into 16 bits either.
    for (; done + 16 <= count; done += 16) {
        const __m512d first = _mm512_loadu_pd(values + done), second = _mm512_loadu_pd(values + done + 8);
        const __m256i low = _mm512_cvtpd_epi32(first), high = _mm512_cvtpd_epi32(second);
        const __m512i whole = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
        const __m256i words = _mm512_cvtsepi32_epi16(whole);
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(out + done), words);
        wrong |= _mm512_cmp_pd_mask(first, _mm512_cvtepi32_pd(low), _CMP_NEQ_UQ);
        wrong |= _mm512_cmp_pd_mask(second, _mm512_cvtepi32_pd(high), _CMP_NEQ_UQ);
        wrong |= _mm512_cmpneq_epi32_mask(whole, _mm512_cvtepi16_epi32(words));
    }
#endif
#pragma omp simd reduction(| : wrong)
    for (int64_t k = done; k < count; k++) {
        const double value = values[k] < -40000 ? -40000 : values[k] > 40000 ? 40000 : values[k];
        const int32_t whole = static_cast<int32_t>(value);
        out[k] = static_cast<int16_t>(whole);
        wrong |= (whole != value) | (whole > 32767) | (whole < -32768);
    }
    return wrong == 0;
}

#if defined(AUXAR_WORDS)

#if defined(__AVX512BW__)
typedef __m512i Vector;
constexpr int64_t LANES_OF_WORDS = 16, VECTOR_ROWS = 8;
inline Vector load(const int16_t *from) { return _mm512_loadu_si512(from); }
inline void store(int32_t *to, Vector sums) { _mm512_storeu_si512(to, sums); }
inline Vector repeated(int32_t pair) { return _mm512_set1_epi32(pair); }
inline Vector dot(Vector sum, Vector a, Vector b) {
#if defined(__AVX512VNNI__)
    // gcc copies the sum before and after the intrinsic function.
    asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
#else
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
#endif
}
#else
typedef __m256i Vector;
constexpr int64_t LANES_OF_WORDS = 8, VECTOR_ROWS = 3;
inline Vector load(const int16_t *from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(from)); }
inline void store(int32_t *to, Vector sums) { _mm256_storeu_si256(reinterpret_cast<__m256i *>(to), sums); }
inline Vector repeated(int32_t pair) { return _mm256_set1_epi32(pair); }
inline Vector dot(Vector sum, Vector a, Vector b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }
#endif

constexpr int64_t PANEL = 4;  // groups
constexpr int64_t MOST_ROWS = 16, MOST_PARTS = 4;

// The inputs of a product for some rows. Those of a row lie in `count` parts, which have even lengths if there are
// several.
struct Inputs {
    int64_t count;
    int64_t lengths[MOST_PARTS];
    const int16_t *rows[MOST_PARTS][MOST_ROWS];

    // Rows of one part, which are `length` apart.
    void set(const int16_t *first, int64_t length, int64_t height) {
        count = 1, lengths[0] = length;
        for (int64_t m = 0; m < height; m++) rows[0][m] = first + m * length;
    }
};

// The results of a product for some rows: to[row] = from[row] + product.
struct Results {
    int64_t outputs;
    const double *from[MOST_ROWS];
    double *to[MOST_ROWS];
};

// Multiplies ROWS rows from `row` on with GROUPS groups of columns.
template <int ROWS, int GROUPS>
void multiply_vectors(const Inputs &inputs, int64_t row, const Words &words, int64_t group, const Results &results) {
    constexpr int OF_GROUP = GROUP / LANES_OF_WORDS, ALL = GROUPS * OF_GROUP;
    constexpr int64_t size = 2 * GROUP;
    const int64_t stride = words.inputs / 2 * size, column = group * GROUP;
    const int64_t width = std::min(GROUPS * GROUP, results.outputs - column);
    const int16_t *weights = reinterpret_cast<const int16_t *>(words.weights) + group * stride;
    const double *const *from = results.from + row;
    Vector total[ROWS][ALL];
    const auto clear = [&] {
#pragma GCC unroll 8
        for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 8
            for (int n = 0; n < ALL; n++) total[m][n] = repeated(0);
    };
    clear();
    for (int64_t part = 0; part < inputs.count; part++) {
        const int64_t length = inputs.lengths[part];
        const int16_t *in[ROWS];
#pragma GCC unroll 8
        for (int m = 0; m < ROWS; m++) in[m] = inputs.rows[part][row + m];
        for (int64_t first = 0; first < length; first += words.block) {
            const int64_t end = std::min(first + words.block, length);
            for (int64_t k = first; k < end; k += 2, weights += size) {
#pragma GCC unroll 8
                for (int n = 0; n < ALL; n++) {
                    const Vector weight = load(weights + n / OF_GROUP * stride + n % OF_GROUP * 2 * LANES_OF_WORDS);
#pragma GCC unroll 8
                    for (int m = 0; m < ROWS; m++) {
                        int32_t pair;
                        std::memcpy(&pair, in[m] + k, sizeof pair);
                        total[m][n] = dot(total[m][n], repeated(pair), weight);
                    }
                }
            }
            // Several parts are not longer than a block together.
            if (end == length && part + 1 < inputs.count) continue;
            alignas(64) int32_t found[ROWS][GROUPS * GROUP];
#pragma GCC unroll 8
            for (int m = 0; m < ROWS; m++)
#pragma GCC unroll 8
                for (int n = 0; n < ALL; n++) store(found[m] + n * LANES_OF_WORDS, total[m][n]);
            for (int m = 0; m < ROWS; m++) {
                const double *before = from[m] + column;
                double *out = results.to[row + m] + column;
#pragma omp simd
                for (int64_t k = 0; k < width; k++) out[k] = before[k] + found[m][k];
            }
            from = results.to + row;
            clear();
        }
    }
}

template <int ROWS, int GROUPS>
void multiply_rows(int64_t rows, const Inputs &inputs, int64_t row, const Words &words, int64_t group,
                   const Results &results) {
    if constexpr (ROWS > 0) {
        if (rows == ROWS) multiply_vectors<ROWS, GROUPS>(inputs, row, words, group, results);
        else multiply_rows<ROWS - 1, GROUPS>(rows, inputs, row, words, group, results);
    }
}

// Multiplies up to VECTOR_ROWS rows with `count` groups. With few rows, several groups at once keep the processor from
// waiting for the last sum.
inline void multiply_panel(int64_t rows, const Inputs &inputs, int64_t row, const Words &words, int64_t group,
                           int64_t count, const Results &results) {
    constexpr int MOST = VECTOR_ROWS, FEW = MOST / 2;
    const int64_t end = group + count;
    // The sums of three groups fit into the registers of processors with AVX-512 alone.
    if (LANES_OF_WORDS == GROUP && rows > FEW && count == 3)
        return multiply_rows<MOST, 3>(rows, inputs, row, words, group, results);
    for (; rows <= FEW && group + 4 <= end; group += 4)
        multiply_rows<FEW, 4>(rows, inputs, row, words, group, results);
    for (; group + 2 <= end; group += 2) multiply_rows<MOST, 2>(rows, inputs, row, words, group, results);
    for (; group < end; group++) multiply_rows<MOST, 1>(rows, inputs, row, words, group, results);
}

// Multiplies blocks of rows with panels of groups of columns: by tiles if there are enough rows, otherwise by vectors.
class Multiplier {
  public:
    Multiplier(const Words &words, int64_t rows) : words(words) {
#if defined(AUXAR_AMX)
        tiles = rows > 1 && words.pieces != nullptr;
        if (tiles) pieces.resize(2 * MOST_ROWS * words.inputs);
#else
        (void)rows;
#endif
    }
    ~Multiplier() {
#if defined(AUXAR_AMX)
        if (configured) _tile_release();
#endif
    }
    Multiplier(const Multiplier &) = delete;
    Multiplier &operator=(const Multiplier &) = delete;

    // Begins a block of up to MOST_ROWS rows.
    void begin(int64_t rows, const Inputs &inputs) {
        height = rows, block = &inputs;
#if defined(AUXAR_AMX)
        if (!tiles) return;
        if (configured != rows) configure_tiles(rows);
        configured = rows;
        for (int64_t m = 0; m < rows; m++) {
            uint8_t *lower = pieces.data() + m * words.inputs, *higher = lower + MOST_ROWS * words.inputs;
            for (int64_t part = 0; part < inputs.count; lower += inputs.lengths[part], higher += inputs.lengths[part++])
                for (int64_t k = 0; k < inputs.lengths[part]; k++) {
                    const int16_t value = inputs.rows[part][m][k];
                    lower[k] = static_cast<uint8_t>(value);
                    higher[k] = static_cast<uint8_t>((value + 32768) >> 8);
                }
        }
#endif
    }

    // Computes the products of the block with up to PANEL groups.
    void multiply(int64_t group, int64_t count, const Results &results) {
#if defined(AUXAR_AMX)
        for (int64_t n = group; tiles && n < group + count; n++) {
            const int8_t *weights = words.pieces + 2 * n * words.inputs * GROUP;
            multiply_tiles(pieces.data(), pieces.data() + MOST_ROWS * words.inputs, words.inputs, weights, found);
            const int64_t column = n * GROUP, width = std::min(GROUP, results.outputs - column);
            for (int64_t m = 0; m < height; m++)
                for (int64_t k = 0; k < width; k++)
                    results.to[m][column + k] = results.from[m][column + k] + 65536.0 * found.high[m][k] +
                                                256.0 * found.middle[m][k] + 256.0 * found.other[m][k] +
                                                found.low[m][k] - words.offsets[column + k];
        }
        if (tiles) return;
#endif
        for (int64_t m = 0; m < height; m += VECTOR_ROWS)
            multiply_panel(std::min(VECTOR_ROWS, height - m), *block, m, words, group, count, results);
    }

  private:
    const Words &words;
    int64_t height = 0;
    const Inputs *block = nullptr;
#if defined(AUXAR_AMX)
    bool tiles = false;
    int64_t configured = 0;  // the number of rows for which the tiles are configured
    std::vector<uint8_t> pieces;
    PieceSums found;
#endif
};

#endif

}  // namespace
