// See rows.h.
#include "compute/cpu/rows.h"

#include "compute/cpu/share.h"

enum { TASK_FLOATS = 1 << 13 }; // a share, about: a few microseconds

struct rows_job {
    rows_fn *fn;
    const void *op;
    size_t rows, tasks;
};

static void run_task(void *job, size_t task, int worker) {
    const struct rows_job *j = job;
    size_t from, to;
    share_range(j->rows, j->tasks, task, &from, &to);
    for (size_t r = from; r < to; r++)
        j->fn(j->op, r, worker);
}

void rows_run(struct cpu_device *c, size_t rows, size_t floats_per_row, rows_fn *fn,
              const void *op) {
    struct rows_job j = {fn, op, rows, at_most(rows, ceil_div(rows * floats_per_row, TASK_FLOATS))};
    team_run(c->team, j.tasks, run_task, &j);
}
