// A CUDA runtime of a test's own, linked in the place of NVIDIA's: two cards whose memory is the
// host's, streams that do at once what they are asked, and a call that fails when it is told to.
// Role: what cuda_api.c and cuda_stream.c do around their calls, which no machine without a card
// could run otherwise. It refuses what the runtime would: a stream or an event of another card than
// the thread's current one. Thread rule: one thread at a time (a test joins before it looks).
#ifndef TRINE_TESTS_CUDA_FAKE_CUDART_H
#define TRINE_TESTS_CUDA_FAKE_CUDART_H

#include <cuda_runtime.h>
#include <stdbool.h>
#include <stddef.h>

enum { FAKE_CARDS = 2 };

struct fake_cudart {
    int driver, cards;
    int major[FAKE_CARDS], minor[FAKE_CARDS];
    size_t memory; // what a card has; more is cudaErrorMemoryAllocation

    // The call of this name gives this error, once, after `behind` that do not.
    const char *fail_call;
    cudaError_t fail;
    int behind;
    bool lost; // that error stays: every later call gives it

    // What has been asked.
    cudaError_t last;                         // not yet taken by cudaGetLastError
    size_t held;                              // bytes of cards' memory
    int host_blocks, streams, events, graphs; // alive
    int streams_of[FAKE_CARDS];               // made
    int launches;                             // of graphs
    int uploads;
    int loaded; // kernels whose attributes were asked
    int shared; // that the last kernel may have
    unsigned device_flags, event_flags, stream_flags;
    enum cudaStreamCaptureMode capture_mode;
};
extern struct fake_cudart fake_cudart;

void fake_cudart_reset(void); // two cards of 9.0 with 1 MiB left beside workspaces

#endif
