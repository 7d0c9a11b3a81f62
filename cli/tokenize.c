// trine tokenize: text to ids, pieces and byte spans, and ids back to text. Role: the tokenizer
// alone, no weights are read. Thread rule: main thread.
#include "base/json.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/lines.h"
#include "cli/options.h"
#include "cli/parts.h"
#include "cli/sink.h"
#include "engine/model.h"
#include "hub/store.h"
#include "tokenizer/tokenizer.h"

#include <string.h>
#include <unistd.h>

struct tokenize_run {
    const struct cli_options *o;
    struct tokenizer *tokenizer;
    struct tokenizer_scratch *scratch;
    struct tokenizer_options encode;
    struct encoding encoding;
    struct lines in;
    struct sink out;
    struct buf decoded;
    int32_t *ids; // [id_cap], owned: of a line to decode
    size_t id_cap;
    size_t results;
};

// --- printing ---

// When only ids are printed, buf_printf would cost more than all the rest.
static void print_number(struct buf *out, int64_t v) {
    char digits[24];
    size_t at = sizeof digits;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do {
        digits[--at] = (char)('0' + u % 10);
        u /= 10;
    } while (u);
    if (v < 0)
        digits[--at] = '-';
    buf_append(out, digits + at, sizeof digits - at);
}

static void print_ids(struct buf *out, const struct encoding *e) {
    for (size_t i = 0; i < e->len; i++) {
        if (i)
            buf_putc(out, ' ');
        print_number(out, e->ids[i]);
    }
    buf_putc(out, '\n');
}

// A piece may hold a tab or a newline (byte-level vocabularies, added tokens).
static void print_piece(struct buf *out, const char *piece) {
    for (const char *p = piece ? piece : ""; *p; p++) {
        if (*p == '\t')
            buf_puts(out, "\\t");
        else if (*p == '\n')
            buf_puts(out, "\\n");
        else if (*p == '\r')
            buf_puts(out, "\\r");
        else if (*p == '\\')
            buf_puts(out, "\\\\");
        else
            buf_putc(out, *p);
    }
}

static void print_table(struct buf *out, const struct tokenizer *t, const struct encoding *e) {
    for (size_t i = 0; i < e->len; i++) {
        print_number(out, e->ids[i]);
        buf_putc(out, '\t');
        print_piece(out, tokenizer_piece(t, e->ids[i]));
        buf_putc(out, '\t');
        print_number(out, e->spans[i].begin);
        buf_putc(out, '\t');
        print_number(out, e->spans[i].end);
        buf_putc(out, '\n');
    }
}

static void print_json(struct buf *out, const struct tokenizer *t, const struct encoding *e) {
    buf_puts(out, "{\"ids\":[");
    for (size_t i = 0; i < e->len; i++) {
        if (i)
            buf_putc(out, ',');
        print_number(out, e->ids[i]);
    }
    buf_puts(out, "],\"pieces\":[");
    for (size_t i = 0; i < e->len; i++) {
        const char *piece = tokenizer_piece(t, e->ids[i]);
        if (i)
            buf_putc(out, ',');
        if (piece)
            json_quote(out, piece, strlen(piece));
        else
            buf_puts(out, "null");
    }
    buf_puts(out, "],\"spans\":[");
    for (size_t i = 0; i < e->len; i++)
        buf_printf(out, "%s[%u,%u]", i ? "," : "", e->spans[i].begin, e->spans[i].end);
    buf_puts(out, "],\"type_ids\":[");
    for (size_t i = 0; i < e->len; i++)
        buf_printf(out, "%s%d", i ? "," : "", e->type_ids[i]);
    buf_puts(out, "],\"special\":[");
    for (size_t i = 0; i < e->len; i++)
        buf_printf(out, "%s%d", i ? "," : "", e->special[i]);
    buf_printf(out, "],\"full_length\":%zu}\n", e->full_len);
}

static enum err encode_and_print(struct tokenize_run *r, struct text text, const struct text *pair,
                                 struct errmsg *msg) {
    enum err e =
        tokenizer_encode(r->tokenizer, r->scratch, text, pair, &r->encode, &r->encoding, msg);
    if (e)
        return e;
    struct buf *out = &r->out.buf;
    if (r->o->ids) {
        print_ids(out, &r->encoding);
    } else if (r->o->jsonl) {
        print_json(out, r->tokenizer, &r->encoding);
    } else {
        if (r->results)
            buf_putc(out, '\n');
        print_table(out, r->tokenizer, &r->encoding);
    }
    r->results++;
    return sink_settle(&r->out, msg);
}

// --- one line of input ---

static enum err at_line(const struct tokenize_run *r, enum err e, struct errmsg *msg) {
    return err_prefix(msg, e, "%s:%zu", r->in.name, r->in.line);
}

static bool take_text(const cJSON *value, struct text *out) {
    if (!cJSON_IsString(value))
        return false;
    *out = (struct text){value->valuestring, strlen(value->valuestring)};
    return true;
}

static enum err encode_json_line(struct tokenize_run *r, struct text line, struct errmsg *msg) {
    cJSON *root = NULL;
    enum err e = json_parse(line.bytes, line.len, &json_limits_request, &root, NULL, msg);
    if (e)
        return at_line(r, e, msg);
    struct text text, pair;
    if (take_text(root, &text))
        e = encode_and_print(r, text, NULL, msg);
    else if (cJSON_IsArray(root) && cJSON_GetArraySize(root) == 2 &&
             take_text(cJSON_GetArrayItem(root, 0), &text) &&
             take_text(cJSON_GetArrayItem(root, 1), &pair))
        e = encode_and_print(r, text, &pair, msg);
    else
        e = err_set(msg, ERR_INVALID, "must be a JSON string or an array of two strings");
    cJSON_Delete(root);
    return e ? at_line(r, e, msg) : ERR_OK;
}

static enum err add_id(struct tokenize_run *r, size_t n, int64_t id, struct errmsg *msg) {
    if (id < 0 || id > INT32_MAX)
        return err_set(msg, ERR_INVALID, "%lld is not a token id", (long long)id);
    if (n == r->id_cap) {
        size_t cap = n ? n * 2 : 256;
        int32_t *ids = mem_realloc(r->ids, cap, sizeof *ids);
        if (!ids)
            return err_set(msg, ERR_NOMEM, "no memory for %zu ids", cap);
        r->ids = ids;
        r->id_cap = cap;
    }
    r->ids[n] = (int32_t)id;
    return ERR_OK;
}

static enum err read_plain_ids(struct tokenize_run *r, struct text line, size_t *count,
                               struct errmsg *msg) {
    size_t i = 0;
    *count = 0;
    for (;;) {
        while (i < line.len && (line.bytes[i] == ' ' || line.bytes[i] == '\t'))
            i++;
        if (i == line.len)
            return ERR_OK;
        size_t begin = i;
        int64_t v = 0;
        for (; i < line.len && line.bytes[i] >= '0' && line.bytes[i] <= '9' && v <= INT32_MAX; i++)
            v = v * 10 + (line.bytes[i] - '0');
        if (i == begin || (i < line.len && line.bytes[i] != ' ' && line.bytes[i] != '\t'))
            return err_set(msg, ERR_INVALID, "not a token id at byte %zu of the line", begin);
        enum err e = add_id(r, (*count)++, v, msg);
        if (e)
            return e;
    }
}

static enum err read_json_ids(struct tokenize_run *r, struct text line, size_t *count,
                              struct errmsg *msg) {
    cJSON *root = NULL;
    enum err e = json_parse(line.bytes, line.len, &json_limits_request, &root, NULL, msg);
    if (e)
        return e;
    *count = 0;
    if (!cJSON_IsArray(root))
        e = err_set(msg, ERR_INVALID, "must be a JSON array of token ids");
    const cJSON *item;
    cJSON_ArrayForEach(item, root) {
        if (e)
            break;
        double v = cJSON_IsNumber(item) ? item->valuedouble : -1;
        if (!(v >= 0 && v <= INT32_MAX) || v != (double)(int64_t)v)
            e = err_set(msg, ERR_INVALID, "element %zu is not a token id", *count);
        else
            e = add_id(r, (*count)++, (int64_t)v, msg);
    }
    cJSON_Delete(root);
    return e;
}

static enum err decode_line(struct tokenize_run *r, struct text line, struct errmsg *msg) {
    size_t n;
    enum err e = r->o->jsonl ? read_json_ids(r, line, &n, msg) : read_plain_ids(r, line, &n, msg);
    buf_reset(&r->decoded);
    if (!e)
        e = tokenizer_decode(r->tokenizer, r->ids, n, r->o->no_special, &r->decoded, msg);
    if (e)
        return at_line(r, e, msg);
    const char *text = r->decoded.data ? r->decoded.data : "";
    if (r->decoded.failed)
        return err_set(msg, ERR_NOMEM, "no memory for a decoded text");
    if (r->o->jsonl)
        json_quote(&r->out.buf, text, r->decoded.len);
    else
        buf_append(&r->out.buf, text, r->decoded.len);
    buf_putc(&r->out.buf, '\n');
    return sink_settle(&r->out, msg);
}

// A peer at the other end of two pipes may be waiting for this: it must not stay in the buffer.
static enum err before_wait(void *ctx, struct errmsg *msg) {
    return sink_flush(&((struct tokenize_run *)ctx)->out, msg);
}

static enum err run_stdin(struct tokenize_run *r, struct errmsg *msg) {
    enum err e = lines_open(&r->in, NULL, msg);
    if (e)
        return e;
    r->in.before_wait = before_wait;
    r->in.ctx = r;
    for (;;) {
        struct text line;
        bool more;
        if ((e = lines_next(&r->in, false, &line, &more, msg)) || !more)
            break;
        if (r->o->decode)
            e = decode_line(r, line, msg);
        else if (r->o->jsonl)
            e = encode_json_line(r, line, msg);
        else if ((e = encode_and_print(r, line, NULL, msg)))
            e = at_line(r, e, msg);
        if (e)
            break;
    }
    lines_close(&r->in);
    return e;
}

static enum err run_argument(struct tokenize_run *r, struct errmsg *msg) {
    struct text text = {r->o->args[0], strlen(r->o->args[0])};
    if (r->o->decode) {
        r->in.name = "argument";
        r->in.line = 1;
        return decode_line(r, text, msg);
    }
    struct text pair = {r->o->pair, r->o->pair ? strlen(r->o->pair) : 0};
    return encode_and_print(r, text, r->o->pair ? &pair : NULL, msg);
}

// --- the command ---

static enum err run_all(struct tokenize_run *r, struct errmsg *msg) {
    char *path = NULL, *files = NULL;
    enum err e = store_resolve(r->o->models[0].spec, &path, msg);
    if (!e)
        e = model_find_files(path, &files, msg);
    if (!e)
        e = model_load_tokenizer(files, 0, &r->tokenizer, msg);
    mem_free(files);
    mem_free(path);
    if (e)
        return e;
    if (tokenizer_scratch_new(r->tokenizer, &r->scratch))
        return err_set(msg, ERR_NOMEM, "no memory for the tokenizer");
    size_t max_length = r->o->models[0].max_length;
    r->encode = (struct tokenizer_options){
        .add_special_tokens = !r->o->no_special,
        .truncate = max_length ? (enum truncate_strategy)r->o->truncate : TRUNCATE_NONE,
        .side = tokenizer_side(r->tokenizer),
        .max_length = max_length,
    };
    sink_init(&r->out, STDOUT_FILENO, "stdout");
    e = r->o->arg_count ? run_argument(r, msg) : run_stdin(r, msg);
    // What came before a bad line is still written.
    enum err last = sink_flush(&r->out, e ? NULL : msg);
    return e ? e : last;
}

int cli_tokenize(int argc, char **argv) {
    struct cli_options o;
    int exit_code;
    if (!cli_options_read(CLI_TOKENIZE, argc, argv, &o, &exit_code))
        return exit_code;
    struct errmsg msg = {0};
    struct tokenize_run r = {.o = &o};
    enum err usage = ERR_OK;
    if (o.pair && !o.arg_count)
        usage = err_set(&msg, ERR_INVALID, "--pair goes with a TEXT to encode");
    if (!usage && o.pair)
        usage = cli_check_text("--pair", o.pair, &msg);
    if (!usage && o.arg_count)
        usage = cli_check_text("TEXT", o.args[0], &msg);
    else if (!usage)
        usage = cli_check_not_input(NULL, "stdout", "-", &msg);
    if (usage) {
        exit_code = cli_misuse("tokenize", &msg);
    } else {
        exit_code = run_all(&r, &msg) ? cli_fail("tokenize", &msg) : CLI_EXIT_DONE;
    }
    encoding_free(&r.encoding);
    tokenizer_scratch_free(r.scratch);
    tokenizer_free(r.tokenizer);
    sink_free(&r.out);
    buf_free(&r.decoded);
    mem_free(r.ids);
    cli_options_free(&o);
    return exit_code;
}
