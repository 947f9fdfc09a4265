// Structures that Python fills in and the library reads. Python reads this file, so a field is a number, a structure of
// this file, or a pointer.

#pragma once

#include <cstdint>

// The places of a clock's slots at each position. compiler/program.py explains clocks, slots, positions and rings.
struct Clock {
    const uint8_t *valid;   // (positions, slots): 1 if the slot is inside the image, else 0
    const int64_t *places;  // (positions, slots): the index of the slot's place in a table
    int64_t origin, slots;  // the first row of the arrays is for position + lead = origin
};

// The location of an operand or an output. Slot k uses the storage's slot first_slot + k · slot_stride. A ring is read
// from entry (position - delay) mod capacity on. The base of a local operand is its place in a thread's own room for a
// few rows.
struct Operand {
    char *base;
    int32_t kind, clock;
    int64_t channels;    // number of channels at one position
    int64_t row_stride;  // elements between rows
    int64_t first_slot, slot_stride;
    int64_t capacity, delay;
    int64_t length;      // number of consecutive positions that are read
    int64_t words;       // 1 if the storage has integers of 16 bits instead of floating-point numbers
    double number;       // the value of an operand that is a number
};

// The constants of a function of integers, which are stored in doubles.
struct Constants {
    const float *table;        // values at 0, 1, 2, …; the last one continues
    int64_t table_size;
    const double *multiplier;  // (channels,)
    const double *weights;     // one for each operand
    double constant;           // added to a weighted sum
    double scale;              // 2 to the power -shift
    double limit;              // bound of the results
    int64_t rounds;            // 1 if the shift is positive, so that results are rounded
};

// The weights of a product of integers (integer_products.h).
struct Words {
    char *weights;
    int64_t inputs;  // number of inputs, padded with zeros
    int64_t block;   // sums over so many inputs fit into 32 bits
    const int8_t *pieces;   // for tiles, or null
    const double *offsets;  // (outputs,): 32768 times the sum of each column
};

// A convolution of images of integers with stride 1, whose result has their size. Outside of the images, values are 0.
struct ImageProduct {
    int64_t channels;        // of the values
    const int64_t *places;   // (count, 2): the row and the column that the first pixel reads
    int64_t count;
    const int16_t *values;   // (batch, height, width, channels)
    const Words *words;      // the weights (count · channels, outputs)
    const double *bias;      // (outputs,)
    int64_t first_row, first_column;  // at which the bias is added for the first time
    int64_t added;           // 1 if the result is added to the value of the output
    Operand output;
};

struct Instruction {
    int32_t kind, function, clock, operand_count;
    int64_t lead;
    int64_t wrapped;         // for an output ring: number of extra slots in front, which hold copies of the last slots
    int64_t waits;           // 1 if earlier instructions must be complete in all rows of the thread's images or, without
                             // `by_images`, of all images
    int64_t mirror;          // for an output ring: elements between its two copies, 0 for a single copy
    const Operand *operands;
    Operand output;
    const char *panels;      // weights of a product, packed by `pack`
    const char *bias;        // bias of a product, padded to the width of the panels
    const Operand *initial;  // table of initial values, to which the product is added, or null
    const Constants *constants;  // of a function of integers, or null
    const Words *words;          // of a product of integers, or null; all operands or none are integers of 16 bits
};

// Convolutions of the same pixels, and functions of their results and of other values of these pixels. The values of a
// block of pixels lie one after another, and `first_slot` of an output or operand is the number of channels of the values
// before it: with values of 3 and 8 channels, 0, 3 and 11. An operand of the kind TABLE is read from a
// whole image, and an output with `base` is also stored in one.
struct ImageStep {
    int64_t batch, height, width;
    const ImageProduct *products;
    int64_t product_count;
    const Instruction *functions;
    int64_t function_count;
    int64_t channels;  // of all values
};

struct List {
    const Instruction *instructions;
    int64_t count;
    int64_t threads;  // number of threads to use
};

// A function that decides the pixels at `places` (count,) of all images. It reads `parameters` (count · batch, …) and
// writes `drawn` (count · batch, channels), with zeros for places outside the image. It is called in each of `threads`
// threads with the thread's number, and does this thread's share of the work.
using Source = void (*)(const void *state, const int64_t *places, int64_t count, const void *parameters, int64_t *drawn,
                        int64_t thread, int64_t threads);

struct Program {
    const Clock *clocks;
    const List *lists;
    const int64_t *steps;   // (steps, 1 + clocks): the number of the list to run, and the position of every clock
    const int64_t *draws;   // (steps,): the row of `places` that is drawn after the step, or -1 if none is
    const int64_t *places;  // (rows, slots)
    int64_t clock_count, slots, batch;
    int64_t outside;  // the place of slots outside the image, height · width
    // The pixel source, the buffers for its pixels, and the encoded pixels that the next step reads.
    Source source;  // null if Python asks the source for pixels between the calls of the library
    const void *source_state;
    const void *parameters;
    int64_t *drawn;       // (slots, batch, channels)
    int64_t *image;       // (outside + 1, batch, channels)
    const void *encoded;  // (levels,): the network's input for each value
    void *pixels;         // (slots, batch, inputs): the encoded channels; any further inputs are `mark`
    double mark;
    int64_t channels, inputs, levels;
    int64_t source_threads;
    int64_t by_images;     // 1 if each thread computes images of its own
    int64_t room;          // bytes of local operands
    int16_t *words;        // room for all rows of a product of integers
    int64_t *not_words;    // 1 as soon as a product had values that are no integers of 16 bits. From then on, products
                           // multiply in float64, except for those that read storage of 16 bits alone.
};

struct Image {
    int64_t channels, levels;
};

// The state of a source that draws pixels with a head, or decodes them, freely or restricted by sums.
struct Drawing {
    Image image;
    int64_t batch;
    int64_t outside;        // the place of slots outside the image, height · width
    const void *constants;  // the head's `Constants`
    int64_t restricted;     // 1 if values are restricted by sums
    // The fields from `groups` to `highest` describe sums. Their pointers are null if values are not restricted and
    // heads take no centers.
    const int64_t *groups, *weights;  // (channels, outside + 1): group of a sub-pixel, and weight in the group's sum
    const int64_t *least, *most;      // (channels, outside + 1, later_images): range of the sum of later sub-pixels
    int64_t later_images;             // batch, or 1 if `least` and `most` are the same for all images
    int64_t *lowest, *highest;        // (groups + 1, batch): range of the remaining sum; drawn values are subtracted
    int64_t *expected;           // (groups + 1, batch): twice the expected remaining sum; null without centers from sums
    const int64_t *most_left;    // (channels, outside + 1): largest sum of this and later pixels of the group
    int64_t *neighbors;          // (channels, positions, batch): values of `NeighborWalk`; null for other walks
    int64_t references;          // 4 if heads take the values of neighbors after centers, otherwise 1
    int64_t positions, columns;  // columns: the width of the image
    const double *uniforms;           // (outside + 1, batch, n): random numbers in (0, 1), n for each pixel
    const int64_t *low, *high;        // (outside + 1, batch, channels), or null: limits; they take precedence over sums
    // The range decoders, one for each image, with the fields of auxar/numerics/range_coder.py. Null for draws.
    const uint8_t *bytes;  // (batch, size): the streams, followed by zeros
    int64_t size;
    int64_t *next;           // (batch,): position of the next byte
    uint64_t *code, *width;  // (batch,)
    int64_t known;                // number of places from the first one on whose pixels are known, and not decoded
    const int64_t *known_pixels;  // (known, batch, channels)
};

// Pixels whose ranges of a range coder are computed.
struct Coding {
    Image image;
    const void *constants;     // the head's `Constants`
    int64_t count;             // number of pixels
    const double *parameters;  // (count, parameters of a pixel)
    const int64_t *centers;    // (count, center_count), to which the parameters are relative; null for none
    int64_t center_count;
    const int64_t *values, *low, *high;  // (count, channels): the pixels, and the intervals of their values
    int64_t *starts, *frequencies;       // (count, channels): the results, as `IntegerHead.coding_ranges` gives them
};

// Computes one thread's share of the ranges.
using Ranges = void (*)(const Coding &, int64_t thread, int64_t threads);

using Count = void (*)(const Drawing &, int64_t *counts);

// The functions of a head's compiled code (pixels.h), for Python.
struct HeadCode {
    int64_t constants_size;
    Count count;                     // the numbers of parameters and of random numbers of a pixel
    Source draw_float, draw_double;  // for parameters of either type
    Source decode;                   // for parameters in double; null for heads without frequencies
    Ranges ranges;                   // null for heads without frequencies
};

// The state of a source that copies the pixels of images.
struct Forcing {
    int64_t batch, channels;
    const int64_t *image;  // (outside + 1, batch, channels)
};
