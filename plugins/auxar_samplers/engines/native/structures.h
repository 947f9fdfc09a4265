// Structures that Python fills in and the library reads: structures.py has the same fields in the same order.

#pragma once

#include <cstdint>

// Where the slots stand at each position, from `origin` on.
struct Clock {
    const uint8_t *valid;   // for each position and slot: does it stand inside the image?
    const int64_t *places;  // likewise: the row of a table that belongs to it
    int64_t origin, slots;
};

struct Operand {
    char *base;
    int32_t kind, clock;
    int64_t channels;    // of one position
    int64_t row_stride;  // elements between rows
    int64_t first_slot, slot_stride;
    int64_t capacity, delay;
    int64_t length;      // positions side by side
    double number;
};

struct Instruction {
    int32_t kind, function, clock, operand_count;
    int64_t lead;
    int64_t wrapped, mirror;  // of an output ring: slots repeated before the first one, elements to the second copy
    const Operand *operands;
    Operand output;
    const char *panels;      // a product's weights, packed by `pack`
    const char *bias;        // padded as the panels are
    const Operand *initial;  // a table that the product is added to, or null
};

struct List {
    const Instruction *instructions;
    int64_t count;
    int64_t threads;  // to ask for
};

// Pixels at places (count,) of all images from their parameters, int64, (count · batch, channels); zeros outside.
using Source = void (*)(const void *state, const int64_t *places, int64_t count, const void *parameters, int64_t *drawn,
                        int64_t threads);

struct Program {
    const Clock *clocks;
    const List *lists;
    const int64_t *steps;   // (steps, 1 + clocks): the list's number, and every clock's position
    const int64_t *draws;   // (steps,): the row of `places` that is drawn after the step, or -1
    const int64_t *places;  // (rows, slots)
    int64_t clock_count, slots, batch;
    int64_t outside;  // the place that stands for "outside of the image"
    // Of drawn pixels: how they are drawn, where they are kept, and what the next step reads of them.
    Source source;  // or null, if they are drawn between the calls
    const void *source_state;
    const void *parameters;
    int64_t *drawn;       // (slots, batch, channels)
    int64_t *image;       // (outside + 1, batch, channels)
    const void *encoded;  // (levels,): a value as the network reads it
    void *pixels;         // (slots, batch, inputs): of channels, and one more channel of ones if there is one
    int64_t channels, inputs, levels;
    int64_t source_threads;
};

// A source that draws: whatever values pixels have, or restricted by sums.
struct Drawing {
    int64_t batch, channels, levels;
    int64_t outside;     // the place that stands for "outside of the image"
    int64_t components;  // of a mixture, as are the fields up to `temperature`
    int64_t modes;       // whether a component's mode is taken
    double smallest_log_scale, largest_log_scale, reduction, smallest_reduced_log_scale;
    double temperature;  // of a softmax
    const int64_t *groups, *weights;  // (channels, outside + 1); null for free draws, as are all fields of sums
    const int64_t *least, *most;      // (channels, outside + 1, later_images)
    int64_t later_images;             // batch, or 1 if they are the same for all images
    int64_t *lowest, *highest;        // (groups + 1, batch), changed by what is drawn
    const double *uniforms;           // (outside + 1, batch, as many as the head takes)
    const int64_t *low, *high;        // (outside + 1, batch, channels), or null: limits whatever the sums
};

// A source that gives the pixels of given images.
struct Forcing {
    int64_t batch, channels;
    const int64_t *image;  // (outside + 1, batch, channels)
};
