// trine generate: what a model says behind a text. Role: the prompt from the command line or
// stdin, the answer to stdout as it comes. Thread rule: main thread; answer.h computes beside.
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/parts.h"
#include "cli/worker.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PROMPT_BYTES = 64 << 20 };

struct generate_run {
    const struct cli_options *o;
    struct cli_engine engine;
    struct cli_answers answers;
    struct buf prompt;
    struct encoding encoding;
    struct sink out;
    struct cli_answer answer;
};

static bool prompt_is_stdin(const struct cli_options *o) {
    return !o->arg_count || strcmp(o->args[0], "-") == 0;
}

// The line end that `echo` and editors put behind a text is not part of it.
static enum err read_prompt(struct generate_run *r, struct errmsg *msg) {
    if (!prompt_is_stdin(r->o)) {
        buf_puts(&r->prompt, r->o->args[0]);
    } else {
        enum err e = cli_read_text("-", MAX_PROMPT_BYTES, &r->prompt, msg);
        if (e)
            return e;
        if (r->prompt.len && r->prompt.data[r->prompt.len - 1] == '\n')
            r->prompt.len--;
        if (r->prompt.len && r->prompt.data[r->prompt.len - 1] == '\r')
            r->prompt.len--;
    }
    return r->prompt.failed ? err_set(msg, ERR_NOMEM, "no memory for the prompt") : ERR_OK;
}

static enum err generate(struct generate_run *r, struct errmsg *msg) {
    enum err e = read_prompt(r, msg);
    if (!e)
        e = cli_engine_open(r->o, &r->engine, msg);
    if (e)
        return e;
    cli_answers_use(&r->answers, &r->engine);
    struct text text = {r->prompt.data ? r->prompt.data : "", r->prompt.len};
    e = cli_answers_encode(&r->answers, text, true, &r->encoding, msg);
    if (!e && cli_interrupted())
        e = err_set(msg, ERR_CANCELLED, "interrupted");
    sink_init(&r->out, STDOUT_FILENO, "stdout");
    r->out.stop = cli_interrupt_flag();
    if (!e && r->o->echo) {
        buf_append(&r->out.buf, text.bytes, text.len);
        e = sink_flush(&r->out, msg);
    }
    if (!e)
        e = cli_answer_give(&r->answers, r->encoding.ids, r->encoding.len, false, &r->out,
                            &r->answer, msg);
    if (e)
        return e;
    if (isatty(STDOUT_FILENO) && (r->answer.line_open || r->answer.new_tokens == 0)) {
        buf_putc(&r->out.buf, '\n');
        e = sink_flush(&r->out, msg);
    }
    if (!r->o->quiet)
        cli_answer_sum_up(&r->answer);
    return e;
}

int cli_generate(int argc, char **argv) {
    struct cli_options o;
    int exit_code;
    if (!cli_options_read(CLI_GENERATE, argc, argv, &o, &exit_code))
        return exit_code;
    struct errmsg msg = {0};
    struct generate_run r = {.o = &o};
    // that the reader has gone is told by write, like any other failure
    signal(SIGPIPE, SIG_IGN);
    cli_catch_interrupt();
    o.models[0].task = TASK_GENERATE;
    o.models[0].chat_template = "chatml"; // none is used: the model's own may be what it likes
    enum err e = cli_answers_init(&r.answers, &o, &exit_code, &msg);
    if (!e && ((o.arg_count && (e = cli_check_text("PROMPT", o.args[0], &msg))) ||
               (prompt_is_stdin(&o) && (e = cli_check_not_input(NULL, "stdout", "-", &msg)))))
        exit_code = CLI_EXIT_USAGE;
    if (e)
        exit_code =
            exit_code == CLI_EXIT_USAGE ? cli_misuse("generate", &msg) : cli_fail("generate", &msg);
    else if (cli_worker_begin(&o, &msg) || generate(&r, &msg))
        exit_code = cli_fail("generate", &msg);
    else
        exit_code = r.answer.interrupted ? CLI_EXIT_INTERRUPTED : CLI_EXIT_DONE;
    cli_engine_close(&r.engine);
    cli_answers_free(&r.answers);
    cli_answer_free(&r.answer);
    encoding_free(&r.encoding);
    sink_free(&r.out);
    buf_free(&r.prompt);
    cli_worker_end(&o);
    cli_options_free(&o);
    return exit_code;
}
