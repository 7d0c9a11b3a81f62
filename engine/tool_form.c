// See tool_form.h. The probe's words are ones that no template holds by itself. Evidence, the
// strongest first: how the template writes a call that an assistant has made; the words that it
// puts beside the tools. A template may refuse a conversation (roles that must take turns, a system
// message that must come first), so several are tried.
#include "engine/tool_form.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "engine/chat_variables.h"

#include <stdio.h>
#include <string.h>

#define SHOWN "zqshown"
#define CALLED "zqcalled"
#define ARGUMENT "zqargument"
#define VALUE "zqvalue"
#define SAID "zqsaid"

#define SYSTEM "{\"role\":\"system\",\"content\":\"Be brief.\"},"
#define USER "{\"role\":\"user\",\"content\":\"Hello.\"}"
#define ASSISTANT(content)                                                                         \
    ",{\"role\":\"assistant\",\"content\":\"" content "\",\"tool_calls\":[{\"type\":\"function\"," \
    "\"id\":\"zqcall001\",\"function\":{\"name\":\"" CALLED "\",\"arguments\":{\"" ARGUMENT        \
    "\":\"" VALUE "\"}}}]}"
#define RESULT                                                                                     \
    ",{\"role\":\"tool\",\"tool_call_id\":\"zqcall001\",\"name\":\"" CALLED                        \
    "\",\"content\":\"Done.\"}"

static const char tools_json[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"" SHOWN
    "\",\"description\":\"Does a thing.\",\"parameters\":{\"type\":\"object\",\"properties\":{"
    "\"" ARGUMENT "\":{\"type\":\"string\",\"description\":\"A thing.\"}},\"required\":[\"" ARGUMENT
    "\"]}}},{\"type\":\"function\",\"function\":{\"name\":\"" CALLED
    "\",\"description\":\"Does another thing.\",\"parameters\":{\"type\":\"object\",\"properties\":"
    "{\"" ARGUMENT "\":{\"type\":\"string\",\"description\":\"A thing.\"}},\"required\":"
    "[\"" ARGUMENT "\"]}}}]";

static const char *const questions[] = {"[" USER "]", "[" SYSTEM USER "]"};
static const char *const calls[] = {
    "[" USER ASSISTANT(SAID) RESULT "]",
    "[" SYSTEM USER ASSISTANT(SAID) RESULT "]",
    "[" USER ASSISTANT("") RESULT "]",
    "[" SYSTEM USER ASSISTANT("") RESULT "]",
    "[" USER ASSISTANT("") RESULT ",{\"role\":\"assistant\",\"content\":\"Yes.\"}," USER "]",
    "[" USER ASSISTANT("") "]",
};
enum { QUESTIONS = sizeof questions / sizeof *questions, CALLS = sizeof calls / sizeof *calls };

struct probe {
    const struct template *t;
    const struct generation_config *config;
    struct json_tree *tools; // NULL: none
    struct buf text;         // the last rendering; its data is never NULL after one that worked
};

// *worked false: the template refuses these messages. ERR_NOMEM.
static enum err render(struct probe *p, const char *messages, bool *worked, struct errmsg *msg) {
    struct json_tree *tree;
    struct template_variable v[CHAT_VARIABLES];
    *worked = false;
    enum err e = json_tree_parse(messages, strlen(messages), &json_limits_file, &tree, NULL, msg);
    if (e)
        return e;
    buf_reset(&p->text);
    const struct json_node *tools = p->tools ? json_tree_root(p->tools) : NULL;
    size_t n = chat_variables(p->config, json_tree_root(tree), tools, true, v);
    struct errmsg unused = {0};
    e = template_render(p->t, v, n, NULL, &p->text, &unused);
    buf_putc(&p->text, '\0'); // for strstr
    json_tree_free(tree);
    if (e == ERR_NOMEM || p->text.failed)
        return err_set(msg, ERR_NOMEM, "no memory to look at a chat template");
    *worked = e == ERR_OK && !memchr(p->text.data, '\0', p->text.len - 1);
    return ERR_OK;
}

static const char *skip_blanks(const char *s) { return s + strspn(s, " \t\r\n"); }

// Behind `words`, each of which may have blanks before it; NULL when they do not stand there.
static const char *behind(const char *s, const char *const *words, size_t n) {
    for (size_t i = 0; i < n; i++) {
        s = skip_blanks(s);
        size_t len = strlen(words[i]);
        if (strncmp(s, words[i], len) != 0)
            return NULL;
        s += len;
    }
    return s;
}

static const char *last_before(const char *text, const char *end, const char *word) {
    const char *found = NULL;
    for (const char *s = text; (s = strstr(s, word)) && s < end; s++)
        found = s;
    return found;
}

// How the call begins: what stands before the function's name, and behind it up to the argument.
static void take_example(const char *text, const char *value, char *out, size_t cap) {
    enum { BEFORE = 48 };
    static const char *const others[] = {SAID, "Hello."};
    static const struct {
        const char *ours, *shown;
    } words[] = {{CALLED, "NAME"}, {ARGUMENT, "KEY"}};
    enum { WORDS = sizeof words / sizeof *words };
    const char *name = last_before(text, value, CALLED);
    if (!name)
        name = value;
    const char *begin = name - text > BEFORE ? name - BEFORE : text;
    // not the messages before it, nor the rest of a tag
    size_t tag = strcspn(begin, "<[");
    if (begin > text && tag < (size_t)(name - begin))
        begin += tag;
    for (size_t i = 0; i < 2; i++) {
        const char *said = last_before(text, name, others[i]);
        if (said && said + strlen(others[i]) > begin)
            begin = said + strlen(others[i]);
    }
    while (begin < name && ((unsigned char)*begin & 0xC0) == 0x80)
        begin++;
    size_t n = 0;
    bool blank = true; // none at the beginning
    for (const char *s = begin; s < value && n + 8 < cap; s++) {
        size_t word = 0;
        while (word < WORDS && strncmp(s, words[word].ours, strlen(words[word].ours)) != 0)
            word++;
        size_t probe = word < WORDS ? strlen(words[word].ours) : 0;
        bool is_blank = (unsigned char)*s <= ' ' || *s == 0x7f;
        if (probe)
            n += (size_t)snprintf(out + n, cap - n, "%s", words[word].shown);
        else if (!is_blank)
            out[n++] = *s;
        else if (!blank)
            out[n++] = ' ';
        blank = is_blank;
        s += probe ? probe - 1 : 0;
    }
    out[n] = '\0';
    (void)utf8_tidy(out); // the last character may be cut
}

// What a rendered call says.
static void read_call(const char *text, const char *value, struct tool_form *out) {
    static const char *const head[] = {
        "<tool_call>", "{", "\"name\"",         ":", "\"" CALLED "\"", ",", "\"arguments\"",
        ":",           "{", "\"" ARGUMENT "\"", ":", "\"" VALUE "\""};
    static const char *const tail[] = {"}", "}", "</tool_call>"};
    const char *open = last_before(text, value, "<tool_call>");
    const char *end = open ? behind(open, head, sizeof head / sizeof *head) : NULL;
    if (end && end == value + strlen(VALUE) + 1 && behind(end, tail, 3)) {
        out->kind = TOOL_FORM_JSON;
        return;
    }
    out->kind = TOOL_FORM_OTHER;
    take_example(text, value, out->example, sizeof out->example);
}

// What the words beside the tools say, of a template that writes no calls itself: every example of
// what stands in <tool_call> is a JSON object that begins with the name.
static void read_words(const char *text, struct tool_form *out) {
    static const char open[] = "<tool_call>", close[] = "</tool_call>";
    bool json = false, other = false;
    for (const char *s = text; (s = strstr(s, open)) != NULL;) {
        s = skip_blanks(s + strlen(open));
        const char *key = *s == '{' ? skip_blanks(s + 1) : NULL;
        bool named = key && (*key != '"' || strncmp(key, "\"name\"", 6) == 0);
        json |= named;
        if ((key && !named) || (*s == '<' && strncmp(s, close, strlen(close)) != 0)) {
            other = true;
            size_t n = strcspn(s, "\r\n");
            snprintf(out->example, sizeof out->example, "%s%.*s", open, n > 40 ? 40 : (int)n, s);
            (void)utf8_tidy(out->example);
        }
    }
    out->kind = json && !other ? TOOL_FORM_JSON : TOOL_FORM_OTHER;
}

// A template may ask for calls without naming the tools: then only another form is told of, for in
// ours the model would have nothing to call.
static enum err read_unshown(struct probe *p, const char *question, struct tool_form *out,
                             struct errmsg *msg) {
    struct json_tree *tools = p->tools;
    struct buf with = p->text;
    bool worked;
    p->text = (struct buf){0};
    p->tools = NULL;
    enum err e = render(p, question, &worked, msg);
    if (!e && worked && strcmp(p->text.data, with.data) != 0) {
        read_words(with.data, out);
        if (out->kind != TOOL_FORM_OTHER || !out->example[0])
            *out = (struct tool_form){0};
    }
    p->tools = tools;
    buf_free(&with);
    return e;
}

static enum err find(struct probe *p, struct tool_form *out, struct errmsg *msg) {
    bool worked, shown = false;
    for (size_t i = 0; i < QUESTIONS && !shown; i++) {
        enum err e = render(p, questions[i], &worked, msg);
        if (!e && worked && !strstr(p->text.data, SHOWN) && out->kind == TOOL_FORM_NONE)
            e = read_unshown(p, questions[i], out, msg);
        else
            shown = !e && worked && strstr(p->text.data, SHOWN);
        if (e)
            return e;
    }
    if (!shown)
        return ERR_OK;
    *out = (struct tool_form){0};
    read_words(p->text.data, out);
    for (size_t i = 0; i < CALLS; i++) {
        enum err e = render(p, calls[i], &worked, msg);
        if (e)
            return e;
        const char *value = worked ? strstr(p->text.data, VALUE) : NULL;
        if (value) {
            *out = (struct tool_form){0};
            read_call(p->text.data, value, out);
            return ERR_OK;
        }
    }
    return ERR_OK;
}

enum err tool_form_find(const struct template *t, const struct generation_config *c,
                        struct tool_form *out, struct errmsg *msg) {
    *out = (struct tool_form){0};
    struct probe p = {.t = t, .config = c};
    enum err e =
        json_tree_parse(tools_json, sizeof tools_json - 1, &json_limits_file, &p.tools, NULL, msg);
    if (!e)
        e = find(&p, out, msg);
    buf_free(&p.text);
    json_tree_free(p.tools);
    return e;
}

void tool_form_describe(const struct tool_form *f, struct buf *out) {
    switch (f->kind) {
    case TOOL_FORM_NONE:
        buf_puts(out, "no tools");
        break;
    case TOOL_FORM_JSON:
        buf_puts(out, "shows tools, calls as <tool_call>{...}</tool_call>");
        break;
    case TOOL_FORM_OTHER:
        buf_puts(out, "shows tools, calls in another form");
        if (f->example[0])
            buf_printf(out, " (%s...)", f->example);
        buf_puts(out, " than <tool_call>{...}</tool_call>: requests with tools are refused");
        break;
    }
}
