// How a template has tools called, found by asking it: a template of our own for each family of
// forms. None of them is a model's; each writes what that family's write.
#include "base/buf.h"
#include "base/fault.h"
#include "base/utf8.h"
#include "engine/tool_form.h"
#include "tests/check.h"

#define TURNS "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
#define LIST "{% for t in tools or [] %}{{ t.function | tojson }}\n{% endfor %}"
#define CALLS_BEGIN                                                                                \
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}"                                        \
    "{% for c in m.tool_calls or [] %}{% set f = c.function %}"
#define CALLS_END "{% endfor %}\n{% endfor %}"
#define CALLS(form) CALLS_BEGIN form CALLS_END
#define EUROS_8                                                                                    \
    "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82" \
    "\xac"
#define EUROS EUROS_8 EUROS_8 EUROS_8 EUROS_8
#define JSON_CALL                                                                                  \
    "\n<tool_call>\n{\"name\": \"{{ f.name }}\", \"arguments\": {{ f.arguments | tojson }}}\n"     \
    "</tool_call>"

static struct errmsg msg;

static struct tool_form form_of(const char *source) {
    static const struct generation_config none = {.bos_token = NULL};
    struct template *t = NULL;
    struct tool_form f = {0};
    CHECK_OK(template_compile("chat template", source, strlen(source), &t, &msg), msg);
    if (t)
        CHECK_OK(tool_form_find(t, &none, &f, &msg), msg);
    template_free(t);
    return f;
}

static void is(const char *source, enum tool_form_kind want, const char *example) {
    struct tool_form f = form_of(source);
    if (!CHECK(f.kind == want && (!example || strstr(f.example, example))))
        fprintf(stderr, "    %s\n    gives %d, \"%s\"\n", source, (int)f.kind, f.example);
    CHECK(utf8_valid(f.example, strlen(f.example), NULL));
}

static void test_none(void) {
    is(TURNS, TOOL_FORM_NONE, "");
    is("", TOOL_FORM_NONE, "");
    // the marker is among its words, the tools are not
    is("Never write <tool_call>{\"name\": 1}</tool_call>.\n" TURNS, TOOL_FORM_NONE, "");
    is("{% if tools %}{{ raise_exception('no tools') }}{% endif %}" TURNS, TOOL_FORM_NONE, "");
    is("{{ raise_exception('never') }}", TOOL_FORM_NONE, "");
    // shown under another variable's name only
    is("{% for t in functions or [] %}{{ t }}{% endfor %}" TURNS, TOOL_FORM_NONE, "");
}

static void test_json(void) {
    is(LIST CALLS(JSON_CALL), TOOL_FORM_JSON, "");
    is(LIST CALLS("<tool_call>{\"name\":\"{{ f.name }}\",\"arguments\":"
                  "{{ f.arguments | tojson(separators=(',', ':')) }}}</tool_call>"),
       TOOL_FORM_JSON, "");
    // by its words alone, where it writes no calls
    is("{% if tools %}Call as <tool_call>{...}</tool_call>:\n{% endif %}" LIST TURNS,
       TOOL_FORM_JSON, "");
    is("{% if tools %}In <tool_call></tool_call> tags, so:\n<tool_call>\n{\"name\": <name>, "
       "\"arguments\": <object>}\n</tool_call>\n{% endif %}" LIST TURNS,
       TOOL_FORM_JSON, "");
    // a system message must come first, roles take turns, the last one is the user's
    is("{% if messages[0].role != 'system' %}{{ raise_exception('system first') }}{% endif %}" LIST
           CALLS(JSON_CALL),
       TOOL_FORM_JSON, "");
    is("{% if messages[-1].role != 'user' %}{{ raise_exception('user last') }}{% endif %}" LIST
           CALLS(JSON_CALL),
       TOOL_FORM_JSON, "");
    is("{% for m in messages %}{% if m.tool_calls and m.content %}{{ raise_exception('one of "
       "both') "
       "}}{% endif %}{% endfor %}" LIST CALLS(JSON_CALL),
       TOOL_FORM_JSON, "");
    // tools with the last question only
    is("{% for m in messages %}{% if loop.last %}" LIST "{% endif %}[{{ m.role }}] {{ m.content }}"
       "{% for c in m.tool_calls or [] %}{% set f = c.function %}" JSON_CALL "{% endfor %}"
       "{% endfor %}",
       TOOL_FORM_JSON, "");
}

static void test_other(void) {
    // XML: by the call, and by the words
    is(LIST CALLS("<tool_call>\n<function={{ f.name }}>\n{% for k, v in f.arguments | items %}"
                  "<parameter={{ k }}>\n{{ v }}\n</parameter>\n{% endfor %}</function>\n"
                  "</tool_call>"),
       TOOL_FORM_OTHER, "<tool_call> <function=NAME> <parameter=KEY>");
    is("{% if tools %}Call as <tool_call>\n<function=name>\n<parameter=p>\nvalue\n</parameter>\n"
       "</function>\n</tool_call>{% endif %}" LIST TURNS,
       TOOL_FORM_OTHER, "<tool_call><function=name>");
    // the same of a template that does not name the tools
    is("{% if tools %}Call as <tool_call>\n<function=name>{% endif %}" TURNS, TOOL_FORM_OTHER,
       "<tool_call><function=name>");
    is("{% if tools %}Call as <tool_call>{...}</tool_call>.{% endif %}" TURNS, TOOL_FORM_NONE, "");
    is("Not <tool_call><function=name>." TURNS, TOOL_FORM_NONE, "");
    // words of both forms are not to be trusted
    is("{% if tools %}Not <tool_call>{...}</tool_call>, but <tool_call><function=f>{% endif %}" LIST
           TURNS,
       TOOL_FORM_OTHER, NULL);
    // JSON, but between other tags, in a list, under other names, with a string of arguments
    is(LIST CALLS(
           "[TOOL_CALLS][{\"name\": \"{{ f.name }}\", \"arguments\": {{ f.arguments|tojson }}"
           ", \"id\": \"{{ c.id }}\"}]"),
       TOOL_FORM_OTHER, "[TOOL_CALLS][{\"name\": \"NAME\"");
    is(LIST CALLS("{\"name\": \"{{ f.name }}\", \"parameters\": {{ f.arguments | tojson }}}"),
       TOOL_FORM_OTHER, "\"parameters\"");
    is(LIST CALLS(
           "<tool_call>{\"name\": \"{{ f.name }}\", \"parameters\": {{ f.arguments|tojson }}}"
           "</tool_call>"),
       TOOL_FORM_OTHER, NULL);
    is(LIST CALLS(
           "<tool_call>[{\"name\": \"{{ f.name }}\", \"arguments\": {{ f.arguments|tojson }}}"
           "]</tool_call>"),
       TOOL_FORM_OTHER, NULL);
    is(LIST CALLS("<tool_call>{\"name\": \"{{ f.name }}\", \"arguments\": "
                  "{{ f.arguments | tojson | tojson }}}</tool_call>"),
       TOOL_FORM_OTHER, NULL);
    is(LIST CALLS("<tool_call>{{ f.name }}\n<arg_key>{{ f.arguments.keys()|first }}</arg_key>"
                  "<arg_value>{{ f.arguments.values()|first }}</arg_value></tool_call>"),
       TOOL_FORM_OTHER, "<tool_call>NAME");
    is(LIST CALLS("<\xef\xbd\x9c"
                  "call\xe2\x96\x81"
                  "begin>function<sep>{{ f.name }}\n```json\n"
                  "{{ f.arguments | tojson }}\n```"),
       TOOL_FORM_OTHER, "begin>function<sep>NAME");
    is(LIST CALLS(
           "Action: [{\"tool_name\": \"{{ f.name }}\", \"parameters\": {{ f.arguments|tojson "
           "}}}]"),
       TOOL_FORM_OTHER, "tool_name");
    // a character that the example's end or its beginning cuts goes as a whole
    for (int pad = 0; pad < 6; pad++) {
        static const char words[] = "{% if tools %}Call as <tool_call><", call[] = LIST CALLS_BEGIN;
        char t[1024];
        snprintf(t, sizeof t, "%s%.*s%s", words, pad, "aaaaaa", EUROS "{% endif %}" LIST TURNS);
        is(t, TOOL_FORM_OTHER, "\xe2\x82\xac");
        snprintf(t, sizeof t, "%s%.*s%s", call, pad, "aaaaaa",
                 "{{ f.name }}" EUROS "{{ f.arguments | tojson }}" CALLS_END);
        is(t, TOOL_FORM_OTHER, "NAME\xe2\x82\xac");
        snprintf(t, sizeof t, "%s%.*s%s", call, pad, "aaaaaa",
                 EUROS "{{ f.name }}{{ f.arguments | tojson }}" CALLS_END);
        is(t, TOOL_FORM_OTHER, "\xe2\x82\xacNAME");
    }
    // the tools are shown, and nothing says how they are called
    is(LIST TURNS, TOOL_FORM_OTHER, "");
    is("{% if tools %}Functions, between <tool_call> and its end.{% endif %}" LIST TURNS,
       TOOL_FORM_OTHER, "");
}

static void test_memory(void) {
    static const struct generation_config none = {.bos_token = NULL};
    struct template *t = NULL;
    struct tool_form f;
    CHECK_OK(template_compile("chat template", LIST CALLS(JSON_CALL),
                              sizeof(LIST CALLS(JSON_CALL)) - 1, &t, &msg),
             msg);
    enum err e = ERR_NOMEM;
    for (long n = 1; n < 5000 && e == ERR_NOMEM && t; n++) {
        fault_arm(FAULT_ALLOC, n, n % 2);
        e = tool_form_find(t, &none, &f, &msg);
        fault_disarm();
        CHECK(e == ERR_OK || e == ERR_NOMEM);
        if (e)
            CHECK(msg.text[0]);
    }
    CHECK(e == ERR_OK && f.kind == TOOL_FORM_JSON);
    template_free(t);
}

int main(void) {
    test_none();
    test_json();
    test_other();
    test_memory();
    return check_done();
}
