// See embed_journal.h.
#include "cli/embed_journal.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { JOURNAL_MAX_BYTES = 1 << 20, FORMAT = 1 };
#define MOST_ROWS (INT64_C(1) << 53)

static enum err no_memory(const struct embed_journal *j, struct errmsg *msg) {
    return err_set(msg, ERR_NOMEM, "%s: no memory", j->path ? j->path : "the journal");
}

enum err embed_journal_new(const char *partial, struct embed_journal *j, struct errmsg *msg) {
    *j = (struct embed_journal){.identity = cJSON_CreateObject()};
    size_t n = strlen(partial) + sizeof ".json";
    j->path = mem_alloc(n, 1);
    if (!j->path || !j->identity)
        return no_memory(j, msg);
    snprintf(j->path, n, "%s.json", partial);
    return ERR_OK;
}

enum err embed_journal_identify(struct embed_journal *j, const char *key, const char *value,
                                struct errmsg *msg) {
    return cJSON_AddStringToObject(j->identity, key, value) ? ERR_OK : no_memory(j, msg);
}

static enum err compare_identity(const struct embed_journal *j, const cJSON *was,
                                 struct errmsg *msg) {
    const cJSON *now;
    cJSON_ArrayForEach(now, j->identity) {
        const char *old;
        enum err e = json_get_string(was, now->string, "nothing", &old, msg);
        if (e)
            return e;
        if (strcmp(old, now->valuestring) != 0)
            return err_set(msg, ERR_INVALID,
                           "cannot resume: %s was '%.80s' and is '%.80s'; use the same, or start "
                           "anew without --resume",
                           now->string, old, now->valuestring);
    }
    return ERR_OK;
}

static enum err read_counts(struct embed_journal *j, const cJSON *root, struct errmsg *msg) {
    int64_t format, rows, bytes, truncated;
    const char *texts;
    enum err e = json_get_int(root, "format", 0, FORMAT, 0, &format, msg);
    if (!e)
        e = json_get_int(root, "rows", 0, MOST_ROWS, -1, &rows, msg);
    if (!e)
        e = json_get_int(root, "bytes", 0, MOST_ROWS, -1, &bytes, msg);
    if (!e)
        e = json_get_int(root, "truncated", 0, MOST_ROWS, 0, &truncated, msg);
    if (!e)
        e = json_get_string(root, "texts", NULL, &texts, msg);
    if (e)
        return e;
    unsigned long long h;
    int end = 0;
    bool ok = format == FORMAT && rows >= 0 && bytes >= 0 && texts &&
              sscanf(texts, "%16llx%n", &h, &end) == 1 && !texts[end];
    if (!ok)
        return err_set(msg, ERR_INVALID, "not a journal of this program");
    j->rows = (uint64_t)rows;
    j->bytes = (uint64_t)bytes;
    j->truncated = (uint64_t)truncated;
    j->texts = h;
    return ERR_OK;
}

enum err embed_journal_load(struct embed_journal *j, bool *found, struct errmsg *msg) {
    cJSON *root = NULL;
    *found = file_exists(j->path);
    if (!*found)
        return ERR_OK;
    enum err e = json_parse_file(j->path, JOURNAL_MAX_BYTES, &root, msg);
    if (e)
        return e;
    const cJSON *was = json_get(root, "run");
    if (!cJSON_IsObject(was))
        e = err_set(msg, ERR_INVALID, "%s: not a journal of this program", j->path);
    else if (!(e = compare_identity(j, was, msg)) && (e = read_counts(j, root, msg)))
        e = err_prefix(msg, e, "%s", j->path);
    cJSON_Delete(root);
    return e;
}

enum err embed_journal_save(const struct embed_journal *j, struct errmsg *msg) {
    cJSON *root = cJSON_CreateObject();
    char texts[24];
    snprintf(texts, sizeof texts, "%016llx", (unsigned long long)j->texts);
    bool ok = root && cJSON_AddNumberToObject(root, "format", FORMAT) &&
              cJSON_AddNumberToObject(root, "rows", (double)j->rows) &&
              cJSON_AddNumberToObject(root, "bytes", (double)j->bytes) &&
              cJSON_AddNumberToObject(root, "truncated", (double)j->truncated) &&
              cJSON_AddStringToObject(root, "texts", texts) &&
              cJSON_AddItemReferenceToObject(root, "run", j->identity);
    char *text = ok ? cJSON_Print(root) : NULL;
    enum err e = text ? file_write_atomic(j->path, text, strlen(text), msg) : no_memory(j, msg);
    cJSON_free(text);
    cJSON_Delete(root);
    return e;
}

void embed_journal_remove(const struct embed_journal *j) {
    if (j->path)
        (void)unlink(j->path);
}

void embed_journal_free(struct embed_journal *j) {
    mem_free(j->path);
    cJSON_Delete(j->identity);
    *j = (struct embed_journal){0};
}
