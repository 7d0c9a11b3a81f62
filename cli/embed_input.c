// See embed_input.h.
#include "cli/embed_input.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int format_of(const struct cli_options *o, const char *path) {
    const char *ending = cli_ending(path);
    if (o->input_format != CLI_INPUT_AUTO)
        return o->input_format;
    if (cli_ending_is(ending, ".jsonl|.ndjson"))
        return CLI_INPUT_JSONL;
    return cli_ending_is(ending, ".csv") ? CLI_INPUT_CSV : CLI_INPUT_LINES;
}

// Endings of files that do not hold one text a line. About other endings nothing is known: texts
// come under every name.
static const char other_kinds[] =
    ".json|.tsv|.parquet|.arrow|.feather|.avro|.orc|.xlsx|.xls|.ods|.docx|.pdf|.gz|.bz2|.xz|.zst|"
    ".zip|.7z|.tar|.tgz|.npy|.npz|.f32|.safetensors|.gguf";

static const char *path_of(const struct embed_input *in, size_t i) {
    return in->o->arg_count ? in->o->args[i] : "-";
}

static size_t file_count(const struct embed_input *in) {
    return in->o->arg_count ? in->o->arg_count : 1;
}

static enum err check_file(const struct embed_input *in, size_t at, struct errmsg *msg) {
    const struct cli_options *o = in->o;
    const char *path = path_of(in, at), *name = strcmp(path, "-") == 0 ? "stdin" : path;
    static const char *const of_records[] = {"field", "id"};
    if (o->input_format == CLI_INPUT_AUTO && cli_ending_is(cli_ending(path), other_kinds))
        return err_set(
            msg, ERR_INVALID,
            "%s: %s files are not read by their name; --input-format lines, jsonl or csv "
            "says what is in it",
            name, cli_ending(path));
    int format = format_of(o, path);
    for (size_t i = 0; i < 2 && format == CLI_INPUT_LINES; i++)
        if (cli_given(o, of_records[i]))
            return err_set(msg, ERR_INVALID,
                           "--%s: %s is read as lines, which have no such part; --input-format "
                           "jsonl or csv says what it is",
                           of_records[i], name);
    if (format != CLI_INPUT_CSV && cli_given(o, "header"))
        return err_set(msg, ERR_INVALID,
                       "--header: %s is not read as CSV; --input-format csv says "
                       "that it is",
                       name);
    return ERR_OK;
}

enum err embed_input_check_flags(const struct cli_options *o, struct errmsg *msg) {
    struct embed_input in = {.o = o};
    enum err e = ERR_OK;
    for (size_t i = 0; i < file_count(&in) && !e; i++)
        e = check_file(&in, i, msg);
    return e;
}

enum err embed_input_check_output(const struct cli_options *o, const char *output, const char *what,
                                  struct errmsg *msg) {
    struct embed_input in = {.o = o};
    enum err e = ERR_OK;
    for (size_t i = 0; i < file_count(&in) && !e; i++)
        e = cli_check_not_input(output, what, path_of(&in, i), msg);
    return e;
}

enum err embed_input_open(struct embed_input *in, const struct cli_options *o,
                          const atomic_bool *stop, struct errmsg *msg) {
    *in = (struct embed_input){.o = o, .stop = stop};
    bool known = true;
    for (size_t i = 0; i < file_count(in); i++) {
        struct stat st;
        const char *path = path_of(in, i);
        bool is_stdin = strcmp(path, "-") == 0;
        // A mistyped name should be told before hours of work, not after. The file is not opened:
        // the writer of a FIFO would see its reader leave.
        if (!is_stdin && access(path, R_OK) != 0)
            return err_set(msg, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: cannot read: %s",
                           path, strerror(errno));
        if (!is_stdin && stat(path, &st) == 0 && S_ISREG(st.st_mode))
            in->total += (uint64_t)st.st_size;
        else
            known = false;
    }
    if (!known)
        in->total = 0;
    return ERR_OK;
}

uint64_t embed_input_bytes(const struct embed_input *in) {
    return in->bytes + (in->open ? in->lines.bytes : 0);
}

static void close_file(struct embed_input *in) {
    in->bytes += in->lines.bytes;
    lines_close(&in->lines);
    in->open = false;
}

void embed_input_close(struct embed_input *in) {
    if (in->open)
        close_file(in);
    csv_record_free(&in->record);
    buf_free(&in->text);
    buf_free(&in->id);
}

// --- CSV ---

static bool as_number(const char *s, size_t *n) {
    char *end;
    if (*s < '0' || *s > '9')
        return false;
    unsigned long long v = strtoull(s, &end, 10);
    *n = (size_t)v;
    return *end == '\0' && v > 0 && v < SIZE_MAX;
}

static enum err find_column(const struct embed_input *in, const char *option, const char *name,
                            bool header, size_t *column, struct errmsg *msg) {
    size_t number;
    for (size_t i = 0; header && i < in->record.count; i++) {
        struct text field = csv_field(&in->record, i);
        if (field.len == strlen(name) && memcmp(field.bytes, name, field.len) == 0) {
            *column = i;
            return ERR_OK;
        }
    }
    if (as_number(name, &number)) {
        *column = number - 1;
        return ERR_OK;
    }
    if (!header)
        return err_set(msg, ERR_INVALID,
                       "%s: --%s '%s' is a name, but --header no says that there are none",
                       in->lines.name, option, name);
    return err_set(msg, ERR_INVALID, "%s: no column is named '%s' (--%s)", in->lines.name, name,
                   option);
}

static enum err start_csv(struct embed_input *in, struct errmsg *msg) {
    const struct cli_options *o = in->o;
    size_t number;
    bool header = o->header == CLI_YES || (o->header == CLI_AUTO && !as_number(o->field, &number));
    bool more = true;
    enum err e = header ? csv_next(&in->lines, &in->record, &more, msg) : ERR_OK;
    if (e || !more) // an empty file holds no records, and no header to complain about
        return e;
    in->columns = header ? in->record.count : 0;
    in->id_column = SIZE_MAX;
    e = find_column(in, "field", o->field, header, &in->text_column, msg);
    if (!e && o->id)
        e = find_column(in, "id", o->id, header, &in->id_column, msg);
    return e;
}

static enum err next_csv(struct embed_input *in, struct embed_record *out, bool *more,
                         struct errmsg *msg) {
    struct csv_record *r = &in->record;
    enum err e;
    do {
        if ((e = csv_next(&in->lines, r, more, msg)) || !*more)
            return e;
        // A blank line is a record only when records have one field.
    } while (r->count == 1 && r->bytes.len == 0 &&
             (in->columns ? in->columns > 1 : in->text_column > 0));
    if (in->text_column >= r->count)
        return err_set(msg, ERR_INVALID, "%s:%zu: %zu fields, the text would be number %zu",
                       in->lines.name, r->line, r->count, in->text_column + 1);
    out->text = csv_field(r, in->text_column);
    if (in->id_column == SIZE_MAX)
        return ERR_OK;
    if (in->id_column >= r->count)
        return err_set(msg, ERR_INVALID, "%s:%zu: %zu fields, the id would be number %zu",
                       in->lines.name, r->line, r->count, in->id_column + 1);
    struct text id = csv_field(r, in->id_column);
    json_quote(&in->id, id.bytes, id.len);
    return ERR_OK;
}

// --- JSONL ---

static size_t skip_space(struct text t, size_t i) {
    while (i < t.len && strchr(" \t\r\n", t.bytes[i]))
        i++;
    return i;
}

// The end of the value that begins at i, in JSON that has been checked.
static size_t skip_value(struct text t, size_t i) {
    size_t depth = 0;
    do {
        char c = t.bytes[i++];
        if (c == '"') {
            while (t.bytes[i] != '"')
                i += t.bytes[i] == '\\' ? 2 : 1;
            i++;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        } else if (depth == 0) {
            while (i < t.len && !strchr(",}] \t\r\n", t.bytes[i]))
                i++;
        }
    } while (depth);
    return i;
}

// Writes the string that a JSON string literal stands for to out.
static enum err unquote(struct text literal, struct buf *out, struct errmsg *msg) {
    if (!memchr(literal.bytes, '\\', literal.len)) {
        buf_append(out, literal.bytes + 1, literal.len - 2);
        return ERR_OK;
    }
    cJSON *value = cJSON_ParseWithLength(literal.bytes, literal.len);
    if (!value || !cJSON_IsString(value)) {
        cJSON_Delete(value);
        return err_set(msg, ERR_NOMEM, "no memory for a string of %zu bytes", literal.len);
    }
    buf_puts(out, value->valuestring);
    cJSON_Delete(value);
    return ERR_OK;
}

static bool literal_is(struct text literal, const char *name, struct buf *scratch) {
    struct errmsg ignored;
    buf_reset(scratch);
    if (unquote(literal, scratch, &ignored))
        return false;
    return scratch->len == strlen(name) && (scratch->len == 0 || !strcmp(scratch->data, name));
}

// The member's value as the source spells it (an id keeps its digits); len 0: absent.
static struct text find_member(struct text object, const char *name, struct buf *scratch) {
    size_t i = skip_space(object, 0) + 1;
    for (;;) {
        i = skip_space(object, i);
        if (object.bytes[i] == '}')
            return (struct text){0};
        size_t end = skip_value(object, i);
        struct text key = {object.bytes + i, end - i};
        i = skip_space(object, skip_space(object, end) + 1); // over the colon
        end = skip_value(object, i);
        if (literal_is(key, name, scratch))
            return (struct text){object.bytes + i, end - i};
        i = skip_space(object, end);
        if (object.bytes[i] == ',')
            i++;
    }
}

static enum err bad_line(const struct embed_input *in, const char *why, const char *name,
                         struct errmsg *msg) {
    return err_set(msg, ERR_INVALID, "%s:%zu: '%s' %s", in->lines.name, in->lines.line, name, why);
}

static enum err next_jsonl(struct embed_input *in, struct embed_record *out, bool *more,
                           struct errmsg *msg) {
    struct text line;
    enum err e;
    do {
        if ((e = lines_next(&in->lines, false, &line, more, msg)) || !*more)
            return e;
    } while (skip_space(line, 0) == line.len); // a blank line holds no record
    e = json_check(line.bytes, line.len, &json_limits_request, NULL, msg);
    if (!e && line.bytes[skip_space(line, 0)] != '{')
        e = err_set(msg, ERR_INVALID, "not a JSON object");
    if (e)
        return err_prefix(msg, e, "%s:%zu", in->lines.name, in->lines.line);
    struct text value = find_member(line, in->o->field, &in->text);
    if (!value.len || *value.bytes != '"')
        return bad_line(in, value.len ? "is not a string" : "is missing (--field)", in->o->field,
                        msg);
    if (in->o->id) {
        struct text id = find_member(line, in->o->id, &in->text);
        if (!id.len || strchr("{[tfn", *id.bytes))
            return bad_line(in, id.len ? "is neither a string nor a number" : "is missing (--id)",
                            in->o->id, msg);
        buf_append(&in->id, id.bytes, id.len);
    }
    buf_reset(&in->text);
    if ((e = unquote(value, &in->text, msg)))
        return err_prefix(msg, e, "%s:%zu", in->lines.name, in->lines.line);
    out->text = (struct text){in->text.data ? in->text.data : "", in->text.len};
    return ERR_OK;
}

// --- all of them ---

static enum err open_next(struct embed_input *in, bool *more, struct errmsg *msg) {
    *more = in->file < file_count(in);
    if (!*more)
        return ERR_OK;
    const char *path = path_of(in, in->file++);
    enum err e = lines_open(&in->lines, path, msg);
    if (e)
        return e;
    in->lines.stop = in->stop;
    in->open = true;
    in->format = format_of(in->o, path);
    return in->format == CLI_INPUT_CSV ? start_csv(in, msg) : ERR_OK;
}

static enum err next_of_file(struct embed_input *in, struct embed_record *out, bool *more,
                             struct errmsg *msg) {
    if (in->format == CLI_INPUT_JSONL)
        return next_jsonl(in, out, more, msg);
    if (in->format == CLI_INPUT_CSV)
        return next_csv(in, out, more, msg);
    return lines_next(&in->lines, false, &out->text, more, msg);
}

enum err embed_input_next(struct embed_input *in, struct embed_record *record, bool *more,
                          struct errmsg *msg) {
    for (;;) {
        enum err e;
        if (!in->open) {
            if ((e = open_next(in, more, msg)) || !*more)
                return e;
        }
        buf_reset(&in->id);
        if ((e = next_of_file(in, record, more, msg)))
            return e;
        if (!*more) {
            close_file(in);
            continue;
        }
        uint64_t index = in->next_index++;
        if (record->text.len == 0 && in->o->empty == CLI_EMPTY_SKIP)
            continue;
        if (record->text.len == 0 && in->o->empty == CLI_EMPTY_ERROR)
            return err_set(msg, ERR_INVALID,
                           "%s:%zu: an empty text; --empty skip or embed lets it "
                           "pass",
                           in->lines.name, in->lines.line);
        if (in->id.len == 0)
            buf_printf(&in->id, "%llu", (unsigned long long)index);
        if (in->id.failed || in->text.failed)
            return err_set(msg, ERR_NOMEM, "%s:%zu: no memory for the record", in->lines.name,
                           in->lines.line);
        record->id = (struct text){in->id.data, in->id.len};
        return ERR_OK;
    }
}
