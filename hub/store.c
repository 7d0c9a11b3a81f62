// See store.h.
#include "hub/store.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "weights/gguf.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *env(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static enum err no_memory(struct errmsg *msg) {
    err_set(msg, ERR_NOMEM, "no memory for a path");
    return ERR_NOMEM; // said here too, so that static checks see that it is never ERR_OK
}

// a + b + c into a new string.
static char *concat(const char *a, const char *b, const char *c) {
    size_t n = strlen(a) + strlen(b) + strlen(c) + 1;
    char *p = mem_alloc(n, 1);
    if (p)
        snprintf(p, n, "%s%s%s", a, b, c);
    return p;
}

static enum err home_path(const char *below, char **path, struct errmsg *msg) {
    const char *cache = env("XDG_CACHE_HOME"), *home = env("HOME");
    if (!cache && !home) {
        err_set(msg, ERR_NOT_FOUND, "no HOME in the environment: set TRINE_HOME");
        return ERR_NOT_FOUND;
    }
    *path = cache ? concat(cache, "/", below) : concat(home, "/.cache/", below);
    return *path ? ERR_OK : no_memory(msg);
}

enum err store_root(char **path, struct errmsg *msg) {
    const char *own = env("TRINE_HOME");
    if (!own)
        return home_path("trine", path, msg);
    *path = mem_strndup(own, strlen(own));
    return *path ? ERR_OK : no_memory(msg);
}

static enum err hub_cache(char **path, struct errmsg *msg) {
    const char *cache = env("HF_HUB_CACHE"), *home = env("HF_HOME");
    if (!cache && !home)
        return home_path("huggingface/hub", path, msg);
    *path = cache ? mem_strndup(cache, strlen(cache)) : concat(home, "/hub", "");
    return *path ? ERR_OK : no_memory(msg);
}

static bool word_char(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool part_valid(const char *s, size_t n) {
    if (n < 1 || n > 96 || !word_char(s[0]) || !word_char(s[n - 1]))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!word_char(s[i]) && s[i] != '.' && s[i] != '-')
            return false;
        if (i && (s[i] == '.' || s[i] == '-') && s[i] == s[i - 1])
            return false;
    }
    return true;
}

bool store_name_valid(const char *name) {
    const char *slash = strchr(name, '/');
    if (text_ends_with(name, ".git"))
        return false;
    if (!slash)
        return part_valid(name, strlen(name));
    return part_valid(name, (size_t)(slash - name)) && part_valid(slash + 1, strlen(slash + 1));
}

bool store_file_valid(const char *file) {
    if (!*file || strlen(file) > 512)
        return false;
    for (const char *part = file;;) {
        size_t n = strcspn(part, "/");
        if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)part[i] < 32 || part[i] == 127 || part[i] == '\\')
                return false;
        if (!part[n])
            return true;
        part += n + 1;
    }
}

// Counts the .gguf files in a folder (of a split one, the first part only). *path: the last one
// seen (mem_free).
static size_t count_gguf(const char *folder, char **path) {
    size_t n = 0;
    *path = NULL;
    DIR *dir = opendir(folder);
    if (!dir)
        return 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.' || !text_ends_with(entry->d_name, ".gguf") ||
            gguf_is_later_part(entry->d_name))
            continue;
        n++;
        mem_free(*path);
        *path = file_join(folder, entry->d_name);
    }
    closedir(dir);
    return n;
}

static enum err has(const char *folder, const char *file, bool *there, struct errmsg *msg) {
    char *path = file_join(folder, file);
    if (!path)
        return no_memory(msg);
    *there = file_exists(path);
    mem_free(path);
    return ERR_OK;
}

// Finds what can be loaded from a folder that a name led to: the folder itself, or its one .gguf
// file. *path stays NULL (with ERR_OK) when there is nothing whole: the hub's cache has many
// folders with nothing but a tokenizer.
static enum err usable(const char *folder, const char *file, char **path, struct errmsg *msg) {
    *path = NULL;
    if (*file) {
        char *inside = file_join(folder, file);
        if (!inside)
            return no_memory(msg);
        if (file_exists(inside))
            *path = inside;
        else
            mem_free(inside);
        return ERR_OK;
    }
    bool config = false, weights = false, index = false;
    enum err e = has(folder, "config.json", &config, msg);
    if (!e)
        e = has(folder, "model.safetensors", &weights, msg);
    if (!e)
        e = has(folder, "model.safetensors.index.json", &index, msg);
    if (e)
        return e;
    if (config && (weights || index)) {
        *path = mem_strndup(folder, strlen(folder));
        return *path ? ERR_OK : no_memory(msg);
    }
    char *gguf;
    size_t n = count_gguf(folder, &gguf);
    if (n == 1) {
        *path = gguf;
        return gguf ? ERR_OK : no_memory(msg);
    }
    mem_free(gguf);
    if (n)
        return err_set(msg, ERR_INVALID, "%s holds %zu .gguf files: name one of them", folder, n);
    return ERR_OK;
}

// The snapshot that refs/main names, else the newest whole one.
static enum err in_snapshots(const char *repo_folder, const char *file, char **path,
                             struct errmsg *msg) {
    enum err e = ERR_OK;
    char *snapshots = file_join(repo_folder, "snapshots");
    char *ref = file_join(repo_folder, "refs/main");
    char *commit = NULL;
    size_t len;
    *path = NULL;
    if (!snapshots || !ref) {
        e = no_memory(msg);
    } else if (!file_read(ref, 64, &commit, &len, NULL)) {
        commit[strcspn(commit, "\r\n")] = '\0';
        if (strlen(commit) == 40 && strspn(commit, "0123456789abcdef") == 40) {
            char *folder = file_join(snapshots, commit);
            e = folder ? usable(folder, file, path, msg) : no_memory(msg);
            mem_free(folder);
        }
        mem_free(commit);
    }
    DIR *dir = e || *path ? NULL : opendir(snapshots);
    struct timespec newest = {0};
    for (struct dirent *entry; dir && !e && (entry = readdir(dir));) {
        struct stat st;
        char *found = NULL;
        if (entry->d_name[0] == '.')
            continue;
        char *folder = file_join(snapshots, entry->d_name);
        if (!folder)
            e = no_memory(msg);
        else if (stat(folder, &st) == 0)
            e = usable(folder, file, &found, msg);
        if (found &&
            (!*path || st.st_mtim.tv_sec > newest.tv_sec ||
             (st.st_mtim.tv_sec == newest.tv_sec && st.st_mtim.tv_nsec > newest.tv_nsec))) {
            mem_free(*path);
            *path = found;
            newest = st.st_mtim;
        } else {
            mem_free(found);
        }
        mem_free(folder);
    }
    if (dir)
        closedir(dir);
    mem_free(snapshots);
    mem_free(ref);
    if (e) {
        mem_free(*path);
        *path = NULL;
    }
    return e;
}

// A name cut into its parts: "org/name/dir/file.gguf" -> repo "org/name", file "dir/file.gguf".
struct parts {
    char repo[200];
    char file[520];
};

static bool split(const char *name, struct parts *parts) {
    const char *first = strchr(name, '/'), *second = first ? strchr(first + 1, '/') : NULL;
    size_t repo_len = second ? (size_t)(second - name) : strlen(name);
    *parts = (struct parts){0};
    if (repo_len >= sizeof parts->repo)
        return false;
    memcpy(parts->repo, name, repo_len);
    if (second) {
        if (!store_file_valid(second + 1) || !text_ends_with(second + 1, ".gguf"))
            return false;
        snprintf(parts->file, sizeof parts->file, "%s", second + 1);
    }
    return store_name_valid(parts->repo);
}

struct search {
    struct parts parts;
    char *models;     // <store>/models
    char *cache;      // the hub's
    char *found;      // the one match, owned
    struct buf names; // all matches of a bare name, for the message
    size_t count;
};

static enum err look(struct search *s, const char *folder, bool in_cache, const char *shown,
                     struct errmsg *msg) {
    char *path;
    enum err e = in_cache ? in_snapshots(folder, s->parts.file, &path, msg)
                          : usable(folder, s->parts.file, &path, msg);
    if (e || !path)
        return e;
    s->count++;
    buf_printf(&s->names, "%s%s", s->count > 1 ? ", " : "", shown);
    if (s->found)
        mem_free(path);
    else
        s->found = path;
    return s->names.failed ? no_memory(msg) : ERR_OK;
}

static enum err look_exact(struct search *s, bool in_cache, struct errmsg *msg) {
    char *folder;
    if (in_cache) {
        // models--org--name
        const char *slash = strchr(s->parts.repo, '/');
        char org[200] = "";
        if (slash)
            snprintf(org, sizeof org, "%.*s--", (int)(slash - s->parts.repo), s->parts.repo);
        char *below = concat("/models--", org, slash ? slash + 1 : s->parts.repo);
        folder = below ? concat(s->cache, below, "") : NULL;
        mem_free(below);
    } else {
        folder = file_join(s->models, s->parts.repo);
    }
    enum err e = folder ? look(s, folder, in_cache, s->parts.repo, msg) : no_memory(msg);
    mem_free(folder);
    return e;
}

// Where `entry` of the store's or the cache's root would have a model of the bare name: *folder is
// NULL when the entry is not an organisation, or is another model. `shown` gets org/name.
static enum err below_org(const char *root, const char *entry, const char *name, bool in_cache,
                          char **folder, struct buf *shown, struct errmsg *msg) {
    size_t len = strlen(entry), name_len = strlen(name), prefix = strlen("models--");
    char *org = NULL;
    *folder = NULL;
    buf_reset(shown);
    if (entry[0] == '.')
        return ERR_OK;
    if (!in_cache) {
        buf_printf(shown, "%s/%s", entry, name);
        org = file_join(root, entry);
        *folder = org ? file_join(org, name) : NULL;
        mem_free(org);
    } else if (strncmp(entry, "models--", prefix) == 0 && len > prefix + 2 + name_len &&
               text_ends_with(entry, name) && memcmp(entry + len - name_len - 2, "--", 2) == 0) {
        buf_printf(shown, "%.*s/%s", (int)(len - prefix - 2 - name_len), entry + prefix, name);
        *folder = file_join(root, entry);
    } else {
        return ERR_OK;
    }
    return *folder && !shown->failed ? ERR_OK : no_memory(msg);
}

// Looks for a bare name below every organisation.
static enum err look_below_orgs(struct search *s, bool in_cache, struct errmsg *msg) {
    enum err e = ERR_OK;
    const char *root = in_cache ? s->cache : s->models;
    struct buf shown = {0};
    DIR *dir = opendir(root);
    for (struct dirent *entry; dir && !e && (entry = readdir(dir));) {
        char *folder;
        e = below_org(root, entry->d_name, s->parts.repo, in_cache, &folder, &shown, msg);
        if (!e && folder && file_is_dir(folder))
            e = look(s, folder, in_cache, shown.data, msg);
        mem_free(folder);
    }
    if (dir)
        closedir(dir);
    buf_free(&shown);
    return e;
}

static enum err search_both(struct search *s, struct errmsg *msg) {
    for (int in_cache = 0; in_cache < 2; in_cache++) {
        enum err e = look_exact(s, in_cache, msg);
        if (!e && !s->found && !strchr(s->parts.repo, '/'))
            e = look_below_orgs(s, in_cache, msg);
        if (e || s->found)
            return e;
    }
    return err_set(msg, ERR_NOT_FOUND,
                   "model '%s%s%s' is not here: trine pull %s%s%s gets it (looked in %s and %s)",
                   s->parts.repo, *s->parts.file ? "/" : "", s->parts.file, s->parts.repo,
                   *s->parts.file ? " --file " : "", s->parts.file, s->models, s->cache);
}

static enum err find_by_name(const char *name, char **path, struct errmsg *msg) {
    struct search s = {0};
    char *root = NULL;
    *path = NULL;
    if (!split(name, &s.parts))
        return err_set(msg, ERR_INVALID, "'%.100s' is not a model's name (org/name)", name);
    enum err e = store_root(&root, msg);
    if (!e)
        e = hub_cache(&s.cache, msg);
    if (!e && !(s.models = file_join(root, "models")))
        e = no_memory(msg);
    if (!e)
        e = search_both(&s, msg);
    if (!e && s.count > 1)
        e = err_set(msg, ERR_INVALID, "'%s' means several models: %s", name, s.names.data);
    if (!e) {
        *path = s.found;
        s.found = NULL;
    }
    buf_free(&s.names);
    mem_free(s.found);
    mem_free(s.models);
    mem_free(s.cache);
    mem_free(root);
    return e;
}

enum err store_resolve(const char *arg, char **path, struct errmsg *msg) {
    *path = NULL;
    if (!*arg)
        return err_set(msg, ERR_INVALID, "a model's folder, file or name is empty");
    bool folder = file_is_dir(arg);
    if (folder) { // what it lacks is for the loader to say
        enum err e = usable(arg, "", path, msg);
        if (e || *path)
            return e;
    }
    if (folder || (file_exists(arg) && text_ends_with(arg, ".gguf"))) {
        *path = mem_strndup(arg, strlen(arg));
        return *path ? ERR_OK : no_memory(msg);
    }
    if (file_exists(arg))
        return err_set(msg, ERR_INVALID, "%s: neither a folder nor a .gguf file", arg);
    struct parts parts;
    if (!split(arg, &parts))
        return err_set(msg, ERR_NOT_FOUND,
                       "%.200s: no such folder or .gguf file, and not a model's name (org/name)",
                       arg);
    return find_by_name(arg, path, msg);
}
