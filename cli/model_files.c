// See model_files.h.
#define _GNU_SOURCE // DT_DIR
#include "cli/model_files.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "cli/parts.h"
#include "hub/store.h"
#include "weights/gguf.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_DEPTH = 3 }; // folders within a model's folder: modules, further templates

struct check {
    const char *output, *what; // output NULL: stdout
    struct stat out;           // of the output, if it is there
    bool there;
    struct stat parent; // of the folder that it lies in, unless it is stdout
    bool has_parent;
};

static bool same(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

// Whether commands write files of such a name: an earlier run's output beside a model may be
// written again.
static bool is_result(const char *name) {
    const char *ending = cli_ending(name);
    if (cli_ending_is(ending, ".txt"))
        return strcmp(name, "vocab.txt") != 0 && strcmp(name, "merges.txt") != 0;
    return cli_ending_is(ending, ".jsonl|.ndjson|.npy|.f32|.csv|.tsv|.log|.partial") ||
           text_ends_with(name, ".partial.json");
}

// Whether a file of this name would be read from a model's folder if it were there.
static bool would_be_read(const char *name) {
    return !is_result(name) &&
           cli_ending_is(cli_ending(name), ".json|.safetensors|.jinja|.gguf|.txt|.model");
}

static enum err refuse(const struct check *c, const char *file, struct errmsg *msg) {
    return err_set(msg, ERR_INVALID,
                   c->there ? "%s: the same file as %s of the model, which it would overwrite"
                            : "%s: the name of a file of the model, as which it would be read: %s",
                   c->what, file);
}

static enum err check_file(const struct check *c, const char *path, struct errmsg *msg) {
    struct stat st;
    if (!c->there || stat(path, &st) != 0 || !same(&st, &c->out))
        return ERR_OK;
    return refuse(c, path, msg);
}

static enum err check_folder(const struct check *c, const char *folder, int depth,
                             struct errmsg *msg);

static enum err check_entry(const struct check *c, const char *folder, const char *name, int depth,
                            struct errmsg *msg) {
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return ERR_OK;
    char *path = file_join(folder, name);
    if (!path)
        return err_set(msg, ERR_NOMEM, "%s: no memory", folder);
    enum err e = ERR_OK;
    if (file_is_dir(path))
        e = depth < MOST_DEPTH && name[0] != '.' ? check_folder(c, path, depth + 1, msg) : ERR_OK;
    else if (!is_result(name))
        e = check_file(c, path, msg);
    mem_free(path);
    return e;
}

static enum err check_folder(const struct check *c, const char *folder, int depth,
                             struct errmsg *msg) {
    struct stat st;
    if (c->has_parent && !c->there && would_be_read(last_part(c->output)) &&
        stat(folder, &st) == 0 && same(&st, &c->parent))
        return refuse(c, c->output, msg);
    DIR *d = opendir(folder);
    if (!d)
        return ERR_OK; // what cannot be listed is told where it is read
    enum err e = ERR_OK;
    for (const struct dirent *entry; !e && (entry = readdir(d));)
        e = check_entry(c, folder, entry->d_name, depth, msg);
    closedir(d);
    return e;
}

// A .gguf file, and the other parts of a split one.
static enum err check_parts(const struct check *c, const char *path, struct errmsg *msg) {
    enum err e = check_file(c, path, msg);
    char *part;
    for (size_t i = 1; !e && gguf_part_path(path, i, &part); i++) {
        e = part ? check_file(c, part, msg) : err_set(msg, ERR_NOMEM, "%s: no memory", path);
        mem_free(part);
    }
    return e;
}

static enum err find_parent(struct check *c, struct errmsg *msg) {
    const char *name = last_part(c->output);
    size_t n = (size_t)(name - c->output);
    char *folder = n ? mem_strndup(c->output, n) : mem_strndup(".", 1);
    if (!folder)
        return err_set(msg, ERR_NOMEM, "%s: no memory", c->output);
    c->has_parent = stat(folder, &c->parent) == 0;
    mem_free(folder);
    return ERR_OK;
}

enum err cli_check_not_model(const char *output, const char *what, const char *spec,
                             struct errmsg *msg) {
    struct check c = {.output = output, .what = what};
    c.there = (output ? stat(output, &c.out) : fstat(STDOUT_FILENO, &c.out)) == 0;
    if (c.there && !S_ISREG(c.out.st_mode))
        return ERR_OK;
    char *path;
    if (store_resolve(spec, &path, NULL))
        return ERR_OK; // no model: that is told where it is opened
    enum err e = output ? find_parent(&c, msg) : ERR_OK;
    if (!e)
        e = file_is_dir(path) ? check_folder(&c, path, 0, msg) : check_parts(&c, path, msg);
    mem_free(path);
    return e;
}
