// A model whose finite weights overflow in the forward pass: the jobs that meet them fail, and
// those beside them in the same batch, of the same model, have the bits that they have alone.
#include "base/json.h"
#include "engine/replica_local.h"
#include "tests/kit/replica_kit.h"
#include "tests/kit/scratch.h"
#include "tests/kit/test_device.h"
#include "tests/unit/scheduler_kit.h"

#include <dirent.h>
#include <math.h>
#include <unistd.h>

#define MODEL "tests/golden/data/bert-mean-st6"
#define TABLE "\"embeddings.word_embeddings.weight\""

enum { BAD = 100, DIM = 24 }; // the token whose row overflows when it is summed

static struct device *device;
static struct replica *replica;
static struct model *model;

static char *read_all(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    char *data = NULL;
    if (CHECK(f != NULL) && fseek(f, 0, SEEK_END) == 0) {
        *len = (size_t)ftell(f);
        data = calloc(*len + 1, 1);
        rewind(f);
        CHECK(fread(data, 1, *len, f) == *len);
    }
    if (f)
        fclose(f);
    return data;
}

// The model's folder with one row of its table made large.
static void make_model(void) {
    char target[600], cwd[256];
    CHECK(getcwd(cwd, sizeof cwd) != NULL);
    DIR *d = opendir(MODEL);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.' || strcmp(e->d_name, "model.safetensors") == 0)
            continue;
        snprintf(target, sizeof target, "%s/" MODEL "/%s", cwd, e->d_name);
        CHECK(symlink(target, scratch_path(e->d_name)) == 0);
    }
    closedir(d);
    size_t len = 0;
    char *data = read_all(MODEL "/model.safetensors", &len);
    uint64_t header = 0;
    memcpy(&header, data, sizeof header);
    const char *at = strstr(data + 8, TABLE);
    at = at ? strstr(at, "\"data_offsets\":[") : NULL;
    if (!CHECK(at != NULL))
        return;
    size_t begin = 8 + (size_t)header + strtoul(at + strlen("\"data_offsets\":["), NULL, 10);
    for (size_t i = 0; i < DIM; i++) {
        float big = 3.3e38f;
        memcpy(data + begin + (BAD * DIM + i) * sizeof big, &big, sizeof big);
    }
    FILE *f = fopen(scratch_path("model.safetensors"), "wb");
    CHECK(f && fwrite(data, 1, len, f) == len && fclose(f) == 0);
    free(data);
}

// bad: a token of the second text is the one that overflows.
static struct test_job *job(uint32_t seed, bool bad) {
    struct test_job *t = job_new(model, 3, 10, seed, LANE_BULK);
    for (int32_t i = 0; i < t->job.cu_seqlens[3]; i++)
        if (t->job.ids[i] == BAD)
            ((int32_t *)t->job.ids)[i] = BAD + 1;
    if (bad)
        ((int32_t *)t->job.ids)[t->job.cu_seqlens[1]] = BAD;
    return t;
}

static void overflow(void) {
    enum { JOBS = 30 };
    struct scheduler_options o = {.replica = replica, .models = &model, .model_count = 1};
    struct scheduler *s = NULL;
    struct errmsg msg = {0};
    CHECK_OK(scheduler_start(&o, &s, &msg), msg);
    CHECK_OK(scheduler_wait_ready(s, &msg), msg);
    struct test_job *alone[JOBS], *t[JOBS];
    for (uint32_t i = 0; i < JOBS; i++) {
        alone[i] = job(i, false);
        scheduler_submit(s, &alone[i]->job);
        job_wait(alone[i]);
        CHECK_INT(alone[i]->job.err, ERR_OK);
    }
    for (uint32_t i = 0; i < JOBS; i++) {
        t[i] = job(i, i % 3 == 1);
        scheduler_submit(s, &t[i]->job);
    }
    for (uint32_t i = 0; i < JOBS; i++) {
        job_wait(t[i]);
        if (i % 3 == 1) {
            CHECK_INT(t[i]->job.err, ERR_NONFINITE);
            CHECK(strstr(t[i]->job.msg.text, "not finite") != NULL);
        } else {
            CHECK_INT(t[i]->job.err, ERR_OK);
            CHECK(memcmp(t[i]->job.out, alone[i]->job.out, 3 * DIM * sizeof(float)) == 0);
            for (size_t k = 0; k < 3 * DIM; k++)
                CHECK(isfinite(t[i]->job.out[k]));
        }
        job_free(t[i]);
        job_free(alone[i]);
    }
    struct scheduler_stats stats = scheduler_read_stats(s);
    CHECK_INT(stats.jobs_failed, JOBS / 3);
    CHECK_INT(stats.jobs_done, 2 * JOBS - JOBS / 3);
    scheduler_stop(s, 1000000);
}

int main(void) {
    json_init();
    struct errmsg msg = {0};
    struct cpu_options cpu = {.threads = 2};
    CHECK_OK(test_device_new(&cpu, &device, &msg), msg);
    CHECK_OK(replica_local_new(device, &replica, &msg), msg);
    make_model();
    CHECK_OK(kit_model_load(scratch_folder(), &model, &msg), msg);
    CHECK_OK(kit_replica_load(replica, model, &msg), msg);
    if (!check_failed)
        overflow();
    model_release(model);
    replica_free(replica);
    test_device_free(device);
    return check_done();
}
