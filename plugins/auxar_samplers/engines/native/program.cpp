// Runs all steps of a sampler's program: matrix products, pointwise functions, and the drawing of pixels.
//
// With several images for each thread, a thread computes images of its own, and a few rows at a time through as many
// instructions as possible. Otherwise, all threads run the same lists of instructions, divide the work of each, and
// wait for each other at barriers where an instruction reads results of other threads.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "integer_products.h"
#include "pointwise.h"
#include "products.h"
#include "rows.h"
#include "structures.h"
#include "team.h"

// With fewer pixels for each thread, waiting for the threads costs more time than they save.
constexpr int64_t PIXELS_PER_THREAD = 8;

enum InstructionKind : int32_t { POINTWISE, PRODUCT, KEEP };
// The names of the enumerators of kinds, operands and functions, in the same order. Python looks up their values by these names.
const char *const NAMES[] = {"pointwise product keep", "ring scratch local table number",
                             "copy integer_concat concat_elu gate elu relu silu sigmoid tanh neg add sub mul "
                             "requantize integer_sum integer_product integer_elu integer_concat_elu integer_sigmoid "
                             "integer_tanh integer_gate"};

namespace {

// Computes the rows of a run, at most ROWS_AT_ONCE, whose slots are all inside the image or all outside of it. Values
// of a ring with two copies are written to both, so that no window wraps around. The values of the ring's last
// `wrapped` slots are also copied before its first slot.
template <class T, class Output> void pointwise(const Instruction &instruction, const Step &step, const Run &run) {
    static thread_local std::vector<T> numbers;  // values of 16 bits as floating-point numbers
    const Operand &output = instruction.output;
    const Rows<Output> out = step.locate<Output>(output, nullptr, run);
    const size_t bytes = output.channels * sizeof(Output);
    if (step.valid(instruction)[run.slot]) {
        Rows<T> in[MOST_OPERANDS];
        int64_t room = std::is_same_v<T, Output> ? 0 : output.channels;
        for (int32_t k = 0; k < instruction.operand_count; k++)
            room += instruction.operands[k].words ? instruction.operands[k].channels : 0;
        if (numbers.size() < static_cast<size_t>(room * ROWS_AT_ONCE)) numbers.resize(room * ROWS_AT_ONCE);
        T *next = numbers.data();
        for (int32_t k = 0; k < instruction.operand_count; k++) {
            const Operand &operand = instruction.operands[k];
            if (!operand.words) {
                in[k] = step.locate<T>(operand, step.places(instruction), run);
                continue;
            }
            const Rows<int16_t> words = step.locate<int16_t>(operand, step.places(instruction), run);
            in[k] = {next, operand.channels};
            for (int64_t row = 0; row < run.count; row++, next += operand.channels) {
                const int16_t *own = words[row];
                each(next, operand.channels, [&](int64_t i) { return T(own[i]); });
            }
        }
        if constexpr (std::is_same_v<T, Output>) {
            apply(instruction, out, in, run.count);
        } else {
            const Rows<T> found{next, output.channels};
            apply(instruction, found, in, run.count);
            // The caller promises integers within 16 bits. Fractions would be cut off.
            for (int64_t row = 0; row < run.count; row++) to_words(found[row], output.channels, out[row]);
        }
    } else {
        for (int64_t row = 0; row < run.count; row++) std::memset(out[row], 0, bytes);
    }
    const int64_t slots = step.clock(instruction).slots, batch = step.program.batch;
    for (int64_t row = 0; row < run.count && (instruction.mirror || instruction.wrapped); row++) {
        const int64_t slot = run.slot + (run.image + row) / batch;
        if (instruction.mirror) std::memcpy(out[row] + instruction.mirror, out[row], bytes);
        for (int64_t up = 1; up <= instruction.wrapped; up++) {
            if (modulo(-up, slots) != slot) continue;
            Output *copy = out[row] - (slot + up) * batch * output.row_stride;
            std::memcpy(copy, out[row], bytes);
            if (instruction.mirror) std::memcpy(copy + instruction.mirror, out[row], bytes);
        }
    }
}

// Computes the rows from `begin` to `end`. The rows of several slots are computed together if the rows of each operand
// are equally far apart, also from slot to slot.
template <class T> void pointwise(const Instruction &instruction, const Step &step, int64_t begin, int64_t end) {
    const uint8_t *valid = step.valid(instruction);
    const auto is_even = [](const Operand &x) { return x.kind == NUMBER || (x.kind != TABLE && x.slot_stride == 1); };
    const Operand *operands = instruction.operands;
    const bool even = std::all_of(operands, operands + instruction.operand_count, is_even);
    const auto joins = [&](int64_t slot, int64_t other) { return even && valid[slot] == valid[other]; };
    each_run(begin, end, step.program.batch, joins, [&](const Run &run) {
        if constexpr (std::is_same_v<T, double>)
            if (instruction.output.words) return pointwise<T, int16_t>(instruction, step, run);
        pointwise<T, T>(instruction, step, run);
    });
}

#if defined(AUXAR_WORDS)

// Whether a product of integers may have values of more than 16 bits.
bool may_be_wide(const Instruction &instruction, const Program &program) {
    if (__atomic_load_n(program.not_words, __ATOMIC_RELAXED) == 0) return false;
    return std::any_of(instruction.operands, instruction.operands + instruction.operand_count,
                       [](const Operand &operand) { return !operand.words; });
}

// Copies the inputs of a product of integers in one row, as 16 bits. Notes if a value has more.
void copy_inputs(const Instruction &instruction, const Step &step, const int64_t *places, const Row &row,
                 int16_t *out) {
    for (int32_t k = 0; k < instruction.operand_count; k++) {
        const Operand &operand = instruction.operands[k];
        const int64_t count = operand.length * operand.channels;
        if (operand.words) {
            std::memcpy(out, step.locate<int16_t>(operand, places, row.slot, row.image), count * sizeof(int16_t));
        } else {
            const double *in = step.locate<double>(operand, places, row.slot, row.image);
            if (!to_words(in, count, out)) __atomic_store_n(step.program.not_words, int64_t{1}, __ATOMIC_RELAXED);
        }
        out += count;
    }
}

// Finds where the results of a product of integers begin and are stored.
void find_results(const Instruction &instruction, const Step &step, const Row *rows, int64_t count, Results &results) {
    const int64_t *places = step.places(instruction);
    results.outputs = instruction.output.channels;
    for (int64_t m = 0; m < count; m++) {
        const auto [slot, image] = rows[m];
        results.from[m] = instruction.initial == nullptr
                              ? reinterpret_cast<const double *>(instruction.bias)
                              : step.locate<double>(*instruction.initial, places, slot, image);
        results.to[m] = step.locate<double>(instruction.output, nullptr, slot, image);
    }
}

// Computes a product of integers of which some may have more than 16 bits, more slowly.
void product_of_wide(const Instruction &instruction, const Step &step, const Row *rows, int64_t count) {
    const int64_t *places = step.places(instruction), outputs = instruction.output.channels;
    const int16_t *const weights = reinterpret_cast<const int16_t *>(instruction.words->weights);
    for (int64_t m = 0; m < count; m++) {
        Results results;
        find_results(instruction, step, rows + m, 1, results);
        double *const out = results.to[0];
        std::copy_n(results.from[0], outputs, out);
        for (int64_t k = 0, at = 0; k < instruction.operand_count; k++) {
            const Operand &operand = instruction.operands[k];
            const int16_t *words = step.locate<int16_t>(operand, places, rows[m].slot, rows[m].image);
            const double *wide = step.locate<double>(operand, places, rows[m].slot, rows[m].image);
            for (int64_t i = 0; i < operand.length * operand.channels; i++, at++) {
                const double value = operand.words ? words[i] : wide[i];
                for (int64_t n = 0; n < outputs; n++)
                    out[n] += value * weights[(n / GROUP * instruction.words->inputs / 2 + at / 2) * 2 * GROUP +
                                              n % GROUP * 2 + at % 2];
            }
        }
    }
}

// Computes one thread's share of a product of integers from its rows of 16 bits.
void product_of_words(const Instruction &instruction, const Step &step, const Row *rows, int64_t row_count,
                      int64_t thread, int64_t threads) {
    const int64_t groups = groups_of(instruction.output.channels), length = instruction.words->inputs;
    const int64_t blocks = (row_count + MOST_ROWS - 1) / MOST_ROWS;
    const int64_t from = groups * row_count * thread / threads, to = groups * row_count * (thread + 1) / threads;
    Multiplier multiplier(*instruction.words, row_count);
    int64_t done = 0;
    for (int64_t block = 0; block < blocks; block++) {
        const int64_t begin = row_count * block / blocks, height = row_count * (block + 1) / blocks - begin;
        Inputs inputs;
        Results results;
        bool begun = false;
        for (int64_t first = 0; first < groups; first += PANEL) {
            const int64_t count = std::min(PANEL, groups - first), work = count * height, center = done + work / 2;
            done += work;
            if (center < from || center >= to) continue;
            if (!begun) {
                inputs.set(step.program.words + begin * length, length, height);
                multiplier.begin(height, inputs);
                find_results(instruction, step, rows + begin, height, results);
            }
            begun = true;
            multiplier.multiply(first, count, results);
        }
    }
}

// Computes a product of integers for at most ROWS_AT_ONCE rows.
void product_of_rows(const Instruction &instruction, const Step &step, const Row *rows, int64_t count) {
    static thread_local std::vector<int16_t> copied;
    const int64_t *places = step.places(instruction), length = instruction.words->inputs;
    Inputs inputs;
    bool apart = instruction.operand_count <= MOST_PARTS && instruction.words->block >= length;
    for (int32_t k = 0; k < instruction.operand_count; k++) {
        const Operand &operand = instruction.operands[k];
        apart = apart && operand.words && operand.length * operand.channels % 2 == 0;
    }
    if (apart) {
        inputs.count = instruction.operand_count;
        for (int32_t k = 0; k < inputs.count; k++) {
            const Operand &operand = instruction.operands[k];
            inputs.lengths[k] = operand.length * operand.channels;
            for (int64_t m = 0; m < count; m++)
                inputs.rows[k][m] = step.locate<int16_t>(operand, places, rows[m].slot, rows[m].image);
        }
    } else {
        if (copied.size() < static_cast<size_t>(MOST_ROWS * length)) copied.resize(MOST_ROWS * length);
        for (int64_t m = 0; m < count; m++)
            copy_inputs(instruction, step, places, rows[m], copied.data() + m * length);
        if (may_be_wide(instruction, step.program)) return product_of_wide(instruction, step, rows, count);
        inputs.set(copied.data(), length, count);
    }
    Multiplier multiplier(*instruction.words, count);
    Results results;
    find_results(instruction, step, rows, count, results);
    multiplier.begin(count, inputs);
    for (int64_t first = 0, groups = groups_of(results.outputs); first < groups; first += PANEL)
        multiplier.multiply(first, std::min(PANEL, groups - first), results);
}

#endif

// Copies a part of an image row: each entry of a ring with one slot is copied to its own slot of another ring.
template <class T> void keep(const Instruction &instruction, const Step &step, const Run &run) {
    const Operand &source = instruction.operands[0];
    const Rows<T> out = step.locate<T>(instruction.output, nullptr, run);
    const T *in = reinterpret_cast<const T *>(source.base) + (source.first_slot + run.slot) * source.channels;
    for (int64_t row = 0; row < run.count; row++)
        std::memcpy(out[row], in + (run.image + row) * source.row_stride, source.channels * sizeof(T));
}

// Computes a product for rows, or a thread's share if threads divide it.
template <class T>
void multiply(const Instruction &instruction, const Step &step, const std::vector<Row> &rows, Team &team,
              int64_t thread, int64_t threads) {
    const int64_t count = static_cast<int64_t>(rows.size());
#if defined(AUXAR_WORDS)
    if (instruction.words != nullptr) {
        // Another thread may find values of more bits at any time, so only after the barrier do all agree.
        if (!may_be_wide(instruction, step.program)) {
            const int64_t *places = step.places(instruction), end = count * (thread + 1) / threads;
            for (int64_t row = count * thread / threads; row < end; row++)
                copy_inputs(instruction, step, places, rows[row], step.program.words + row * instruction.words->inputs);
        }
        team.barrier();
        if (!may_be_wide(instruction, step.program))
            return product_of_words(instruction, step, rows.data(), count, thread, threads);
        const int64_t first = count * thread / threads, end = count * (thread + 1) / threads;
        return product_of_wide(instruction, step, rows.data() + first, end - first);
    }
#endif
    product<T>(instruction, step, rows.data(), count, thread, threads);
}

// Runs one thread's part of a list of instructions whose work threads divide.
template <class T>
void run_part(const Program &program, const List &list, const int64_t *positions, Team &team, int64_t thread,
              int64_t threads) {
    static thread_local std::vector<Row> rows;
    const Step step{program, positions};
    bool after_shared = false;
    for (int64_t k = 0; k < list.count; k++) {
        const Instruction &instruction = list.instructions[k];
        const int64_t slots = step.clock(instruction).slots, all = slots * program.batch;
        const int64_t first = all * thread / threads, end = all * (thread + 1) / threads;
        if (instruction.kind == POINTWISE) {
            // A pointwise instruction that does not wait reads only rows that the same thread writes, so it needs no
            // barrier. `PRODUCT` and `KEEP` divide the work differently and need a barrier before and after them.
            if (after_shared || instruction.waits) team.barrier();
            after_shared = false;
            // Consecutive ones are computed for a few rows at once, whose values stay in the processor's nearest cache.
            int64_t last = k + 1;
            while (last < list.count && list.instructions[last].kind == POINTWISE && !list.instructions[last].waits)
                last++;
            for (int64_t row = first; row < end; row += ROWS_AT_ONCE)
                for (int64_t number = k; number < last; number++)
                    pointwise<T>(list.instructions[number], step, row, std::min(row + ROWS_AT_ONCE, end));
            k = last - 1;
            continue;
        }
        team.barrier();
        after_shared = true;
        if (instruction.kind == KEEP) {
            each_run(first, end, program.batch, [&](const Run &run) { keep<T>(instruction, step, run); });
            continue;
        }
        rows.clear();
        for (int64_t slot = 0; slot < slots; slot++)
            if (step.valid(instruction)[slot])
                for (int64_t image = 0; image < program.batch; image++) rows.push_back({slot, image});
        multiply<T>(instruction, step, rows, team, thread, threads);
    }
}

// Runs a list of instructions for the images of one thread. A few rows at a time are computed through all instructions
// up to the next one that reads other rows.
template <class T>
void run_images(const Program &program, const List &list, const int64_t *positions, int64_t thread, int64_t threads) {
    static thread_local std::vector<char> room;
    if (room.size() < static_cast<size_t>(program.room)) room.resize(program.room);
    Step step{program, positions, room.data()};
    const auto compute = [&](const Instruction &instruction, int64_t end) {
        if (instruction.kind == PRODUCT) {
            Row rows[ROWS_AT_ONCE];
            int64_t count = 0;
            each_run(step.begin, end, program.batch, [&](const Run &run) {
                for (int64_t m = 0; m < run.count && step.valid(instruction)[run.slot]; m++)
                    rows[count++] = {run.slot, run.image + m};
            });
#if defined(AUXAR_WORDS)
            if (count > 0) product_of_rows(instruction, step, rows, count);
#endif
        } else if (instruction.kind == KEEP) {
            each_run(step.begin, end, program.batch, [&](const Run &run) { keep<T>(instruction, step, run); });
        } else {
            pointwise<T>(instruction, step, step.begin, end);
        }
    };
    for (int64_t first = 0, last; first < list.count; first = last) {
        for (last = first + 1; last < list.count && !list.instructions[last].waits;) last++;
        // A single thread has all rows; one of several threads has a range of rows in each slot.
        const int64_t slots = step.clock(list.instructions[first]).slots, parts = threads == 1 ? 1 : slots;
        const int64_t size = slots / parts * program.batch;
        for (int64_t part = 0; part < parts; part++) {
            const int64_t end = part * size + size * (thread + 1) / threads;
            for (step.begin = part * size + size * thread / threads; step.begin < end; step.begin += ROWS_AT_ONCE)
                for (int64_t k = first; k < last; k++)
                    compute(list.instructions[k], std::min(step.begin + ROWS_AT_ONCE, end));
        }
    }
}

// Draws the pixels of a step, stores them in the image, and encodes them for the next step.
template <class T> void draw(const Program &program, const int64_t *places) {
    const bool few = program.slots * program.batch < program.source_threads * PIXELS_PER_THREAD;
    Team::own().run(few ? 1 : program.source_threads, [&](int64_t thread, int64_t threads) {
        program.source(program.source_state, places, program.slots, program.parameters, program.drawn, thread, threads);
    });
    const T *encoded = static_cast<const T *>(program.encoded);
    const int64_t channels = program.channels, size = program.batch * channels;
    const int64_t *drawn = program.drawn;
    T *out = static_cast<T *>(program.pixels);
    for (int64_t slot = 0; slot < program.slots; slot++, drawn += size) {
        if (places[slot] != program.outside)
            std::memcpy(program.image + places[slot] * size, drawn, size * sizeof(int64_t));
        for (int64_t image = 0; image < program.batch; image++, out += program.inputs) {
            for (int64_t channel = 0; channel < channels; channel++) {
                // A plugin's source may give values out of range. They are stored unchanged, so that Python can report
                // them, and encoded as the nearest valid value.
                const int64_t value = drawn[image * channels + channel];
                out[channel] = encoded[value < 0 ? 0 : value < program.levels ? value : program.levels - 1];
            }
            for (int64_t channel = channels; channel < program.inputs; channel++) out[channel] = T(program.mark);
        }
    }
}

template <class T> void run_steps(const Program &program, int64_t first, int64_t last) {
    Team &team = Team::own();
    for (int64_t step = first; step < last; step++) {
        const int64_t *row = program.steps + step * (1 + program.clock_count);
        const List &list = program.lists[row[0]];
        team.run(list.threads, [&](int64_t thread, int64_t threads) {
            if (program.by_images) run_images<T>(program, list, row + 1, thread, threads);
            else run_part<T>(program, list, row + 1, team, thread, threads);
        });
        const int64_t draws = program.draws[step];
        if (draws >= 0 && program.source != nullptr) draw<T>(program, program.places + draws * program.slots);
    }
}

}  // namespace

extern "C" {
int64_t most_operands() { return MOST_OPERANDS; }
int64_t rows_at_once() { return ROWS_AT_ONCE; }
// The largest number of inputs of a product of integers of 16 bits, or 0 if the processor does not multiply them.
int64_t most_inputs_of_words() {
#if defined(AUXAR_WORDS)
    return MOST_INPUTS;
#else
    return 0;
#endif
}
int64_t bytes_of_weights(int64_t inputs, int64_t outputs) { return bytes_of_words(inputs, outputs); }
int64_t pack_weights(const double *w, int64_t inputs, int64_t outputs, Words *words) {
    return pack_words(w, inputs, outputs, *words);
}
int64_t tiles(int64_t rows, int64_t outputs, int64_t size) {
    const int64_t full = PANEL_VECTORS * (VECTOR_BYTES / size);
    return (rows + TILE_ROWS - 1) / TILE_ROWS * ((outputs + full - 1) / full);
}
int64_t padded_outputs_float(int64_t outputs) { return padded_outputs<float>(outputs); }
int64_t padded_outputs_double(int64_t outputs) { return padded_outputs<double>(outputs); }
void pack_float(const float *w, int64_t inputs, int64_t outputs, float *panels) { pack(w, inputs, outputs, panels); }
void pack_double(const double *w, int64_t inputs, int64_t outputs, double *panels) { pack(w, inputs, outputs, panels); }
void run_float(const Program *program, int64_t first, int64_t last) { run_steps<float>(*program, first, last); }
void run_double(const Program *program, int64_t first, int64_t last) { run_steps<double>(*program, first, last); }
// A source that copies the pixels of images.
void force(const void *forcing, const int64_t *places, int64_t count, const void *, int64_t *drawn, int64_t, int64_t) {
    const Forcing &given = *static_cast<const Forcing *>(forcing);
    const int64_t size = given.batch * given.channels;
    for (int64_t k = 0; k < count; k++)
        std::memcpy(drawn + k * size, given.image + places[k] * size, size * sizeof(int64_t));
}
void compute_ranges(Ranges ranges, const Coding *coding, int64_t threads) {
    Team::own().run(threads, [&](int64_t thread, int64_t of) { ranges(*coding, thread, of); });
}
const char *names(int64_t enumeration) { return NAMES[enumeration]; }
}
