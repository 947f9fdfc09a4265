// Functions that act on each pixel independently, of floating-point numbers and of integers.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "functions.h"
#include "rows.h"
#include "structures.h"

enum Function : int32_t {
    COPY, CONCAT, CONCAT_ELU, GATE, ELU, RELU, SILU, SIGMOID, TANH, NEG, ADD, SUB, MUL,
    REQUANTIZE, INTEGER_SUM, INTEGER_PRODUCT, INTEGER_ELU, INTEGER_CONCAT_ELU, INTEGER_SIGMOID, INTEGER_TANH,
    INTEGER_GATE
};

namespace {

constexpr int MOST_OPERANDS = 16;
constexpr double SIGMOID_ONE = 1 << 15;  // the number 1 in the table of the sigmoid

template <class T> T elu(T x) { return x > T(0) ? x : expm1_of(x); }
template <class T> T sigmoid(T x) { return T(1) / (T(2) + expm1_of(-x)); }

template <class T, class F> void each(T *out, int64_t count, F function) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) out[i] = function(i);
}

// Applies a function of two operands. Each operand has as many channels as the output, or one channel, or is a number;
// the latter two are broadcast.
template <class T, class F>
void combine(T *out, int64_t count, const T *a, const Operand &left, const T *b, const Operand &right, F function) {
    const T first = left.kind == NUMBER ? T(left.number) : a[0];
    const T second = right.kind == NUMBER ? T(right.number) : b[0];
    const bool spread_left = left.kind == NUMBER || left.channels == 1;
    const bool spread_right = right.kind == NUMBER || right.channels == 1;
    if (spread_left) each(out, count, [&](int64_t i) { return function(first, spread_right ? second : b[i]); });
    else if (spread_right) each(out, count, [&](int64_t i) { return function(a[i], second); });
    else each(out, count, [&](int64_t i) { return function(a[i], b[i]); });
}

// A table, which continues with its last value. Negative numbers give the first value. It is copied out of `Constants`,
// because only then the compiler vectorizes loops over it.
struct Table {
    const float *const values;
    const double last;

    explicit Table(const Constants &constants)
        : values(constants.table), last(static_cast<double>(constants.table_size - 1)) {}
    double operator()(double x) const { return values[static_cast<int32_t>(std::min(x > 0 ? x : 0, last))]; }
    double sigmoid(double x) const {
        const double found = (*this)(std::fabs(x));
        return x < 0 ? SIGMOID_ONE - found : found;
    }
};

// Multiplies numbers by 2 to the power -shift, rounds them to the nearest integer, halves upwards, and limits them. The
// constants are copied out of `Constants`, because the compiler cannot know that results are not written over them.
// NaN, which no integer is, becomes -limit.
struct Limited {
    const double scale, limit;
    const bool rounds;

    explicit Limited(const Constants &constants)
        : scale(constants.scale), limit(constants.limit), rounds(constants.rounds) {}
    double operator()(double x) const {
        const double scaled = x * scale, found = rounds ? std::floor(scaled + 0.5) : scaled;
        // In this order, compilers use a single instruction (max, min) for each comparison.
        const double large = found > -limit ? found : -limit;
        return large < limit ? large : limit;
    }
};

// Applies a function of integers to `rows` rows. Double arithmetic is exact, because all numbers that occur are integers
// below 2^53 (`IntegerGraph.bounds` checks it), or such integers times a power of two. Inside of a larger function, its
// loops would be vectorized less well.
__attribute__((noinline)) void apply_to_integers(const Instruction &instruction, Rows<double> out,
                                                 const Rows<double> *in, int64_t rows) {
    const int64_t count = instruction.output.channels, width = count / 2;
    const Constants &constants = *instruction.constants;
    const Operand *operands = instruction.operands;
    const Table table(constants);
    const Limited limited(constants);
    const auto each_row = [&](auto function) {
        for (int64_t row = 0; row < rows; row++) function(out[row], in[0][row], in[1][row]);
    };
    switch (instruction.function) {
        case REQUANTIZE: {
            const double *multiplier = constants.multiplier;
            each_row([&](double *to, const double *a, const double *) {
                each(to, count, [&](int64_t i) { return limited(a[i] * multiplier[i]); });
            });
            break;
        }
        case INTEGER_SUM: {
            const double constant = constants.constant;
            if (instruction.operand_count <= 2) {
                Operand none{};
                none.kind = NUMBER;
                const Operand &right = instruction.operand_count == 2 ? operands[1] : none;
                const double first = constants.weights[0], second = &right == &none ? 0 : constants.weights[1];
                each_row([&](double *to, const double *a, const double *b) {
                    combine(to, count, a, operands[0], b, right,
                            [&](double x, double y) { return limited(x * first + y * second + constant); });
                });
                break;
            }
            for (int64_t row = 0; row < rows; row++)
                for (int64_t i = 0; i < count; i++) {
                    double total = constant;
                    for (int32_t k = 0; k < instruction.operand_count; k++)
                        total += in[k][row][operands[k].channels == 1 ? 0 : i] * constants.weights[k];
                    out[row][i] = limited(total);
                }
            break;
        }
        case INTEGER_PRODUCT:
            each_row([&](double *to, const double *a, const double *b) {
                combine(to, count, a, operands[0], b, operands[1], [&](double x, double y) { return limited(x * y); });
            });
            break;
        case INTEGER_ELU:
            each_row([&](double *to, const double *a, const double *) {
                each(to, count, [&](int64_t i) { return (a[i] > 0 ? a[i] : 0) - table(-a[i]); });
            });
            break;
        case INTEGER_CONCAT_ELU:
            each_row([&](double *to, const double *a, const double *) {
                each(to, width, [&](int64_t i) { return (a[i] > 0 ? a[i] : 0) - table(-a[i]); });
                each(to + width, width, [&](int64_t i) { return (a[i] < 0 ? -a[i] : 0) - table(a[i]); });
            });
            break;
        case INTEGER_SIGMOID:
            each_row([&](double *to, const double *a, const double *) {
                each(to, count, [&](int64_t i) { return table.sigmoid(a[i]); });
            });
            break;
        case INTEGER_TANH:
            each_row([&](double *to, const double *a, const double *) {
                each(to, count, [&](int64_t i) {
                    const double found = table(std::fabs(a[i]));
                    return a[i] < 0 ? -found : found;
                });
            });
            break;
        case INTEGER_GATE:
            each_row([&](double *to, const double *a, const double *) {
                each(to, count, [&](int64_t i) { return limited(a[i] * table.sigmoid(a[count + i])); });
            });
            break;
    }
}

// Programs of integers have doubles.
void apply_to_integers(const Instruction &, Rows<float>, const Rows<float> *, int64_t) {}

template <class T> void apply_to_row(const Instruction &instruction, T *out, const Rows<T> *in, int64_t row) {
    const int64_t count = instruction.output.channels;
    const Operand *operands = instruction.operands;
    const T *a = in[0][row], *b = in[1][row];
    switch (instruction.function) {
        case COPY: std::memcpy(out, a, count * sizeof(T)); break;
        case CONCAT:
            for (int32_t k = 0; k < instruction.operand_count; out += operands[k++].channels)
                std::memcpy(out, in[k][row], operands[k].channels * sizeof(T));
            break;
        case CONCAT_ELU:
            for (int32_t k = 0; k < instruction.operand_count; k++) {
                const int64_t width = operands[k].channels;
                const T *x = in[k][row];
                each(out, width, [&](int64_t i) { return elu(x[i]); });
                each(out + width, width, [&](int64_t i) { return elu(-x[i]); });
                out += 2 * width;
            }
            break;
        case GATE: each(out, count, [&](int64_t i) { return a[i] * sigmoid(a[count + i]); }); break;
        case ELU: each(out, count, [&](int64_t i) { return elu(a[i]); }); break;
        case RELU: each(out, count, [&](int64_t i) { return a[i] > T(0) ? a[i] : T(0); }); break;
        case SILU: each(out, count, [&](int64_t i) { return a[i] * sigmoid(a[i]); }); break;
        case SIGMOID: each(out, count, [&](int64_t i) { return sigmoid(a[i]); }); break;
        case TANH: each(out, count, [&](int64_t i) { return hyperbolic_tangent(a[i]); }); break;
        case NEG: each(out, count, [&](int64_t i) { return -a[i]; }); break;
        case ADD: combine(out, count, a, operands[0], b, operands[1], [](T x, T y) { return x + y; }); break;
        case SUB: combine(out, count, a, operands[0], b, operands[1], [](T x, T y) { return x - y; }); break;
        case MUL: combine(out, count, a, operands[0], b, operands[1], [](T x, T y) { return x * y; }); break;
    }
}

// Applies a function to rows. `in` has MOST_OPERANDS operands, of which some may be unused.
template <class T> void apply(const Instruction &instruction, Rows<T> out, const Rows<T> *in, int64_t rows) {
    if (instruction.constants != nullptr) return apply_to_integers(instruction, out, in, rows);
    for (int64_t row = 0; row < rows; row++) apply_to_row(instruction, out[row], in, row);
}

}  // namespace
