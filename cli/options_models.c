// Which models a command is about: --model with the --alias, --task, --max-length and --pooling
// that name it. See options_internal.h.
#include "base/file.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/options_internal.h"

#include <ctype.h>
#include <string.h>

// 2 (wrong usage) when a flag said it, 1 (a failure) when a setting did.
static int blame(const struct cli_list *list) {
    return list->from_flags ? CLI_EXIT_USAGE : CLI_EXIT_FAILED;
}

static bool name_like(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]) && !strchr("._-/:", s[i]))
            return false;
    return n > 0;
}

static enum err split_model(struct cli_options *o, const char *text, struct cli_model *m,
                            struct errmsg *msg) {
    *m = (struct cli_model){.spec = text, .task = -1, .pool_mode = -1};
    const char *eq = strchr(text, '=');
    if (!eq || file_exists(text)) // a path may hold a '=' of its own
        return ERR_OK;
    if (!name_like(text, (size_t)(eq - text)) || !eq[1])
        return err_set(msg, ERR_INVALID, "--model: '%s' is not NAME=PATH", text);
    char *name = mem_strndup(text, (size_t)(eq - text));
    if (!name || cli_list_add(&o->owned, name, msg)) {
        mem_free(name);
        return err_set(msg, ERR_NOMEM, "no memory for the options");
    }
    m->name = name;
    m->spec = eq + 1;
    return ERR_OK;
}

// The name under which a model is served when it was given none: that of its folder.
static bool model_answers_to(const struct cli_model *m, const char *name, size_t len) {
    if (m->name)
        return strlen(m->name) == len && memcmp(m->name, name, len) == 0;
    if (strlen(m->spec) == len && memcmp(m->spec, name, len) == 0)
        return true;
    size_t end = strlen(m->spec);
    while (end > 0 && m->spec[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && m->spec[begin - 1] != '/')
        begin--;
    return end - begin == len && memcmp(m->spec + begin, name, len) == 0;
}

// "[NAME=]VALUE": finds the model that is meant. Without NAME there must be only one model.
static enum err pick_model(struct cli_options *o, const char *option, const char *text, size_t *at,
                           const char **value, struct errmsg *msg) {
    const char *eq = strchr(text, '=');
    *value = eq ? eq + 1 : text;
    *at = 0;
    if (!eq && o->model_count != 1)
        return err_set(msg, ERR_INVALID, "--%s: '%s' must say for which model: NAME=%s", option,
                       text, text);
    if (!eq)
        return ERR_OK;
    for (; *at < o->model_count; ++*at)
        if (model_answers_to(&o->models[*at], text, (size_t)(eq - text)))
            return ERR_OK;
    return err_set(msg, ERR_INVALID, "--%s: no --model is named '%.*s'", option, (int)(eq - text),
                   text);
}

// Refuses a second value for one model: which was meant would be a guess. had: it has one already.
static enum err check_once(const char *option, bool had, const char *value, struct errmsg *msg) {
    return had ? err_set(msg, ERR_INVALID, "--%s: '%s': this model was given one already", option,
                         value)
               : ERR_OK;
}

static enum err apply_lengths_and_pooling(struct cli_options *o, int *exit_code,
                                          struct errmsg *msg) {
    static const struct cli_option pooling = {.name = "pooling", .value = "cls|mean|max|last"};
    size_t at;
    const char *value;
    enum err e;
    int64_t n;
    *exit_code = blame(&o->max_lengths);
    for (size_t i = 0; i < o->max_lengths.count; i++) {
        struct cli_source from = {.who = "--max-length"};
        if ((e = pick_model(o, "max-length", o->max_lengths.items[i], &at, &value, msg)) ||
            (e = check_once("max-length", o->models[at].max_length != 0, value, msg)) ||
            (e = cli_parse_number(value, 1, 1 << 20, &n, &from, msg)))
            return e;
        o->models[at].max_length = (size_t)n;
    }
    *exit_code = blame(&o->poolings);
    for (size_t i = 0; i < o->poolings.count; i++) {
        struct cli_source from = {.who = "--pooling"};
        if ((e = pick_model(o, "pooling", o->poolings.items[i], &at, &value, msg)) ||
            (e = check_once("pooling", o->models[at].pool_mode >= 0, value, msg)) ||
            (e = cli_parse_choice(&pooling, value, &o->models[at].pool_mode, &from, msg)))
            return e;
    }
    *exit_code = blame(&o->chat_templates);
    for (size_t i = 0; i < o->chat_templates.count; i++) {
        if ((e = pick_model(o, "chat-template", o->chat_templates.items[i], &at, &value, msg)) ||
            (e = check_once("chat-template", o->models[at].chat_template != NULL, value, msg)))
            return e;
        if (!*value)
            return err_set(msg, ERR_INVALID, "--chat-template: '%s' names no file",
                           o->chat_templates.items[i]);
        o->models[at].chat_template = value;
    }
    return ERR_OK;
}

static enum err apply_names_and_tasks(struct cli_options *o, int *exit_code, struct errmsg *msg) {
    static const struct cli_option tasks = {
        .name = "task",
        .value = "embed|rerank|classify|generate",
    };
    size_t at;
    const char *value;
    enum err e;
    *exit_code = blame(&o->tasks);
    for (size_t i = 0; i < o->tasks.count; i++) {
        struct cli_source from = {.who = "--task"};
        if ((e = pick_model(o, "task", o->tasks.items[i], &at, &value, msg)) ||
            (e = check_once("task", o->models[at].task >= 0, value, msg)) ||
            (e = cli_parse_choice(&tasks, value, &o->models[at].task, &from, msg)))
            return e;
    }
    *exit_code = blame(&o->aliases);
    for (size_t i = 0; i < o->aliases.count; i++) {
        if ((e = pick_model(o, "alias", o->aliases.items[i], &at, &value, msg)))
            return e;
        if (!*value)
            return err_set(msg, ERR_INVALID, "--alias: '%s': the alias is empty",
                           o->aliases.items[i]);
        if ((e = cli_list_add(&o->models[at].aliases, value, msg)))
            return e;
    }
    *exit_code = CLI_EXIT_USAGE;
    if (o->served_name) {
        if (o->model_count != 1)
            return err_set(
                msg, ERR_INVALID,
                "--served-model-name names one model; use --model NAME=PATH for several");
        // the nearer one names it: a flag, else a setting
        if (o->models[0].name && cli_given(o, "served-model-name") == cli_given(o, "model"))
            return err_set(msg, ERR_INVALID,
                           "--served-model-name '%.80s' and --model '%.80s=...': one name only",
                           o->served_name, o->models[0].name);
        if (!o->models[0].name || cli_given(o, "served-model-name"))
            o->models[0].name = o->served_name;
    }
    return ERR_OK;
}

enum err cli_join_models(enum cli_command command, struct cli_options *o, int *exit_code,
                         struct errmsg *msg) {
    if (command == CLI_INSPECT && o->arg_count == 1) { // the argument is nearer than any setting
        o->model_specs.count = 0;
        enum err e = cli_list_add(&o->model_specs, o->args[0], msg);
        if (e)
            return e;
    }
    size_t n = o->model_specs.count;
    *exit_code = n ? blame(&o->model_specs) : CLI_EXIT_USAGE;
    if (n == 0)
        return err_set(msg, ERR_INVALID, "no model: give --model FOLDER or a name in the store");
    if (n > 1 && command != CLI_SERVE)
        return err_set(msg, ERR_INVALID, "--model: one model only, %zu were given", n);
    o->models = mem_calloc(n, sizeof *o->models);
    if (!o->models)
        return err_set(msg, ERR_NOMEM, "no memory for the options");
    for (size_t i = 0; i < n; i++) {
        enum err e = split_model(o, o->model_specs.items[i], &o->models[i], msg);
        if (e)
            return e;
        o->model_count = i + 1;
    }
    enum err e = apply_names_and_tasks(o, exit_code, msg);
    return e ? e : apply_lengths_and_pooling(o, exit_code, msg);
}
