// See hub.h. The order of a pull, top to bottom.
#include "hub/hub.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "hub/count.h"
#include "hub/fetch.h"
#include "hub/place.h"
#include "hub/record.h"
#include "hub/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LISTING_MAX = 32 << 20, INDEX_MAX = 32 << 20 };
static const uint64_t ROOM_TO_SPARE = 1 << 20; // folders, the record, the staging's names

struct pull {
    const struct hub_options *options;
    const char *revision;
    char endpoint[300];
    struct hub_place place;
    struct hub_record record; // of the folder that stands
    struct hub_count count;
    struct hub_session *session;
    struct hub_listing listing;
    struct hub_files files; // what the folder will hold
};

static bool env_true(const char *name) {
    const char *v = getenv(name);
    return v && (strcmp(v, "1") == 0 || strcasecmp(v, "on") == 0 || strcasecmp(v, "yes") == 0 ||
                 strcasecmp(v, "true") == 0);
}

static enum err check_options(struct pull *p, struct errmsg *msg) {
    const struct hub_options *o = p->options;
    const char *endpoint = getenv("HF_ENDPOINT");
    if (!store_name_valid(o->repo))
        return err_set(msg, ERR_INVALID, "'%.100s' is not a repository's name (org/name)", o->repo);
    // a revision may hold slashes (refs/pr/1), which a file's name also may
    if (!store_file_valid(p->revision))
        return err_set(msg, ERR_INVALID, "'%.100s' is not a revision", p->revision);
    if (o->file && !store_file_valid(o->file))
        return err_set(msg, ERR_INVALID, "'%.100s' is not a file of a repository", o->file);
    if (!endpoint || !*endpoint)
        endpoint = "https://huggingface.co";
    size_t n = strlen(endpoint);
    while (n && endpoint[n - 1] == '/')
        n--;
    if (n >= sizeof p->endpoint)
        return err_set(msg, ERR_INVALID, "HF_ENDPOINT is too long");
    memcpy(p->endpoint, endpoint, n);
    p->endpoint[n] = '\0';
    return ERR_OK;
}

// True when the present folder is of that revision and all its files are as they were recorded.
static enum err is_whole(const struct pull *p, bool *whole, struct errmsg *msg) {
    const struct hub_record *r = &p->record;
    const char *file = p->options->file;
    enum err e = ERR_OK;
    *whole = r->files.count > 0 && (!file || hub_files_find(&r->files, file));
    // a folder of single files is no model
    if (!file && !hub_files_find(&r->files, "config.json"))
        *whole = false;
    for (size_t i = 0; i < r->files.count && *whole && !e; i++)
        e = hub_record_check(r, p->place.folder, &r->files.list[i], whole, msg);
    return e;
}

// Without a connection: checks what is there, or says what is missing.
static enum err pull_offline(struct pull *p, struct errmsg *msg) {
    const struct hub_record *r = &p->record;
    bool whole, matches = !p->options->revision || strcmp(p->revision, r->commit) == 0 ||
                          (r->revision && strcmp(p->revision, r->revision) == 0);
    enum err e = is_whole(p, &whole, msg);
    if (e)
        return e;
    if (!whole || !matches)
        return err_set(msg, ERR_NOT_FOUND,
                       "%s%s%s is not whole in the store, and HF_HUB_OFFLINE forbids to load it",
                       p->options->repo, p->options->revision ? "@" : "",
                       p->options->revision ? p->revision : "");
    progress_note(&p->count.progress, "%s is there; HF_HUB_OFFLINE: not asked for a newer one",
                  p->options->repo);
    return ERR_OK;
}

static enum err out_of_memory(struct errmsg *msg) {
    err_set(msg, ERR_NOMEM, "no memory for a pull");
    return ERR_NOMEM; // said here too, so that static checks see that it is never ERR_OK
}

static enum err ask_listing(struct pull *p, struct errmsg *msg) {
    struct buf path = {0}, text = {0};
    buf_puts(&path, "/api/models/");
    hub_escape(&path, p->options->repo, true);
    buf_puts(&path, "/revision/");
    hub_escape(&path, p->revision, false);
    buf_puts(&path, "?blobs=true");
    bool no_revision = false;
    enum err e = path.failed
                     ? out_of_memory(msg)
                     : hub_fetch_text(p->session, path.data, LISTING_MAX, &text, &no_revision, msg);
    if (e == ERR_NOT_FOUND && no_revision)
        e = err_set(msg, e, "%s has no revision '%.100s'", p->options->repo, p->revision);
    if (!e)
        e = hub_listing_read(text.data ? text.data : "", text.len, &p->listing, msg);
    buf_free(&path);
    buf_free(&text);
    return e;
}

// Loads one file to its staged place, unless it is already there.
static enum err load(struct pull *p, const struct hub_file *file, struct errmsg *msg) {
    char *part = hub_place_staged(&p->place, file, true);
    char *staged = hub_place_staged(&p->place, file, false);
    struct buf path = {0};
    buf_putc(&path, '/');
    hub_escape(&path, p->options->repo, true);
    buf_printf(&path, "/resolve/%s/", p->listing.commit);
    hub_escape(&path, file->name, true);
    enum err e = part && staged && !path.failed ? ERR_OK : out_of_memory(msg);
    if (!e && !file_exists(staged)) {
        e = hub_fetch_file(p->session, path.data, file, part, msg);
        if (!e && rename(part, staged) != 0)
            e = err_set(msg, ERR_IO, "%s: cannot rename: %s", part, strerror(errno));
    }
    mem_free(part);
    mem_free(staged);
    buf_free(&path);
    return e;
}

// Stages a file that need not be loaded: one of the present folder, or one that an earlier pull
// loaded whole. *missing is how many bytes of it are still to come.
static enum err reuse(struct pull *p, const struct hub_file *file, uint64_t *missing,
                      struct errmsg *msg) {
    char *staged = hub_place_staged(&p->place, file, false);
    char *part = hub_place_staged(&p->place, file, true);
    char *standing = file_join(p->place.folder, file->name);
    bool same = false;
    struct stat st;
    enum err e = staged && part && standing ? ERR_OK : out_of_memory(msg);
    *missing = 0;
    if (!e)
        e = hub_check_file(staged, file->kind, file->size, file->hash, &same, msg);
    if (!e && !same && unlink(staged) != 0 && errno != ENOENT)
        e = err_set(msg, ERR_IO, "%s: cannot delete: %s", staged, strerror(errno));
    if (!e && !same) {
        e = hub_record_check(&p->record, p->place.folder, file, &same, msg);
        if (!e && same)
            e = hub_place_link(standing, staged, msg);
    }
    if (!e && !same) {
        uint64_t here = stat(part, &st) == 0 ? (uint64_t)st.st_size : 0;
        *missing = here <= file->size ? file->size - here : file->size;
    }
    mem_free(staged);
    mem_free(part);
    mem_free(standing);
    return e;
}

// The index names the shards, so it is loaded first.
static enum err plan_shards(struct pull *p, struct errmsg *msg) {
    const struct hub_file *index = hub_files_find(&p->files, HUB_INDEX_FILE);
    if (!index || p->options->file)
        return ERR_OK;
    uint64_t missing;
    char *text = NULL, *staged = hub_place_staged(&p->place, index, false);
    size_t len = 0;
    enum err e = staged ? reuse(p, index, &missing, msg) : out_of_memory(msg);
    if (!e)
        e = load(p, index, msg);
    if (!e)
        e = file_read(staged, INDEX_MAX, &text, &len, msg);
    if (!e)
        e = hub_plan_shards(&p->listing, text, len, &p->files, msg);
    mem_free(text);
    mem_free(staged);
    return e;
}

// Keeps files of earlier pulls: all of them when this pull asks for one more file, and .gguf files
// always.
static enum err keep_others(struct pull *p, struct errmsg *msg) {
    enum err e = ERR_OK;
    for (size_t i = 0; i < p->record.files.count && !e; i++) {
        const struct hub_file *f = &p->record.files.list[i];
        size_t n = strlen(f->name);
        bool gguf = n > 5 && strcmp(f->name + n - 5, ".gguf") == 0, same;
        if ((!gguf && !p->options->file) || hub_files_find(&p->files, f->name))
            continue;
        e = hub_record_check(&p->record, p->place.folder, f, &same, msg);
        if (!e && same)
            e = hub_files_add(&p->files, f, msg);
    }
    return e;
}

static enum err load_all(struct pull *p, struct errmsg *msg) {
    uint64_t total = 0, missing = 0;
    enum err e = ERR_OK;
    for (size_t i = 0; i < p->files.count && !e; i++) {
        uint64_t of_this = 0;
        e = reuse(p, &p->files.list[i], &of_this, msg);
        total += p->files.list[i].size;
        missing += of_this;
    }
    if (!e && missing)
        e = hub_place_check_room(&p->place, missing + ROOM_TO_SPARE, msg);
    if (e)
        return e;
    progress_note(&p->count.progress, "pulling %s at %.12s: %zu files, %.1f MiB, %.1f MiB to load",
                  p->options->repo, p->listing.commit, p->files.count, (double)total / (1 << 20),
                  (double)missing / (1 << 20));
    hub_count_begin(&p->count, total, total - missing);
    for (size_t i = 0; i < p->files.count && !e; i++)
        e = load(p, &p->files.list[i], msg);
    if (!e)
        hub_count_end(&p->count);
    else
        progress_note(&p->count.progress, "%.1f of %.1f MiB are here",
                      (double)p->count.done / (1 << 20), (double)total / (1 << 20));
    return e;
}

// True when the present folder is exactly what this pull would make.
static enum err is_current(const struct pull *p, bool *current, struct errmsg *msg) {
    enum err e = ERR_OK;
    *current =
        strcmp(p->record.commit, p->listing.commit) == 0 && p->record.files.count == p->files.count;
    for (size_t i = 0; i < p->files.count && *current && !e; i++) {
        const struct hub_file *f = &p->files.list[i];
        if (hub_files_find(&p->record.files, f->name))
            e = hub_record_check(&p->record, p->place.folder, f, current, msg);
        else
            *current = false;
    }
    return e;
}

static enum err pull_online(struct pull *p, struct errmsg *msg) {
    const struct hub_session_options session = {.endpoint = p->endpoint,
                                                .token = getenv("HF_TOKEN"),
                                                .repo = p->options->repo,
                                                .count = &p->count,
                                                .stop = p->options->stop};
    enum err e = hub_session_open(&session, &p->session, msg);
    if (!e)
        e = ask_listing(p, msg);
    if (!e)
        e = hub_plan_files(&p->listing, p->options->file, &p->files, msg);
    if (e == ERR_UNSUPPORTED || (e == ERR_NOT_FOUND && p->listing.root))
        e = err_prefix(msg, e, "%s", p->options->repo);
    if (!e)
        e = hub_place_open(&p->place, msg);
    // another pull may have finished between
    hub_record_free(&p->record);
    if (!e)
        e = hub_record_read(p->place.folder, &p->record, msg);
    if (!e)
        e = plan_shards(p, msg);
    if (!e)
        e = keep_others(p, msg);
    bool current = false;
    if (!e)
        e = is_current(p, &current, msg);
    if (!e && current) {
        progress_note(&p->count.progress, "%s at %.12s is there", p->options->repo,
                      p->listing.commit);
        // an interrupted pull of another revision may have left parts; they may be wanted again
        (void)rmdir(p->place.part);
        return ERR_OK;
    }
    if (!e)
        e = load_all(p, msg);
    if (!e)
        e = hub_place_commit(&p->place, &p->files, p->options->repo, p->revision, p->listing.commit,
                             msg);
    return e;
}

static enum err pull_to(struct pull *p, const char *store, struct errmsg *msg) {
    const struct hub_options *o = p->options;
    bool whole = false;
    enum err e = hub_place_name(&p->place, store, o->repo, msg);
    if (!e)
        e = hub_record_read(p->place.folder, &p->record, msg);
    if (e)
        return e;
    if (env_true("HF_HUB_OFFLINE"))
        return pull_offline(p, msg);
    // a commit never changes: what is there needs no hub to be known as right
    if (p->record.commit[0] && strcmp(p->revision, p->record.commit) == 0)
        e = is_whole(p, &whole, msg);
    if (!e && whole)
        progress_note(&p->count.progress, "%s at %.12s is there", o->repo, p->record.commit);
    return e || whole ? e : pull_online(p, msg);
}

enum err hub_pull(const struct hub_options *options, char **folder, struct errmsg *msg) {
    struct pull p = {.options = options,
                     .revision = options->revision ? options->revision : "main",
                     .place = {.lock = -1}};
    char *root = NULL;
    if (folder)
        *folder = NULL;
    hub_count_init(&p.count, options->progress_fd, options->quiet);
    enum err e = check_options(&p, msg);
    if (!e && !options->store)
        e = store_root(&root, msg);
    if (!e)
        e = pull_to(&p, options->store ? options->store : root, msg);
    if (!e && folder) {
        *folder = p.place.folder;
        p.place.folder = NULL;
    }
    hub_session_close(p.session);
    hub_listing_free(&p.listing);
    hub_files_free(&p.files);
    hub_record_free(&p.record);
    hub_place_close(&p.place);
    mem_free(root);
    return e;
}
