// Runs all steps of a sampler's program: matrix products with few rows, pointwise functions, and the drawing of pixels.
//
// A product has one row for each slot and image. These are too few rows for a general matrix library to be fast, and a
// step has so many products that the calls would take most of the time. Weights are packed once into panels of columns.
// A product computes only the rows of slots inside the image. All threads run the same lists of instructions and wait
// for each other at barriers where an instruction reads results of other threads.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "integer_products.h"
#include "pointwise.h"
#include "structures.h"
#include "team.h"

// The TILE_ROWS × PANEL_VECTORS sums of a tile fit into the vector registers, together with the weights and the value
// that are being multiplied.
#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64, TILE_ROWS = 9, PANEL_VECTORS = 3;
#else
constexpr int VECTOR_BYTES = 32, TILE_ROWS = 4, PANEL_VECTORS = 3;
#endif

// With fewer pixels for each thread, waiting for the threads costs more time than they save.
constexpr int64_t PIXELS_PER_THREAD = 8;

enum InstructionKind : int32_t { POINTWISE, PRODUCT, KEEP };
// The names of the enumerators of kinds, operands and functions, in the same order. Python looks up their values by these names.
const char *const NAMES[] = {"pointwise product keep", "ring scratch table number",
                             "copy integer_concat concat_elu gate elu relu silu sigmoid tanh neg add sub mul "
                             "requantize integer_sum integer_product integer_elu integer_concat_elu integer_sigmoid "
                             "integer_tanh integer_gate"};

namespace {

int64_t modulo(int64_t value, int64_t divisor) {
    const int64_t rest = value % divisor;
    return rest < 0 ? rest + divisor : rest;
}

template <class T>
T *locate(const Operand &operand, const int64_t *positions, const int64_t *places, int64_t row, int64_t batch) {
    T *base = reinterpret_cast<T *>(operand.base);
    const int64_t slot = row / batch, image = row % batch;
    if (operand.kind == TABLE) return base + places[slot] * operand.row_stride + image * operand.channels;
    if (operand.kind == NUMBER) return nullptr;
    base += ((operand.first_slot + slot * operand.slot_stride) * batch + image) * operand.row_stride;
    if (operand.kind == SCRATCH) return base;
    return base + modulo(positions[operand.clock] - operand.delay, operand.capacity) * operand.channels;
}

constexpr int64_t ROWS_AT_ONCE = 8;

// Computes the rows from `begin` to `end`. Values of a ring with two copies are written to both, so that no window wraps
// around. The values of the ring's last `wrapped` slots are also copied before its first slot.
template <class T, class Output>
void pointwise(const Instruction &instruction, const Program &program, const int64_t *positions, int64_t begin,
               int64_t end) {
    static thread_local std::vector<T> numbers;  // values of 16 bits as floating-point numbers
    const Clock &clock = program.clocks[instruction.clock];
    const int64_t at = (positions[instruction.clock] + instruction.lead - clock.origin) * clock.slots;
    const Operand &output = instruction.output;
    const size_t bytes = output.channels * sizeof(Output);
    int64_t most = output.channels;
    for (int32_t k = 0; k < instruction.operand_count; k++) most = std::max(most, instruction.operands[k].channels);
    bool words = output.words;
    for (int32_t k = 0; k < instruction.operand_count; k++) words |= instruction.operands[k].words != 0;
    const size_t room = most * (MOST_OPERANDS + 1);
    if (words && numbers.size() < room) numbers.resize(room);
    for (int64_t row = begin; row < end; row++) {
        const int64_t slot = row / program.batch;
        Output *out = locate<Output>(output, positions, nullptr, row, program.batch);
        if (clock.valid[at + slot]) {
            T *in[MOST_OPERANDS];
            for (int32_t k = 0; k < instruction.operand_count; k++) {
                const Operand &operand = instruction.operands[k];
                if (!operand.words) {
                    in[k] = locate<T>(operand, positions, clock.places + at, row, program.batch);
                    continue;
                }
                const int16_t *words = locate<int16_t>(operand, positions, clock.places + at, row, program.batch);
                in[k] = numbers.data() + k * most;
                each(in[k], operand.channels, [&](int64_t i) { return T(words[i]); });
            }
            if constexpr (std::is_same_v<T, Output>) {
                apply(instruction, out, in);
            } else {
                T *found = numbers.data() + MOST_OPERANDS * most;
                apply(instruction, found, in);
                to_words(found, output.channels, out);  // All are integers, and their limit has 16 bits.
            }
        } else {
            std::memset(out, 0, bytes);
        }
        if (instruction.mirror) std::memcpy(out + instruction.mirror, out, bytes);
        for (int64_t up = 1; up <= instruction.wrapped; up++) {
            if (modulo(-up, clock.slots) != slot) continue;
            Output *copy = out - (slot + up) * program.batch * output.row_stride;
            std::memcpy(copy, out, bytes);
            if (instruction.mirror) std::memcpy(copy + instruction.mirror, out, bytes);
        }
    }
}

template <class T>
void pointwise(const Instruction &instruction, const Program &program, const int64_t *positions, int64_t begin,
               int64_t end) {
    if constexpr (std::is_same_v<T, double>)
        if (instruction.output.words) return pointwise<T, int16_t>(instruction, program, positions, begin, end);
    pointwise<T, T>(instruction, program, positions, begin, end);
}

template <class T> struct Tile {
    const Instruction *instruction;
    const int64_t *positions, *places;
    int64_t batch;
    const int64_t *rows;
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
        const T *row = locate<T>(*instruction.initial, job.positions, job.places, job.rows[m], job.batch) + column;
        T padded[VECTORS * LANES] = {};
        std::memcpy(padded, row, width * sizeof(T));
        for (int n = 0; n < VECTORS; n++) sums[m][n] += *reinterpret_cast<const Unaligned *>(padded + n * LANES);
    }
    for (int32_t k = 0; k < instruction.operand_count; k++) {
        const Operand &operand = instruction.operands[k];
        const T *in[ROWS];
        for (int m = 0; m < ROWS; m++) in[m] = locate<T>(operand, job.positions, job.places, job.rows[m], job.batch);
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
        T *out = locate<T>(instruction.output, job.positions, nullptr, job.rows[m], job.batch) + column;
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
void product(const Instruction &instruction, const Program &program, const int64_t *positions, const int64_t *rows,
             int64_t row_count, int64_t thread, int64_t threads) {
    const Clock &clock = program.clocks[instruction.clock];
    const int64_t *places =
        clock.places + (positions[instruction.clock] + instruction.lead - clock.origin) * clock.slots;
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
            const Tile<T> job{&instruction, positions, places, program.batch, rows + begin};
            panel_product<T>(end - begin, job, panel, column, width);
        }
    }
}

#if defined(AUXAR_WORDS)

// Converts one thread's share of the rows of a product of integers to 16 bits.
void rows_to_words(const Instruction &instruction, const Program &program, const int64_t *positions,
                   const int64_t *rows, int64_t row_count, int64_t thread, int64_t threads) {
    const Clock &clock = program.clocks[instruction.clock];
    const int64_t *places =
        clock.places + (positions[instruction.clock] + instruction.lead - clock.origin) * clock.slots;
    const int64_t end = row_count * (thread + 1) / threads;
    for (int64_t row = row_count * thread / threads; row < end; row++) {
        int16_t *out = program.words + row * instruction.words->inputs;
        for (int32_t k = 0; k < instruction.operand_count; k++) {
            const Operand &operand = instruction.operands[k];
            const int64_t count = operand.length * operand.channels, following = rows[std::min(row + 1, end - 1)];
            // Rows are far apart, so the processor does not foresee that the next one will be read.
            if (operand.words) {
                const int16_t *next = locate<int16_t>(operand, positions, places, following, program.batch);
                for (int64_t at = 0; at < count; at += 32) __builtin_prefetch(next + at);
                const int16_t *in = locate<int16_t>(operand, positions, places, rows[row], program.batch);
                std::memcpy(out, in, count * sizeof(int16_t));
            } else {
                const double *next = locate<double>(operand, positions, places, following, program.batch);
                for (int64_t at = 0; at < count; at += 8) __builtin_prefetch(next + at);
                const double *in = locate<double>(operand, positions, places, rows[row], program.batch);
                if (!to_words(in, count, out)) __atomic_store_n(program.not_words, int64_t{1}, __ATOMIC_RELAXED);
            }
            out += count;
        }
    }
}

// Computes one thread's share of a product of integers from its rows of 16 bits. The result is that of `product`.
void product_of_words(const Instruction &instruction, const Program &program, const int64_t *positions,
                      const int64_t *rows, int64_t row_count, int64_t thread, int64_t threads) {
    const Clock &clock = program.clocks[instruction.clock];
    const int64_t *places =
        clock.places + (positions[instruction.clock] + instruction.lead - clock.origin) * clock.slots;
    const int64_t outputs = instruction.output.channels, groups = groups_of(outputs);
    const int64_t blocks = (row_count + MOST_ROWS - 1) / MOST_ROWS;
    const int64_t from = groups * row_count * thread / threads, to = groups * row_count * (thread + 1) / threads;
    Multiplier multiplier(*instruction.words, row_count);
    int64_t done = 0;
    Sums sums[MOST_ROWS];
    for (int64_t block = 0; block < blocks; block++) {
        const int64_t begin = row_count * block / blocks, height = row_count * (block + 1) / blocks - begin;
        bool begun = false;
        for (int64_t first = 0; first < groups; first += PANEL) {
            const int64_t count = std::min(PANEL, groups - first), column = first * GROUP;
            const int64_t work = count * height, center = done + work / 2;
            done += work;
            if (center < from || center >= to) continue;
            if (!begun) multiplier.begin(height, program.words + begin * instruction.words->inputs);
            begun = true;
            const size_t bytes = std::min(count * GROUP, outputs - column) * sizeof(double);
            const double *bias = reinterpret_cast<const double *>(instruction.bias);
            for (int64_t m = 0; m < height; m++) {
                if (instruction.initial != nullptr)
                    bias = locate<double>(*instruction.initial, positions, places, rows[begin + m], program.batch);
                std::memcpy(sums[m], bias + column, bytes);
            }
            multiplier.multiply(first, count, sums);
            for (int64_t m = 0; m < height; m++)
                std::memcpy(locate<double>(instruction.output, positions, nullptr, rows[begin + m], program.batch) + column,
                            sums[m], bytes);
        }
    }
}

#else

void rows_to_words(const Instruction &, const Program &, const int64_t *, const int64_t *, int64_t, int64_t, int64_t) {}
void product_of_words(const Instruction &, const Program &, const int64_t *, const int64_t *, int64_t, int64_t,
                      int64_t) {}

#endif

// Copies one thread's part of an image row: each entry of a ring with one slot is copied to its own slot of another
// ring.
template <class T>
void keep(const Instruction &instruction, const Program &program, const int64_t *positions, int64_t thread,
          int64_t threads) {
    const int64_t slots = program.clocks[instruction.clock].slots;
    const Operand &source = instruction.operands[0];
    const size_t bytes = source.channels * sizeof(T);
    for (int64_t row = slots * program.batch * thread / threads; row < slots * program.batch * (thread + 1) / threads;
         row++) {
        const int64_t slot = row / program.batch, image = row % program.batch;
        const T *in = reinterpret_cast<const T *>(source.base) + image * source.row_stride +
                      (source.first_slot + slot) * source.channels;
        std::memcpy(locate<T>(instruction.output, positions, nullptr, row, program.batch), in, bytes);
    }
}

// Runs one thread's part of a list of instructions.
template <class T>
void run_part(const Program &program, const List &list, const int64_t *positions, Team &team, int64_t thread,
              int64_t threads) {
    static thread_local std::vector<int64_t> rows;
    bool after_shared = false;
    for (int64_t k = 0; k < list.count; k++) {
        const Instruction &instruction = list.instructions[k];
        if (instruction.kind == POINTWISE) {
            // A pointwise instruction reads only rows that the same thread writes, so consecutive ones need no barrier.
            // `PRODUCT` and `KEEP` divide the work differently and need a barrier before and after them.
            if (after_shared) team.barrier();
            after_shared = false;
            // Consecutive ones are computed for a few rows at once, whose values stay in the processor's nearest cache.
            int64_t last = k + 1;
            while (last < list.count && list.instructions[last].kind == POINTWISE &&
                   list.instructions[last].clock == instruction.clock)
                last++;
            const int64_t all = program.clocks[instruction.clock].slots * program.batch;
            const int64_t end = all * (thread + 1) / threads;
            for (int64_t row = all * thread / threads; row < end; row += ROWS_AT_ONCE)
                for (int64_t each = k; each < last; each++)
                    pointwise<T>(list.instructions[each], program, positions, row, std::min(row + ROWS_AT_ONCE, end));
            k = last - 1;
            continue;
        }
        team.barrier();
        after_shared = true;
        if (instruction.kind == KEEP) {
            keep<T>(instruction, program, positions, thread, threads);
            continue;
        }
        const Clock &clock = program.clocks[instruction.clock];
        const uint8_t *valid =
            clock.valid + (positions[instruction.clock] + instruction.lead - clock.origin) * clock.slots;
        rows.clear();
        for (int64_t slot = 0; slot < clock.slots; slot++)
            if (valid[slot])
                for (int64_t image = 0; image < program.batch; image++) rows.push_back(slot * program.batch + image);
        const int64_t count = static_cast<int64_t>(rows.size());
        if (instruction.words != nullptr) {
            // Another thread may find values of more bits at any time, so only after the barrier do all agree.
            const auto whole = [&] {
                return instruction.operands->words || __atomic_load_n(program.not_words, __ATOMIC_RELAXED) == 0;
            };
            if (whole()) rows_to_words(instruction, program, positions, rows.data(), count, thread, threads);
            team.barrier();
            if (whole()) {
                product_of_words(instruction, program, positions, rows.data(), count, thread, threads);
                continue;
            }
        }
        product<T>(instruction, program, positions, rows.data(), count, thread, threads);
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
            run_part<T>(program, list, row + 1, team, thread, threads);
        });
        const int64_t draws = program.draws[step];
        if (draws >= 0 && program.source != nullptr) draw<T>(program, program.places + draws * program.slots);
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

extern "C" {
int64_t most_operands() { return MOST_OPERANDS; }
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
