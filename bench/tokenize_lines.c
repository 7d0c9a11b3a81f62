// Tokenizes lines: one JSON string (or an array of two, a pair) a line on stdin, the ids separated
// by spaces a line on stdout, MB/s of text on one thread to stderr, by the clock and by CPU time.
//   bench/tokenize_lines --model DIR|FILE.gguf [--spans] [--quiet] [--repeat N] [--max-length N]
//                        [--strategy longest_first|only_first|only_second] [--left] < lines.jsonl
// --decode prints the text of the ids instead, as a JSON string, specials left out; it fails where
// the same ids one at a time give another text, or a part that is not whole UTF-8. --spans adds
// type ids, byte spans and special flags; a line that cannot be cut to fit prints "-".
#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "tokenizer/token_stream.h"
#include "weights/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct line {
    char *first, *second; // second is NULL for one text
    struct text a, b;
};

struct settings {
    const char *model;
    bool spans, quiet, decode;
    long repeat;
    struct tokenizer_options options;
};

static bool read_settings(int argc, char **argv, struct settings *s) {
    *s = (struct settings){.repeat = 1, .options = {.add_special_tokens = true}};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--spans") == 0) {
            s->spans = true;
        } else if (strcmp(argv[i], "--quiet") == 0) {
            s->quiet = true;
        } else if (strcmp(argv[i], "--decode") == 0) {
            s->decode = true;
        } else if (strcmp(argv[i], "--left") == 0) {
            s->options.side = TRUNCATE_LEFT;
        } else if (strcmp(argv[i], "--model") == 0) {
            s->model = argv[++i];
        } else if (strcmp(argv[i], "--repeat") == 0) {
            s->repeat = strtol(value, NULL, 10);
            i++;
        } else if (strcmp(argv[i], "--max-length") == 0) {
            s->options.max_length = strtoul(value, NULL, 10);
            if (!s->options.truncate)
                s->options.truncate = TRUNCATE_LONGEST_FIRST;
            i++;
        } else if (strcmp(argv[i], "--strategy") == 0) {
            s->options.truncate = strcmp(value, "only_first") == 0    ? TRUNCATE_ONLY_FIRST
                                  : strcmp(value, "only_second") == 0 ? TRUNCATE_ONLY_SECOND
                                                                      : TRUNCATE_LONGEST_FIRST;
            i++;
        } else {
            return false;
        }
    }
    return s->model && s->repeat > 0;
}

static char *read_all(FILE *f, size_t *len) {
    struct buf b = {0};
    char block[65536];
    for (size_t n; (n = fread(block, 1, sizeof block, f)) > 0;)
        buf_append(&b, block, n);
    *len = b.len;
    return b.failed ? NULL : b.data;
}

static char *copy_string(const cJSON *item) {
    return cJSON_IsString(item) ? mem_strndup(item->valuestring, strlen(item->valuestring)) : NULL;
}

static enum err parse_line(const char *s, size_t len, struct line *line, struct errmsg *msg) {
    cJSON *root;
    enum err e = json_parse(s, len, &json_limits_file, &root, NULL, msg);
    if (e)
        return e;
    *line = (struct line){0};
    if (cJSON_IsArray(root)) {
        line->first = copy_string(cJSON_GetArrayItem(root, 0));
        line->second = copy_string(cJSON_GetArrayItem(root, 1));
    } else {
        line->first = copy_string(root);
    }
    bool ok = line->first && (line->second || !cJSON_IsArray(root));
    cJSON_Delete(root);
    if (!ok)
        return err_set(msg, ERR_INVALID, "a line must be a string or an array of two");
    line->a = (struct text){line->first, strlen(line->first)};
    if (line->second)
        line->b = (struct text){line->second, strlen(line->second)};
    return ERR_OK;
}

static enum err parse_lines(const char *text, size_t len, struct line **lines, size_t *count,
                            struct errmsg *msg) {
    size_t cap = 1;
    for (size_t i = 0; i < len; i++)
        cap += text[i] == '\n';
    *count = 0;
    *lines = mem_calloc(cap, sizeof **lines);
    if (!*lines)
        return err_set(msg, ERR_NOMEM, "no memory for %zu lines", cap);
    for (size_t at = 0; at < len;) {
        const char *stop = memchr(text + at, '\n', len - at);
        size_t end = stop ? (size_t)(stop - text) : len;
        enum err e = end > at ? parse_line(text + at, end - at, &(*lines)[*count], msg) : ERR_OK;
        if (e)
            return err_prefix(msg, e, "line %zu", *count + 1);
        *count += end > at;
        at = end + 1;
    }
    return ERR_OK;
}

static void print_encoding(const struct encoding *e, bool spans, struct buf *out) {
    for (size_t i = 0; i < e->len; i++) {
        if (spans)
            buf_printf(out, "%s%d:%d:%u:%u:%d", i ? " " : "", e->ids[i], e->type_ids[i],
                       e->spans[i].begin, e->spans[i].end, e->special[i]);
        else
            buf_printf(out, "%s%d", i ? " " : "", e->ids[i]);
    }
    buf_putc(out, '\n');
}

static enum err stream(const struct tokenizer *t, const struct encoding *e, struct buf *out,
                       struct errmsg *msg) {
    struct token_stream s;
    token_stream_init(&s, t, true);
    for (size_t i = 0; i < e->len; i++) {
        size_t before = out->len;
        enum err code = token_stream_add(&s, e->ids[i], out, msg);
        if (code)
            return code;
        if (out->len > before && !utf8_valid(out->data + before, out->len - before, NULL))
            return err_set(msg, ERR_INTERNAL, "token %zu gave out part of a character", i);
    }
    token_stream_end(&s, out);
    return out->failed ? err_set(msg, ERR_NOMEM, "no memory for the text") : ERR_OK;
}

static enum err print_decoded(const struct tokenizer *t, const struct encoding *e, struct buf *out,
                              struct errmsg *msg) {
    struct buf text = {0}, streamed = {0};
    enum err code = tokenizer_decode(t, e->ids, e->len, true, &text, msg);
    if (!code)
        code = stream(t, e, &streamed, msg);
    if (!code &&
        (text.len != streamed.len || (text.len && memcmp(text.data, streamed.data, text.len) != 0)))
        code = err_set(msg, ERR_INTERNAL, "token by token the text is another");
    json_quote(out, text.data ? text.data : "", text.len);
    buf_putc(out, '\n');
    buf_free(&text);
    buf_free(&streamed);
    return code;
}

static enum err encode_lines(const struct settings *s, const struct tokenizer *t,
                             const struct line *lines, size_t count, struct buf *out,
                             struct errmsg *msg) {
    struct tokenizer_scratch *scratch;
    struct encoding encoding = {0};
    size_t bytes = 0, tokens = 0;
    enum err e = tokenizer_scratch_new(t, &scratch);
    int64_t start = clock_now_us(), printing = 0;
    clock_t cpu_start = clock(), cpu_printing = 0;
    for (long r = 0; r < s->repeat && !e; r++)
        for (size_t i = 0; i < count && !e; i++) {
            e = tokenizer_encode(t, scratch, lines[i].a, lines[i].second ? &lines[i].b : NULL,
                                 &s->options, &encoding, msg);
            bytes += lines[i].a.len + lines[i].b.len;
            bool fits = e != ERR_INVALID;
            if (fits)
                tokens += encoding.len;
            else
                e = ERR_OK;
            if (s->quiet || e)
                continue;
            int64_t before = clock_now_us();
            clock_t cpu_before = clock();
            if (fits && s->decode)
                e = print_decoded(t, &encoding, out, msg);
            else if (fits)
                print_encoding(&encoding, s->spans, out);
            else
                buf_puts(out, "-\n");
            printing += clock_now_us() - before;
            cpu_printing += clock() - cpu_before;
        }
    double seconds = (double)(clock_now_us() - start - printing) / 1e6;
    double busy = (double)(clock() - cpu_start - cpu_printing) / CLOCKS_PER_SEC;
    fprintf(stderr,
            "%zu lines, %zu bytes, %zu tokens in %.3f s: %.1f MB/s (CPU time %.3f s: %.1f MB/s)\n",
            count, bytes, tokens, seconds, (double)bytes / 1e6 / seconds, busy,
            (double)bytes / 1e6 / busy);
    encoding_free(&encoding);
    tokenizer_scratch_free(scratch);
    return e;
}

static enum err load(const char *model, struct tokenizer **t, struct errmsg *msg) {
    if (!gguf_is_file(model))
        return tokenizer_load(model, 0, t, msg);
    struct gguf *g;
    enum err e = gguf_open(model, &g, msg);
    if (!e)
        e = tokenizer_load_gguf(g, 0, t, msg);
    gguf_close(g);
    return e;
}

int main(int argc, char **argv) {
    struct settings s;
    if (!read_settings(argc, argv, &s)) {
        fprintf(stderr, "usage: tokenize_lines --model DIR|FILE.gguf [--spans] [--decode] "
                        "[--quiet] [--repeat N] "
                        "[--max-length N] [--strategy S] [--left] < lines.jsonl\n");
        return 2;
    }
    struct errmsg msg = {0};
    struct tokenizer *t = NULL;
    struct line *lines = NULL;
    struct buf out = {0};
    size_t len, count = 0;
    int64_t start = clock_now_us();
    enum err e = load(s.model, &t, &msg);
    fprintf(stderr, "loaded in %.1f ms\n", (double)(clock_now_us() - start) / 1e3);
    char *text = read_all(stdin, &len);
    if (!e)
        e = parse_lines(text, len, &lines, &count, &msg);
    if (!e)
        e = encode_lines(&s, t, lines, count, &out, &msg);
    if (!e && out.len && fwrite(out.data, 1, out.len, stdout) != out.len)
        e = err_set(&msg, ERR_IO, "cannot write");
    if (e)
        fprintf(stderr, "%s: %s\n", err_name(e), msg.text);
    for (size_t i = 0; i < count; i++) {
        mem_free(lines[i].first);
        mem_free(lines[i].second);
    }
    mem_free(lines);
    mem_free(text);
    buf_free(&out);
    tokenizer_free(t);
    return e ? 1 : 0;
}
