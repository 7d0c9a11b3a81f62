// In what precision a model is computed. Role: what a device does with the weights that it is given
// (device.h), as plain data for those who choose it. Thread rule: plain data.
#ifndef TRINE_COMPUTE_PRECISION_H
#define TRINE_COMPUTE_PRECISION_H

// How the device keeps a weight's floats. Block types (q4_0 ...) stay as they are in any case.
enum weight_storage {
    WEIGHT_STORAGE_F32,    // narrow floats are widened in memory: the fastest products of f32
    WEIGHT_STORAGE_STORED, // f16 and bf16 stay so and are widened in registers: the same numbers
};

// What a product may round activations to: a set, for what they meet says which of them counts.
// Without either they are f32.
enum activation_rounding {
    ACTIVATION_ROUNDING_NONE = 0,
    ACTIVATION_ROUNDING_INT8 = 1, // in front of block types: int8 in blocks
    // In front of a weight whose parts are all kept as bf16, where the device multiplies pairs of
    // them at once: bf16.
    ACTIVATION_ROUNDING_BF16 = 2,
    ACTIVATION_ROUNDING_NARROW = ACTIVATION_ROUNDING_INT8 | ACTIVATION_ROUNDING_BF16,
};

// In what floats a device with matrix units for narrow ones (a GPU) computes: activations, and
// weights that are kept as floats. The CPU computes in f32 whatever this says. Sums are f32.
enum compute_floats {
    COMPUTE_F32,    // products of f32 too: no tf32
    COMPUTE_DEVICE, // narrow ones, of the kind that the device has
    COMPUTE_BF16,
    COMPUTE_F16,
};

// Of a weight; zeros are f32 throughout.
struct precision {
    enum weight_storage storage;
    enum activation_rounding rounding;
    enum compute_floats floats;
};

#endif
