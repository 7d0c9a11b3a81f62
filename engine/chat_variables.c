// See chat_variables.h.
#include "engine/chat_variables.h"

#include <string.h>

size_t chat_variables(const struct generation_config *c, const struct json_node *messages,
                      const struct json_node *tools, bool prompt_turn,
                      struct template_variable *out) {
    static const struct json_node none = {.kind = JSON_NULL};
    const struct {
        const char *name, *value;
    } tokens[] = {{"bos_token", c->bos_token},
                  {"eos_token", c->eos_token},
                  {"pad_token", c->pad_token},
                  {"unk_token", c->unk_token}};
    size_t n = 0;
    out[n++] = (struct template_variable){.name = "messages", .json = messages};
    out[n++] = (struct template_variable){.name = "tools", .json = tools ? tools : &none};
    out[n++] = (struct template_variable){.name = "documents", .json = &none};
    out[n++] = (struct template_variable){.name = "add_generation_prompt", .truth = prompt_turn};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        if (tokens[i].value)
            out[n++] = (struct template_variable){.name = tokens[i].name,
                                                  .string = tokens[i].value,
                                                  .string_len = strlen(tokens[i].value)};
    return n;
}

const char *chat_variables_add(const struct json_node *kwargs, struct template_variable *variables,
                               size_t *n) {
    size_t fixed = *n;
    for (const struct json_node *m = kwargs->child; m; m = m->next) {
        for (size_t i = 0; i < fixed; i++)
            if (strcmp(variables[i].name, m->key) == 0)
                return variables[i].name;
        variables[(*n)++] = (struct template_variable){.name = m->key, .json = m};
    }
    return NULL;
}
