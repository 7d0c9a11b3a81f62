// Settings that last: the environment and the --config file. Role: every TRINE_... variable and
// every key of the file must be a known name, so that a misspelled one is an error and not ignored.
// See options_internal.h.
#include "cli/options_internal.h"

#include "base/json.h"
#include "base/mem.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

enum { CONFIG_MAX_BYTES = 1 << 20, NAME_MAX_BYTES = 64 };

#define PREFIX "TRINE_"

// ---- names

static size_t edit_distance(const char *a, const char *b) {
    size_t row[NAME_MAX_BYTES + 1], n = strlen(b);
    if (n > NAME_MAX_BYTES || strlen(a) > NAME_MAX_BYTES)
        return NAME_MAX_BYTES;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t best = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (diagonal + 1 < best)
                best = diagonal + 1;
            row[j + 1] = best;
        }
    }
    return row[n];
}

static size_t common_prefix(const char *a, const char *b) {
    size_t n = 0;
    while (a[n] && a[n] == b[n])
        n++;
    return n;
}

// A few letters off, or the same words to begin with ("api-keys" for "api-key-file").
const struct cli_option *cli_nearest_option(const char *name, unsigned commands, bool lasting) {
    enum { SAME_START = 5 };
    const struct cli_option *near = NULL, *begun = NULL;
    size_t best = strlen(name) > 4 ? 4 : 2, longest = SAME_START - 1;
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *opt = &cli_option_table[i];
        if (!(opt->commands & commands) || (lasting && opt->flag_only))
            continue;
        size_t d = edit_distance(name, opt->name), same = common_prefix(name, opt->name);
        if (d < best) {
            best = d;
            near = opt;
        }
        if (same > longest) {
            longest = same;
            begun = opt;
        }
    }
    return near ? near : begun;
}

// ---- the environment

static void variable_name(const char *option, char *out, size_t size) {
    size_t n = (size_t)snprintf(out, size, PREFIX "%s", option);
    for (size_t i = 0; i < n && i < size; i++)
        out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
}

// Variables that are read elsewhere: the model store, the kernels, fault injection, what a test's
// emulated GPU is.
static const char *const other_variables[] = {
    "TRINE_HOME",          "TRINE_CPU",       "TRINE_GEMM",     "TRINE_CUDA_LIBS",
    "TRINE_WORKER_FAULTS", "TRINE_GPU_COUNT", "TRINE_GPU_SEED", "TRINE_GPU_BF16",
    "TRINE_GPU_DRIVER",    "TRINE_GPU_FAULT",
#ifdef TRINE_FAULTS
    "TRINE_FAULT",
#endif
};

// Kubernetes gives every pod variables about a Service called "trine" or "trine-..." in its
// namespace (as Docker's links did): TRINE_SERVICE_HOST, TRINE_PORT=tcp://10.0.0.1:80,
// TRINE_PORT_80_TCP_ADDR. They say where that service is and are not settings of this program.
// name: [n], without the prefix. Source followed: Kubernetes, pkg/kubelet/envvars/envvars.go.
static bool is_of_a_pod(const char *name, size_t n, const char *value) {
    char parts[2 * NAME_MAX_BYTES + 3];
    snprintf(parts, sizeof parts, "_%.*s_", (int)(n < 2 * NAME_MAX_BYTES ? n : 2 * NAME_MAX_BYTES),
             name);
    if (strstr(parts, "_SERVICE_HOST_") || strstr(parts, "_SERVICE_PORT_"))
        return true;
    const char *port = strstr(parts, "_PORT_");
    if (!port)
        return false;
    size_t digits = strspn(port + 6, "0123456789");
    if (digits)
        return strstr(port, "_TCP_") || strstr(port, "_UDP_") || strstr(port, "_SCTP_");
    return !port[6] && (strncmp(value, "tcp://", 6) == 0 || strncmp(value, "udp://", 6) == 0 ||
                        strncmp(value, "sctp://", 7) == 0);
}

static enum err check_variable(const char *entry, struct errmsg *msg) {
    const char *eq = strchr(entry, '=');
    size_t n = eq ? (size_t)(eq - entry) : 0, skip = sizeof PREFIX - 1;
    if (n < skip || memcmp(entry, PREFIX, skip) != 0 || !eq[1])
        return ERR_OK;
    for (size_t i = 0; i < sizeof other_variables / sizeof *other_variables; i++)
        if (strlen(other_variables[i]) == n && memcmp(other_variables[i], entry, n) == 0)
            return ERR_OK;
    if (is_of_a_pod(entry + skip, n - skip, eq + 1))
        return ERR_OK;
    char name[NAME_MAX_BYTES + 1], known[NAME_MAX_BYTES + 16];
    snprintf(name, sizeof name, "%.*s", (int)(n < NAME_MAX_BYTES ? n : NAME_MAX_BYTES), entry);
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *opt = &cli_option_table[i];
        variable_name(opt->name, known, sizeof known);
        if (strcmp(known, name) != 0)
            continue;
        return opt->flag_only ? err_set(msg, ERR_INVALID,
                                        "%s: --%s belongs to one run and is not read from the "
                                        "environment; give the flag",
                                        name, opt->name)
                              : ERR_OK;
    }
    char words[NAME_MAX_BYTES + 1];
    snprintf(words, sizeof words, "%s", name + skip);
    for (char *p = words; *p; p++)
        *p = *p == '_' ? '-' : (char)tolower((unsigned char)*p);
    const struct cli_option *near = cli_nearest_option(words, ~0u, true);
    if (!near)
        return err_set(msg, ERR_INVALID, "%s: no option has this name; unset it", name);
    variable_name(near->name, known, sizeof known);
    return err_set(msg, ERR_INVALID, "%s: no option has this name; did you mean %s?", name, known);
}

enum err cli_check_environment(struct errmsg *msg) {
    enum err e = ERR_OK;
    for (char **entry = environ; entry && *entry && !e; entry++)
        e = check_variable(*entry, msg);
    return e;
}

static const char *environment(const struct cli_option *opt, struct cli_source *from) {
    variable_name(opt->name, from->who, sizeof from->who);
    const char *value = getenv(from->who);
    size_t skip = sizeof PREFIX - 1;
    if (!value || !*value || is_of_a_pod(from->who + skip, strlen(from->who) - skip, value))
        return NULL;
    return value;
}

static enum err set_from_environment(struct cli_options *o, const struct cli_option *opt,
                                     const char *value, const struct cli_source *from,
                                     struct errmsg *msg) {
    if (opt->type != CLI_LIST)
        return cli_set_value(o, opt, value, from, msg);
    for (const char *p = value;; p++) {
        size_t n = strcspn(p, ",");
        char *piece = mem_strndup(p, n);
        if (!piece)
            return cli_no_memory(msg);
        enum err e = cli_list_add(&o->owned, piece, msg);
        if (e) {
            mem_free(piece);
            return e;
        }
        if ((e = cli_set_value(o, opt, piece, from, msg)))
            return e;
        p += n;
        if (!*p)
            return ERR_OK;
    }
}

// ---- the file

static enum err set_from_json(struct cli_options *o, const struct cli_option *opt,
                              const cJSON *value, const struct cli_source *from,
                              struct errmsg *msg) {
    if (opt->type == CLI_LIST && cJSON_IsArray(value)) {
        const cJSON *item;
        cJSON_ArrayForEach(item, value) {
            if (cJSON_IsArray(item))
                return err_set(msg, ERR_INVALID, "%s: an array in an array", from->who);
            enum err e = set_from_json(o, opt, item, from, msg);
            if (e)
                return e;
        }
        return ERR_OK;
    }
    bool number = opt->type == CLI_INT || opt->type == CLI_SIZE || opt->type == CLI_REAL;
    if (opt->type == CLI_FLAG && cJSON_IsBool(value)) {
        *(bool *)((char *)o + opt->offset) = cJSON_IsTrue(value);
        return ERR_OK;
    }
    if ((number || opt->type == CLI_LIST) && cJSON_IsNumber(value)) {
        char text[64];
        snprintf(text, sizeof text, "%.17g", value->valuedouble);
        char *piece = mem_strndup(text, strlen(text));
        if (!piece || cli_list_add(&o->owned, piece, msg)) {
            mem_free(piece);
            return cli_no_memory(msg);
        }
        return cli_set_value(o, opt, piece, from, msg);
    }
    if (!number && opt->type != CLI_FLAG && cJSON_IsString(value))
        return cli_set_value(o, opt, value->valuestring, from, msg);
    return err_set(msg, ERR_INVALID, "%s: must be %s", from->who,
                   number                  ? "a number"
                   : opt->type == CLI_FLAG ? "true or false"
                   : opt->type == CLI_LIST ? "a string, or an array of strings"
                                           : "a string");
}

// A key is known when any command has it, so that one file serves them all.
static enum err check_key(const struct cli_options *o, const char *key, struct errmsg *msg) {
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *opt = &cli_option_table[i];
        if (strcmp(opt->name, key) != 0)
            continue;
        if (strcmp(key, "config") == 0)
            return err_set(msg, ERR_INVALID, "%s: '%s': one file cannot name another",
                           o->config_path, key);
        return opt->flag_only
                   ? err_set(msg, ERR_INVALID,
                             "%s: '%s' is not an option's name here: --%s belongs to one run",
                             o->config_path, key, key)
                   : ERR_OK;
    }
    const struct cli_option *near = cli_nearest_option(key, ~0u, true);
    return err_set(msg, ERR_INVALID, "%s: '%.60s' is not an option's name%s%s%s", o->config_path,
                   key, near ? "; did you mean '" : "", near ? near->name : "", near ? "'?" : "");
}

enum err cli_load_config(struct cli_options *o, struct errmsg *msg) {
    enum err e = json_parse_file(o->config_path, CONFIG_MAX_BYTES, &o->config, msg);
    if (e)
        return e;
    if (!cJSON_IsObject(o->config))
        return err_set(msg, ERR_INVALID, "%s: must be one JSON object", o->config_path);
    const cJSON *item;
    cJSON_ArrayForEach(item, o->config) if ((e = check_key(o, item->string, msg))) return e;
    return ERR_OK;
}

// ---- both

enum err cli_set_from_settings(struct cli_options *o, const struct cli_option *opt, bool *set,
                               struct errmsg *msg) {
    struct cli_source from = {0};
    const char *value = environment(opt, &from);
    const cJSON *item = o->config && !value ? json_get(o->config, opt->name) : NULL;
    *set = value || item;
    if (value)
        return set_from_environment(o, opt, value, &from, msg);
    if (!item)
        return ERR_OK;
    snprintf(from.who, sizeof from.who, "%.200s: %s", o->config_path, opt->name);
    return set_from_json(o, opt, item, &from, msg);
}
