// Rows of a program's values, one for each slot and image, and where they are stored.

#pragma once

#include <cstdint>

#include "structures.h"

namespace {

// A thread computes so many rows at a time. The processor's nearest cache holds their values.
constexpr int64_t ROWS_AT_ONCE = 16;

enum OperandKind : int32_t { RING, SCRATCH, LOCAL, TABLE, NUMBER };

struct Row {
    int64_t slot, image;
};

// Consecutive rows from a slot's image on.
struct Run {
    int64_t slot, image, count;
};

// Values of rows that are `stride` apart.
template <class T> struct Rows {
    T *first = nullptr;
    int64_t stride = 0;
    T *operator[](int64_t row) const { return first + row * stride; }
};

inline int64_t modulo(int64_t value, int64_t divisor) {
    const int64_t rest = value % divisor;
    return rest < 0 ? rest + divisor : rest;
}

// A step of a program, as a thread computes it.
struct Step {
    const Program &program;
    const int64_t *positions;
    char *room = nullptr;  // has the values of `LOCAL` operands
    int64_t begin = 0;     // the row to which the first ones belong

    const Clock &clock(const Instruction &instruction) const { return program.clocks[instruction.clock]; }
    // The places of an instruction's slots, and whether they are inside the image.
    const int64_t *places(const Instruction &instruction) const { return clock(instruction).places + at(instruction); }
    const uint8_t *valid(const Instruction &instruction) const { return clock(instruction).valid + at(instruction); }

    // The values of an operand in a row; null for a number. `places` is needed for tables alone.
    template <class T> T *locate(const Operand &operand, const int64_t *places, int64_t slot, int64_t image) const {
        T *base = reinterpret_cast<T *>(operand.base);
        if (operand.kind == TABLE) return base + places[slot] * operand.row_stride + image * operand.channels;
        if (operand.kind == NUMBER) return nullptr;
        if (operand.kind == LOCAL) {
            base = reinterpret_cast<T *>(room + reinterpret_cast<intptr_t>(operand.base));
            return base + (slot * program.batch + image - begin) * operand.row_stride;
        }
        base += ((operand.first_slot + slot * operand.slot_stride) * program.batch + image) * operand.row_stride;
        if (operand.kind == SCRATCH) return base;
        return base + modulo(positions[operand.clock] - operand.delay, operand.capacity) * operand.channels;
    }
    template <class T> Rows<T> locate(const Operand &operand, const int64_t *places, const Run &run) const {
        T *const first = locate<T>(operand, places, run.slot, run.image);
        return {first, operand.kind == TABLE ? operand.channels : operand.kind == NUMBER ? 0 : operand.row_stride};
    }

  private:
    int64_t at(const Instruction &instruction) const {
        const Clock &own = clock(instruction);
        return (positions[instruction.clock] + instruction.lead - own.origin) * own.slots;
    }
};

// Calls function(run) for the rows from `begin` to `end`: slot by slot, or for slots together that `joins` allows.
template <class F, class G> void each_run(int64_t begin, int64_t end, int64_t batch, F joins, G function) {
    while (begin < end) {
        const int64_t slot = begin / batch;
        int64_t next = (slot + 1) * batch;
        while (next < end && joins(slot, next / batch)) next += batch;
        next = next < end ? next : end;
        function(Run{slot, begin - slot * batch, next - begin});
        begin = next;
    }
}
template <class G> void each_run(int64_t begin, int64_t end, int64_t batch, G function) {
    each_run(begin, end, batch, [](int64_t, int64_t) { return false; }, function);
}

}  // namespace
