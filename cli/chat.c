// trine chat: a conversation. Role: reads a line, renders the whole conversation with the model's
// chat template, and prints the answer as it comes. The whole prompt goes to the scheduler each
// time; the scheduler's prefix cache has what was computed before. Thread rule: main thread;
// answer.h computes on others.
#include "cli/chat.h"

#include "base/json.h"
#include "cli/answer.h"
#include "cli/cli.h"
#include "cli/lines.h"
#include "cli/parts.h"
#include "cli/worker.h"
#include "engine/chat_variables.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct chat_run {
    const struct cli_options *o;
    bool terminal; // somebody types
    struct cli_engine engine;
    struct cli_answers answers;
    struct lines in;
    bool in_open;
    struct buf messages; // what was said, as JSON without its brackets
    struct buf prompt;
    struct encoding encoding;
    struct sink out;
};

static void add_message(struct chat_run *r, const char *role, const char *bytes, size_t len) {
    struct buf *b = &r->messages;
    buf_printf(b, "%s{\"role\":\"%s\",\"content\":", b->len ? "," : "", role);
    json_quote(b, bytes, len);
    buf_putc(b, '}');
}

static void begin_conversation(struct chat_run *r) {
    buf_reset(&r->messages);
    if (r->o->system)
        add_message(r, "system", r->o->system, strlen(r->o->system));
}

static enum err render(struct chat_run *r, struct errmsg *msg) {
    const struct model *m = r->engine.model;
    struct template_variable v[CHAT_VARIABLES];
    struct json_tree *tree = NULL;
    struct buf list = {0};
    buf_putc(&list, '[');
    buf_append(&list, r->messages.data, r->messages.len);
    buf_putc(&list, ']');
    buf_reset(&r->prompt);
    enum err e = ERR_OK;
    if (r->messages.failed || list.failed)
        e = err_set(msg, ERR_NOMEM, "no memory for the conversation");
    if (!e)
        e = json_tree_parse(list.data, list.len, &json_limits_file, &tree, NULL, msg);
    if (!e) {
        size_t n = chat_variables(&m->generation, json_tree_root(tree), NULL, true, v);
        e = template_render(m->chat_template, v, n, NULL, &r->prompt, msg);
    }
    json_tree_free(tree);
    buf_free(&list);
    return e;
}

// A template writes its special tokens itself.
static enum err answer(struct chat_run *r, struct cli_answer *said, struct errmsg *msg) {
    enum err e = render(r, msg);
    struct text text = {r->prompt.data ? r->prompt.data : "", r->prompt.len};
    if (!e)
        e = cli_answers_encode(&r->answers, text, false, &r->encoding, msg);
    if (!e)
        e = cli_answer_give(&r->answers, r->encoding.ids, r->encoding.len, true, &r->out, said,
                            msg);
    if (e)
        return e;
    buf_putc(&r->out.buf, '\n');
    if ((e = sink_flush(&r->out, msg)))
        return e;
    if (!r->o->quiet)
        cli_answer_sum_up(said);
    add_message(r, "assistant", said->text.data ? said->text.data : "", said->text.len);
    return ERR_OK;
}

// Answers one line. Somebody who types is told what was wrong and can go on.
static enum err take_turn(struct chat_run *r, struct text line, struct errmsg *msg) {
    struct cli_answer said = {0};
    size_t before = r->messages.len;
    add_message(r, "user", line.bytes, line.len);
    enum err e = answer(r, &said, msg);
    cli_answer_free(&said);
    if (!e && said.interrupted && !cli_forget_interrupt())
        return err_set(msg, ERR_CANCELLED, "interrupted");
    if ((e == ERR_INVALID || e == ERR_TOO_LARGE) && r->terminal) {
        r->messages.len = before;
        (void)cli_fail("chat", msg);
        fprintf(stderr, "(/reset begins a new conversation)\n");
        e = ERR_OK;
    }
    return e;
}

static bool is_word(struct text line, const char *word) {
    while (line.len && (line.bytes[line.len - 1] == ' ' || line.bytes[line.len - 1] == '\t'))
        line.len--;
    return line.len == strlen(word) && memcmp(line.bytes, word, line.len) == 0;
}

static enum err talk(struct chat_run *r, struct errmsg *msg) {
    for (;;) {
        struct text line;
        bool more;
        if (r->terminal)
            fputs("> ", stderr);
        enum err e = lines_next(&r->in, false, &line, &more, msg);
        if (e == ERR_INVALID && r->terminal) { // a line of other bytes than text
            (void)cli_fail("chat", msg);
            continue;
        }
        if (r->terminal && (e || !more))
            fputc('\n', stderr);
        if (e || !more || is_word(line, "/exit"))
            return e;
        if (is_word(line, "/reset"))
            begin_conversation(r);
        else if (!is_word(line, ""))
            e = take_turn(r, line, msg);
        if (e)
            return e;
    }
}

static enum err chat(struct chat_run *r, struct errmsg *msg) {
    enum err e = cli_engine_open(r->o, &r->engine, msg);
    if (e)
        return e;
    const struct model *m = r->engine.model;
    if (!m->chat_template)
        return err_set(msg, ERR_UNSUPPORTED,
                       "model '%s' cannot chat: %s; start with --chat-template FILE|chatml",
                       m->name, m->template_msg.text);
    cli_answers_use(&r->answers, &r->engine);
    sink_init(&r->out, STDOUT_FILENO, "stdout");
    r->out.stop = cli_interrupt_flag();
    if ((e = lines_open(&r->in, NULL, msg)))
        return e;
    r->in_open = true;
    r->in.stop = cli_interrupt_flag();
    r->terminal = isatty(STDIN_FILENO) == 1;
    begin_conversation(r);
    if (r->terminal && !r->o->quiet)
        fprintf(stderr, "%s; /reset forgets what was said, /exit ends, Ctrl-C stops an answer\n",
                m->name);
    return talk(r, msg);
}

static enum err converse(const struct cli_options *o, int *exit_code, struct errmsg *msg) {
    struct chat_run r = {.o = o};
    enum err e = cli_answers_init(&r.answers, o, exit_code, msg);
    if (!e && ((o->system && (e = cli_check_text("--system", o->system, msg))) ||
               (e = cli_check_not_input(NULL, "stdout", "-", msg))))
        *exit_code = CLI_EXIT_USAGE;
    if (!e) {
        *exit_code = CLI_EXIT_FAILED;
        e = chat(&r, msg);
    }
    if (r.in_open)
        lines_close(&r.in);
    cli_engine_close(&r.engine);
    cli_answers_free(&r.answers);
    encoding_free(&r.encoding);
    sink_free(&r.out);
    buf_free(&r.messages);
    buf_free(&r.prompt);
    return e;
}

int cli_chat(int argc, char **argv) {
    struct cli_options o;
    int exit_code;
    if (!cli_options_read(CLI_CHAT, argc, argv, &o, &exit_code))
        return exit_code;
    struct errmsg msg = {0};
    exit_code = CLI_EXIT_FAILED;
    signal(SIGPIPE, SIG_IGN); // a reader that has gone is heard of from write
    cli_catch_interrupt();
    o.models[0].task = TASK_GENERATE;
    enum err e = ERR_OK;
    if (o.render && (e = cli_check_not_input(NULL, "stdout", o.render, &msg)))
        exit_code = CLI_EXIT_USAGE;
    if (!e && !o.render)
        e = cli_worker_begin(&o, &msg);
    if (!e)
        e = o.render ? cli_chat_render(&o, &msg) : converse(&o, &exit_code, &msg);
    if (!e)
        exit_code = CLI_EXIT_DONE;
    else
        exit_code = exit_code == CLI_EXIT_USAGE ? cli_misuse("chat", &msg) : cli_fail("chat", &msg);
    cli_worker_end(&o);
    cli_options_free(&o);
    return exit_code;
}
