// See options.h.
#include "cli/options.h"

#include "base/mem.h"
#include "cli/cli.h"
#include "cli/model_files.h"
#include "cli/options_internal.h"
#include "service/api/cors.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 64 };

enum err cli_no_memory(struct errmsg *msg) {
    return err_set(msg, ERR_NOMEM, "no memory for the options");
}

enum err cli_list_add(struct cli_list *list, const char *item, struct errmsg *msg) {
    const char **items = mem_realloc(list->items, list->count + 1, sizeof *items);
    if (!items)
        return cli_no_memory(msg);
    list->items = items;
    items[list->count++] = item;
    return ERR_OK;
}

enum err cli_parse_number(const char *text, int64_t min, int64_t max, int64_t *out,
                          const struct cli_source *from, struct errmsg *msg) {
    const char *p = text + (*text == '-');
    int64_t v = 0;
    bool ok = *p != '\0';
    for (; ok && *p; p++)
        ok = *p >= '0' && *p <= '9' && !__builtin_mul_overflow(v, 10, &v) &&
             !__builtin_add_overflow(v, *p - '0', &v);
    if (!ok)
        return err_set(msg, ERR_INVALID, "%s: '%s' is not a whole number", from->who, text);
    if (*text == '-')
        v = -v;
    if (v < min || v > max)
        return err_set(msg, ERR_INVALID, "%s: %s is not between %lld and %lld", from->who, text,
                       (long long)min, (long long)max);
    *out = v;
    return ERR_OK;
}

enum err cli_parse_choice(const struct cli_option *opt, const char *text, int *out,
                          const struct cli_source *from, struct errmsg *msg) {
    size_t len = strlen(text);
    int i = 0;
    for (const char *p = opt->value;; i++) {
        size_t n = strcspn(p, "|");
        if (n == len && memcmp(p, text, n) == 0) {
            *out = i;
            return ERR_OK;
        }
        if (!p[n])
            break;
        p += n + 1;
    }
    return err_set(msg, ERR_INVALID, "%s: '%s' is not one of %s%s%s", from->who, text, opt->value,
                   opt->refusal ? ": " : "", opt->refusal ? opt->refusal : "");
}

static enum err parse_bool(const char *text, bool *out, const struct cli_source *from,
                           struct errmsg *msg) {
    if (!strcmp(text, "1") || !strcmp(text, "true") || !strcmp(text, "yes")) {
        *out = true;
        return ERR_OK;
    }
    if (!strcmp(text, "0") || !strcmp(text, "false") || !strcmp(text, "no")) {
        *out = false;
        return ERR_OK;
    }
    return err_set(msg, ERR_INVALID, "%s: '%s' is neither yes nor no", from->who, text);
}

static enum err parse_real(const struct cli_option *opt, const char *text, double *out,
                           const struct cli_source *from, struct errmsg *msg) {
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !isdigit((unsigned char)end[-1]) || !(v == v))
        return err_set(msg, ERR_INVALID, "%s: '%s' is not a number", from->who, text);
    if (v < (double)opt->min || v > (double)opt->max)
        return err_set(msg, ERR_INVALID, "%s: %s is not between %lld and %lld", from->who, text,
                       (long long)opt->min, (long long)opt->max);
    *out = v;
    return ERR_OK;
}

enum err cli_set_value(struct cli_options *o, const struct cli_option *opt, const char *text,
                       const struct cli_source *from, struct errmsg *msg) {
    void *field = (char *)o + opt->offset;
    int64_t n;
    enum err e;
    switch (opt->type) {
    case CLI_FLAG:
        if (!text) {
            *(bool *)field = true;
            return ERR_OK;
        }
        return parse_bool(text, field, from, msg);
    case CLI_STRING:
        if (!*text)
            return err_set(msg, ERR_INVALID, "%s: needs a value, not an empty one", from->who);
        *(const char **)field = text;
        return ERR_OK;
    case CLI_INT:
        if ((e = cli_parse_number(text, opt->min, opt->max, &n, from, msg)))
            return e;
        *(int *)field = (int)n;
        return ERR_OK;
    case CLI_SIZE:
        if ((e = cli_parse_number(text, opt->min, opt->max, &n, from, msg)))
            return e;
        *(size_t *)field = (size_t)n;
        return ERR_OK;
    case CLI_REAL:
        return parse_real(opt, text, field, from, msg);
    case CLI_CHOICE:
        return cli_parse_choice(opt, text, field, from, msg);
    case CLI_LIST:
        if (!*text)
            return err_set(msg, ERR_INVALID, "%s: needs a value, not an empty one", from->who);
        return cli_list_add(field, text, msg);
    }
    return ERR_OK;
}

// --- flags ---

static const struct cli_option *find_option(const char *name, size_t len, enum cli_command c) {
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *opt = &cli_option_table[i];
        if ((opt->commands & c) && strlen(opt->name) == len && memcmp(opt->name, name, len) == 0)
            return opt;
    }
    return NULL;
}

static enum err unknown_option(enum cli_command command, const char *arg, size_t len,
                               struct errmsg *msg) {
    char name[NAME_MAX_BYTES + 1];
    snprintf(name, sizeof name, "%.*s", (int)(len < NAME_MAX_BYTES ? len : NAME_MAX_BYTES), arg);
    const char *bare = name + strspn(name, "-");
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *opt = &cli_option_table[i];
        for (size_t k = 0; strcmp(opt->name, bare) == 0 && k < cli_command_count; k++)
            if (opt->commands & cli_command_table[k].command)
                return err_set(msg, ERR_INVALID, "unknown option '%s': it belongs to 'trine %s'",
                               name, cli_command_table[k].name);
    }
    const struct cli_option *near = cli_nearest_option(bare, command, false);
    if (near)
        return err_set(msg, ERR_INVALID, "unknown option '%s': did you mean '--%s'?", name,
                       near->name);
    return err_set(msg, ERR_INVALID, "unknown option '%s'", name);
}

struct given {
    const struct cli_option *option;
    const char *value; // NULL: a flag without one
};

struct scan {
    struct given *given; // owned
    size_t count;
};

static enum err scan_add(struct scan *s, const struct cli_option *opt, const char *value,
                         struct errmsg *msg) {
    struct given *g = mem_realloc(s->given, s->count + 1, sizeof *g);
    if (!g)
        return cli_no_memory(msg);
    s->given = g;
    g[s->count++] = (struct given){opt, value};
    return ERR_OK;
}

// Reads one argument that begins with '-' and is longer than that; *i moves on over a separate
// value.
static enum err scan_flag(enum cli_command command, int argc, char **argv, int *i,
                          struct cli_options *o, struct scan *s, struct errmsg *msg) {
    const char *arg = argv[*i];
    const struct cli_option *opt = NULL;
    const char *value = NULL;
    size_t len = strlen(arg);
    if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
        o->help = true;
        return ERR_OK;
    }
    if (arg[1] == '-') {
        const char *eq = strchr(arg, '=');
        if (eq) {
            len = (size_t)(eq - arg);
            value = eq + 1;
        }
        opt = find_option(arg + 2, len - 2, command);
    } else {
        for (size_t k = 0; k < cli_option_count && !opt; k++)
            if ((cli_option_table[k].commands & command) && cli_option_table[k].letter == arg[1])
                opt = &cli_option_table[k];
        if (opt && arg[2])
            value = arg + 2; // -oFILE
        if (opt && value && opt->type == CLI_FLAG)
            opt = NULL;
    }
    if (!opt)
        return unknown_option(command, arg, len, msg);
    if (!value && opt->type != CLI_FLAG) {
        if (*i + 1 >= argc)
            return err_set(msg, ERR_INVALID, "--%s needs a value (%s)", opt->name, opt->value);
        value = argv[++*i];
    }
    return scan_add(s, opt, value, msg);
}

static enum err scan_arguments(enum cli_command command, int argc, char **argv,
                               struct cli_options *o, struct scan *s, struct errmsg *msg) {
    bool only_arguments = false;
    struct cli_list args = {0};
    enum err e = ERR_OK;
    for (int i = 1; i < argc && !e && !o->help; i++) {
        if (!only_arguments && strcmp(argv[i], "--") == 0)
            only_arguments = true;
        else if (!only_arguments && argv[i][0] == '-' && argv[i][1])
            e = scan_flag(command, argc, argv, &i, o, s, msg);
        else
            e = cli_list_add(&args, argv[i], msg);
    }
    o->args = args.items;
    o->arg_count = args.count;
    return e;
}

// --- precedence ---

// Of a flag that is given twice the last one counts, as in other programs: scripts append to a
// line.
static enum err set_from_flags(struct cli_options *o, const struct cli_option *opt,
                               const struct scan *s, bool *set, struct errmsg *msg) {
    struct cli_source from = {0};
    enum err e = ERR_OK;
    snprintf(from.who, sizeof from.who, "--%s", opt->name);
    for (size_t i = 0; i < s->count && !e; i++) {
        if (s->given[i].option != opt)
            continue;
        if (opt->type == CLI_LIST)
            ((struct cli_list *)(void *)((char *)o + opt->offset))->from_flags = true;
        e = cli_set_value(o, opt, s->given[i].value, &from, msg);
        *set = true;
    }
    return *set && !e ? cli_list_add(&o->given, opt->name, msg) : e;
}

static enum err resolve_option(struct cli_options *o, const struct cli_option *opt,
                               const struct scan *s, int *exit_code, struct errmsg *msg) {
    bool set = false;
    *exit_code = CLI_EXIT_USAGE;
    enum err e = set_from_flags(o, opt, s, &set, msg);
    if (set || e)
        return e;
    *exit_code = CLI_EXIT_FAILED;
    if (!opt->flag_only)
        e = cli_set_from_settings(o, opt, &set, msg);
    if (set && !e)
        return cli_list_add(&o->settings, opt->name, msg);
    struct cli_source from = {.who = "the default"};
    return !e && !set && opt->fallback ? cli_set_value(o, opt, opt->fallback, &from, msg) : e;
}

static enum err check_argument_count(const struct cli_command_info *info,
                                     const struct cli_options *o, struct errmsg *msg) {
    if (o->arg_count > info->max_args)
        return err_set(msg, ERR_INVALID, "unexpected argument '%s'", o->args[info->max_args]);
    if (o->arg_count < info->min_args)
        return err_set(msg, ERR_INVALID, "an argument is missing: trine %s %s", info->name,
                       info->synopsis);
    return ERR_OK;
}

static enum err join_origins(struct cli_options *o, int *exit_code, struct errmsg *msg) {
    const struct cli_list *list = &o->cors_origins;
    for (size_t i = 0; i < list->count; i++) {
        const char *wrong = api_cors_fault(list->items[i]);
        if (wrong) {
            *exit_code = list->from_flags ? CLI_EXIT_USAGE : CLI_EXIT_FAILED;
            return err_set(msg, ERR_INVALID, "--cors-origin: '%.200s' %s", list->items[i], wrong);
        }
    }
    if (api_cors_contradicts((const char *const *)list->items, list->count)) {
        *exit_code = list->from_flags ? CLI_EXIT_USAGE : CLI_EXIT_FAILED;
        return err_set(msg, ERR_INVALID,
                       "--cors-origin: '*' allows every origin: give it alone, or origins without "
                       "it");
    }
    o->service.cors_origins = list->items;
    o->service.cors_origin_count = list->count;
    return ERR_OK;
}

static enum err resolve_all(enum cli_command command, const struct scan *s, struct cli_options *o,
                            int *exit_code, struct errmsg *msg) {
    const struct cli_option *config = find_option("config", 6, command);
    *exit_code = CLI_EXIT_FAILED;
    enum err e = cli_check_environment(msg);
    if (!e && config)
        e = resolve_option(o, config, s, exit_code, msg);
    if (!e && o->config_path) {
        *exit_code = CLI_EXIT_FAILED;
        e = cli_load_config(o, msg);
    }
    for (size_t i = 0; i < cli_option_count && !e; i++)
        if ((cli_option_table[i].commands & command) && &cli_option_table[i] != config)
            e = resolve_option(o, &cli_option_table[i], s, exit_code, msg);
    if (e)
        return e;
    *exit_code = CLI_EXIT_USAGE;
    o->log_json = o->log_format == 1;
    if ((e = cli_check_together(command, o, msg)) || (e = join_origins(o, exit_code, msg)))
        return e;
    if (find_option("device", 6, command) &&
        (e = cli_join_device(o, find_option("isolate", 7, command) != NULL, exit_code, msg)))
        return e;
    if (find_option("model", 5, command))
        e = cli_join_models(command, o, exit_code, msg);
    for (size_t i = 0; i < o->model_count && !e; i++) {
        *exit_code = CLI_EXIT_USAGE;
        e = cli_check_not_model(NULL, "stdout", o->models[i].spec, msg);
    }
    return e;
}

enum err cli_options_parse(enum cli_command command, int argc, char **argv, struct cli_options *o,
                           int *exit_code, struct errmsg *msg) {
    *o = (struct cli_options){.log_level = LOG_LEVEL_INFO,
                              .temperature = NAN,
                              .top_p = NAN,
                              .min_p = NAN,
                              .repetition_penalty = NAN,
                              .top_k = -1};
    o->service.max_body = (size_t)32 << 20;
    *exit_code = CLI_EXIT_USAGE;
    struct scan s = {0};
    enum err e = scan_arguments(command, argc, argv, o, &s, msg);
    if (!e && !o->help)
        e = check_argument_count(cli_command_find(command), o, msg);
    if (!e && !o->help)
        e = resolve_all(command, &s, o, exit_code, msg);
    mem_free(s.given);
    if (e == ERR_NOMEM)
        *exit_code = CLI_EXIT_FAILED;
    return e;
}

static bool list_has(const struct cli_list *list, const char *name) {
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], name) == 0)
            return true;
    return false;
}

bool cli_given(const struct cli_options *o, const char *name) { return list_has(&o->given, name); }

bool cli_set(const struct cli_options *o, const char *name) {
    return cli_given(o, name) || list_has(&o->settings, name);
}

void cli_options_free(struct cli_options *o) {
    struct cli_list *lists[] = {&o->model_specs, &o->aliases,        &o->tasks, &o->max_lengths,
                                &o->poolings,    &o->chat_templates, &o->stops, &o->given,
                                &o->settings,    &o->cors_origins};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        mem_free(lists[i]->items);
    for (size_t i = 0; i < o->owned.count; i++)
        mem_free((char *)(uintptr_t)o->owned.items[i]);
    mem_free(o->owned.items);
    mem_free(o->args);
    for (size_t i = 0; i < o->model_count; i++)
        mem_free(o->models[i].aliases.items);
    mem_free(o->models);
    cJSON_Delete(o->config);
    *o = (struct cli_options){0};
}

bool cli_options_read(enum cli_command command, int argc, char **argv, struct cli_options *o,
                      int *exit_code) {
    struct errmsg msg = {0};
    const char *name = cli_command_find(command)->name;
    enum err e = cli_options_parse(command, argc, argv, o, exit_code, &msg);
    if (!e && !o->help) {
        log_init((enum log_level)o->log_level, o->log_json);
        return true;
    }
    if (e) {
        *exit_code = *exit_code == CLI_EXIT_USAGE ? cli_misuse(name, &msg) : cli_fail(name, &msg);
    } else {
        struct buf text = {0};
        cli_help(command, &text);
        *exit_code = !text.failed && fwrite(text.data, 1, text.len, stdout) == text.len &&
                             fflush(stdout) == 0
                         ? CLI_EXIT_DONE
                         : CLI_EXIT_FAILED;
        buf_free(&text);
    }
    cli_options_free(o);
    return false;
}
