// Matrix products of floating-point numbers with few rows. These are too few rows for a general matrix library to be
// fast, and a step has so many products that the calls would take most of the time. Weights are packed once into panels
// of columns. A product computes only the rows of slots inside the image.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "rows.h"
#include "structures.h"

// The TILE_ROWS × PANEL_VECTORS sums of a tile fit into the vector registers, together with the weights and the value
// that are being multiplied.
#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64, TILE_ROWS = 9, PANEL_VECTORS = 3;
#else
constexpr int VECTOR_BYTES = 32, TILE_ROWS = 4, PANEL_VECTORS = 3;
#endif

namespace {

template <class T> struct Tile {
    const Instruction *instruction;
    const Step *step;
    const int64_t *places;
    const Row *rows;

    T *at(const Operand &operand, int m) const {
        return step->locate<T>(operand, places, rows[m].slot, rows[m].image);
    }
};

template <class T, int LANES, int VECTORS, int ROWS>
void tile(const Tile<T> &job, const T *__restrict panel, int64_t column, int64_t width) {
    typedef T Vector __attribute__((vector_size(LANES * sizeof(T))));
    typedef Vector Unaligned __attribute__((aligned(sizeof(T)), may_alias));
    const Instruction &instruction = *job.instruction;
    Vector sums[ROWS][VECTORS];
    const Unaligned *bias = reinterpret_cast<const Unaligned *>(reinterpret_cast<const T *>(instruction.bias) + column);
    for (int m = 0; m < ROWS; m++) {
        for (int n = 0; n < VECTORS; n++) sums[m][n] = bias[n];
        if (instruction.initial == nullptr) continue;
        const T *row = job.at(*instruction.initial, m) + column;
        T padded[VECTORS * LANES] = {};
        std::memcpy(padded, row, width * sizeof(T));
        for (int n = 0; n < VECTORS; n++) sums[m][n] += *reinterpret_cast<const Unaligned *>(padded + n * LANES);
    }
    for (int32_t k = 0; k < instruction.operand_count; k++) {
        const Operand &operand = instruction.operands[k];
        const T *in[ROWS];
        for (int m = 0; m < ROWS; m++) in[m] = job.at(operand, m);
        const int64_t count = operand.length * operand.channels;
        for (int64_t i = 0; i < count; i++) {
            Vector weights[VECTORS];
#pragma GCC unroll 4
            for (int n = 0; n < VECTORS; n++) weights[n] = *reinterpret_cast<const Unaligned *>(panel + n * LANES);
            panel += VECTORS * LANES;
#pragma GCC unroll 16
            for (int m = 0; m < ROWS; m++) {
                const Vector value = in[m][i] - Vector{};
#pragma GCC unroll 4
                for (int n = 0; n < VECTORS; n++) sums[m][n] += value * weights[n];
            }
        }
    }
    for (int m = 0; m < ROWS; m++) {
        T *out = job.at(instruction.output, m) + column;
        T padded[VECTORS * LANES];
        for (int n = 0; n < VECTORS; n++) *reinterpret_cast<Unaligned *>(padded + n * LANES) = sums[m][n];
        std::memcpy(out, padded, width * sizeof(T));
    }
}

template <class T, int LANES, int VECTORS, int ROWS>
void tile_of(int64_t rows, const Tile<T> &job, const T *panel, int64_t column, int64_t width) {
    if constexpr (ROWS > 0) {
        if (rows == ROWS) tile<T, LANES, VECTORS, ROWS>(job, panel, column, width);
        else tile_of<T, LANES, VECTORS, ROWS - 1>(rows, job, panel, column, width);
    }
}

// The width of the last panel with padding: as few whole vectors as possible, or half or a quarter of a vector. All
// other panels are PANEL_VECTORS vectors wide.
template <class T> int64_t padded_width(int64_t width) {
    constexpr int64_t lanes = VECTOR_BYTES / sizeof(T);
    if (width <= lanes / 4) return lanes / 4;
    if (width <= lanes / 2) return lanes / 2;
    return (width + lanes - 1) / lanes * lanes;
}

template <class T> void panel_product(int64_t rows, const Tile<T> &job, const T *panel, int64_t column, int64_t width) {
    constexpr int LANES = VECTOR_BYTES / sizeof(T);
    switch (padded_width<T>(width) * 4 / LANES) {
        case 1: tile_of<T, LANES / 4, 1, TILE_ROWS>(rows, job, panel, column, width); break;
        case 2: tile_of<T, LANES / 2, 1, TILE_ROWS>(rows, job, panel, column, width); break;
        case 4: tile_of<T, LANES, 1, TILE_ROWS>(rows, job, panel, column, width); break;
        case 8: tile_of<T, LANES, 2, TILE_ROWS>(rows, job, panel, column, width); break;
        default: tile_of<T, LANES, 3, TILE_ROWS>(rows, job, panel, column, width); break;
    }
}

template <class T> constexpr int64_t panel_width() { return PANEL_VECTORS * (VECTOR_BYTES / sizeof(T)); }

// Computes one thread's share of a product. The work is divided into pairs of a panel and a block of rows. The narrow
// last panel is processed in the middle of the order, to make the shares more equal.
template <class T>
void product(const Instruction &instruction, const Step &step, const Row *rows, int64_t row_count, int64_t thread,
             int64_t threads) {
    const int64_t *places = step.places(instruction);
    const int64_t outputs = instruction.output.channels, full = panel_width<T>();
    const int64_t panels = (outputs + full - 1) / full, blocks = (row_count + TILE_ROWS - 1) / TILE_ROWS;
    int64_t inputs = 0;
    for (int32_t k = 0; k < instruction.operand_count; k++)
        inputs += instruction.operands[k].length * instruction.operands[k].channels;
    const int64_t last = padded_width<T>(outputs - (panels - 1) * full);
    const int64_t total = ((panels - 1) * full + last) * row_count;
    const int64_t from = total * thread / threads, to = total * (thread + 1) / threads;
    int64_t done = 0;
    for (int64_t order = 0; order < panels; order++) {
        // With two threads, their shares meet in the middle of the order. The blocks of the narrow panel are the
        // smallest units of work, so dividing them makes the shares most equal.
        const int64_t middle = (panels - 1) / 2;
        const int64_t number = order < middle ? order : order == middle ? panels - 1 : order - 1;
        const int64_t column = number * full, width = outputs - column < full ? outputs - column : full;
        const int64_t cost = number == panels - 1 ? last : full;
        const T *panel = reinterpret_cast<const T *>(instruction.panels) + column * inputs;
        for (int64_t block = 0; block < blocks; block++) {
            const int64_t begin = row_count * block / blocks, end = row_count * (block + 1) / blocks;
            const int64_t work = cost * (end - begin), center = done + work / 2;
            done += work;
            if (center < from || center >= to) continue;
            const Tile<T> job{&instruction, &step, places, rows + begin};
            panel_product<T>(end - begin, job, panel, column, width);
        }
    }
}

// Packs a weight matrix (inputs, outputs), stored by row, into panels. The last panel is padded with zeros.
template <class T> void pack(const T *weight, int64_t inputs, int64_t outputs, T *panels) {
    const int64_t full = panel_width<T>();
    for (int64_t column = 0; column < outputs; column += full) {
        const int64_t width = outputs - column < full ? outputs - column : full;
        const int64_t padded = width == full ? full : padded_width<T>(width);
        for (int64_t row = 0; row < inputs; row++, panels += padded)
            for (int64_t k = 0; k < padded; k++) panels[k] = k < width ? weight[row * outputs + column + k] : T(0);
    }
}

template <class T> int64_t padded_outputs(int64_t outputs) {
    const int64_t full = panel_width<T>(), rest = outputs % full;
    return outputs - rest + (rest ? padded_width<T>(rest) : 0);
}

}  // namespace
