// Chat templates beyond what the goldens show: what is refused and by which name, limits under
// hostile templates, and memory running out at every allocation.
#include "base/buf.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/json_tree.h"
#include "template/template.h"
#include "tests/check.h"

static struct buf out;
static struct errmsg msg;

static enum err run(const char *source, size_t len, const struct template_limits *limits) {
    static const struct template_variable variables[] = {
        {.name = "s", .string = "text\xc3\xa9", .string_len = 6}, {.name = "yes", .truth = true}};
    struct template *t;
    msg = (struct errmsg){0};
    buf_reset(&out);
    enum err e = template_compile("the template", source, len, &t, &msg);
    if (e) {
        CHECK(t == NULL);
        return e;
    }
    e = template_render(t, variables, 2, limits, &out, &msg);
    template_free(t);
    return e;
}

static void gives(const char *source, const char *want) {
    CHECK_OK(run(source, strlen(source), NULL), msg);
    CHECK_STR(out.data ? out.data : "", want);
}

static void fails(const char *source, enum err want, const char *words) {
    enum err e = run(source, strlen(source), NULL);
    if (!CHECK(e == want) || !CHECK(strstr(msg.text, words) != NULL))
        fprintf(stderr, "    %.200s\n    %s: %s\n", source, err_name(e), msg.text);
}

static void test_variables(void) {
    gives("{{ s }} {{ yes }} {{ s|length }}", "text\xc3\xa9 True 5");
    struct template *t;
    CHECK_OK(template_compile("x", "{% if tools %}{{ m.images }}{% endif %}", 39, &t, &msg), msg);
    CHECK(template_uses(t, "tools") && template_uses(t, "m"));
    CHECK(!template_uses(t, "images") && !template_uses(t, "tool"));
    template_free(t);
    template_free(NULL);
}

// Refused when compiled, by name and with the line.
static void test_refusals(void) {
    fails("a\n{{ x|nope }}", ERR_UNSUPPORTED, "the template, line 2: filter 'nope'");
    fails("{{ x is nope }}", ERR_UNSUPPORTED, "test 'nope'");
    fails("{{ nope(1) }}", ERR_UNSUPPORTED, "function 'nope'");
    fails("{{ x.nope() }}", ERR_UNSUPPORTED, "method 'nope'");
    fails("{{ x.isdigit() }}", ERR_UNSUPPORTED, "method 'isdigit'");
    fails("{{ x|map('nope') }}", ERR_UNSUPPORTED, "filter 'nope'");
    fails("{{ x|selectattr('a', 'nope') }}", ERR_UNSUPPORTED, "test 'nope'");
    fails("{{ x|map(y) }}", ERR_UNSUPPORTED, "'map' with a name that is not written out");
    fails("{% include 'x' %}", ERR_UNSUPPORTED, "tag 'include'");
    fails("{% extends 'x' %}", ERR_UNSUPPORTED, "tag 'extends'");
    fails("{% do x %}", ERR_UNSUPPORTED, "tag 'do'");
    fails("{% for x in y recursive %}{% endfor %}", ERR_UNSUPPORTED, "recursive loops");
    fails("{% for x in y %}{{ loop(x) }}{% endfor %}", ERR_UNSUPPORTED, "recursive loops");
    fails("{{ f(*x) }}", ERR_UNSUPPORTED, "* or **");
    fails("{{ cycler }}", ERR_UNSUPPORTED, "'cycler'");
    fails("{{ x.__class__ }}", ERR_UNSUPPORTED, "attribute '__class__'");
    fails("{{ x[1, 2] }}", ERR_UNSUPPORTED, "comma");
    fails("{{ 0x10 }}", ERR_UNSUPPORTED, "decimal");
    fails("{{ '\\N{DASH}' }}", ERR_UNSUPPORTED, "\\N");
    fails("{{ '\\ud800' }}", ERR_UNSUPPORTED, "no character");
    fails("{{ \xc3\xa9 }}", ERR_UNSUPPORTED, "outside ASCII");
    fails("\xff", ERR_INVALID, "UTF-8");
    fails("{{ x|upper(1) }}", ERR_INVALID, "upper");
    fails("{{ s|map('upper') }}", ERR_INVALID, "generator");
    fails("{{ s.upper }}", ERR_INVALID, "method");
}

// A call's arguments, which come as a string: what they hold goes on as values of their own.
static void test_from_json(void) {
    gives("{% set a = '{\"b\": [1, 2.50, null, true, \"\\u00e9\"], \"c\": {}}'|from_json %}"
          "{{ a.b[0] + 1 }} {{ a.b }} {{ a|tojson }}",
          "2 [1, 2.5, None, True, '\xc3\xa9'] "
          "{\"b\": [1, 2.5, null, true, \"\xc3\xa9\"], \"c\": {}}");
    gives("{{ ' 123456789012345678901234567890 '|from_json }}", "123456789012345678901234567890");
    gives("{% for i in range(3) %}{% set x = ('[' ~ i ~ ',\"k\"]')|from_json %}{{ x[0] }}{{ x[1] }}"
          "{% endfor %}",
          "0k1k2k");
    fails("{{ 'no'|from_json }}", ERR_INVALID, "the template, line 1: from_json: ");
    fails("{{ ''|from_json }}", ERR_INVALID, "from_json: ");
    fails("{{ '[1,]'|from_json }}", ERR_INVALID, "from_json: ");
    fails("{{ 5|from_json }}", ERR_INVALID, "from_json takes a string, not int");
    fails("{{ x|from_json }}", ERR_INVALID, "from_json takes a string");
    fails("{{ '1'|from_json(2) }}", ERR_INVALID, "from_json");
    // what it makes counts like anything else
    fails("{% set t = '[' ~ ('0,' * 100000) ~ '0]' %}{% for i in range(99999) %}"
          "{% set x = t|from_json %}{% endfor %}",
          ERR_TOO_LARGE, "");
}

static void repeated(const char *head, const char *unit, size_t n, const char *tail,
                     const char *close, enum err want) {
    struct buf source = {0};
    buf_puts(&source, head);
    for (size_t i = 0; i < n; i++)
        buf_puts(&source, unit);
    buf_puts(&source, tail);
    for (size_t i = 0; i < n; i++)
        buf_puts(&source, close);
    int64_t start = clock_now_us();
    enum err e = run(source.data, source.len, NULL);
    if (!CHECK(e == want) || !CHECK(clock_now_us() - start < 10000000))
        fprintf(stderr, "    %s... gives %s: %s\n", unit, err_name(e), msg.text);
    buf_free(&source);
}

// Whatever nests is refused before the C stack is at risk; whatever chains is too.
static void test_nesting(void) {
    static const struct {
        const char *head, *unit, *tail, *close;
    } deep[] = {{"{{ ", "(", "1", ")"},
                {"{{ ", "[", "1", "]"},
                {"{{ ", "{1:", "1", "}"},
                {"{{ ", "not ", "1 }}", ""},
                {"{{ ", "-", "1 }}", ""},
                {"{{ 1", "+1", " }}", ""},
                {"{{ 1", "**1", " }}", ""},
                {"{{ s", "|upper", " }}", ""},
                {"{{ s", ".x", " }}", ""},
                {"{{ s", "[0]", " }}", ""},
                {"{{ s", "()", " }}", ""},
                {"{{ 1", " and 1", " }}", ""},
                {"{{ 1", " if 1", " }}", ""},
                {"{{ 1", " if 1 else 1", " }}", ""},
                {"{{ ", "f(", "1", ")"},
                {"{{ 1 is eq ", "(", "1", ")"},
                {"", "{% if 1 %}", "x", "{% endif %}"},
                {"{% if 1 %}", "{% elif 1 %}", "{% endif %}", ""},
                {"", "{% for a in s %}", "x", "{% endfor %}"},
                {"", "{% macro m() %}", "x", "{% endmacro %}"},
                {"", "{% set a %}", "x", "{% endset %}"},
                {"{% set ", "(", "a", ")"},
                {"{% for ", "(", "a", ")"}};
    for (size_t i = 0; i < sizeof deep / sizeof deep[0]; i++)
        repeated(deep[i].head, deep[i].unit, 20000, deep[i].tail, deep[i].close, ERR_TOO_LARGE);
    repeated("{{ ", "(", 60, "1", ")", ERR_INVALID); // no end of the tag
    repeated("{{ ''", "~s", 20000, "}}", "", ERR_OK);
    repeated("", "{{ s }}{# #}\n", 20000, "", "", ERR_OK);
    repeated("{% if 1 %}x", "{% elif 1 %}", 50, "{% endif %}", "", ERR_OK);
    repeated("", "x", (1 << 20) + 1, "", "", ERR_TOO_LARGE);
}

// Loops, growth and recursion end at a limit.
static void test_limits(void) {
    static const char nines[] = "{% set r = range(99999) %}{% for a in r %}{% for b in r %}"
                                "{% endfor %}{% endfor %}";
    fails(nines, ERR_TOO_LARGE, "takes too many steps");
    fails("{% for a in range(99999) %}{% for b in range(a) %}{% endfor %}{% endfor %}",
          ERR_TOO_LARGE, "");
    // what takes long within one step is many steps
    static const char *const long_work[] = {
        "{{ ('a' * 5000000 ~ 'b') in 'a' * 20000000 }}",
        "{% for i in r %}{{ s.startswith(s) }}{% endfor %}",
        "{% for i in r %}{{ s.endswith(p) }}{% endfor %}",
        "{% for i in r %}{% set t = s.removeprefix(s) %}{% endfor %}",
        "{% for i in r %}{{ d[s] }}{% endfor %}",
        "{% for i in r %}{{ s in d }}{% endfor %}",
        "{% for i in r %}{{ s == u }}{% endfor %}",
        "{% for i in r %}{{ s < u }}{% endfor %}",
    };
    for (size_t i = 0; i < sizeof long_work / sizeof *long_work; i++) {
        char text[256];
        snprintf(text, sizeof text,
                 "{%% set s = 'a' * 1000000 ~ 'b' %%}{%% set u = 'a' * 1000000 ~ 'c' %%}"
                 "{%% set d = {s: 1} %%}{%% set p = (u, s) %%}"
                 "{%% set r = range(99999) %%}%s",
                 long_work[i]);
        fails(text, ERR_TOO_LARGE, "takes too many steps");
    }
    // names that one is told from
    struct buf names = {0};
    buf_puts(&names, "{% for i in range(99999) %}");
    for (int i = 0; i < 20000; i++)
        buf_printf(&names, "{%% set a%d = 1 %%}", i);
    buf_puts(&names, "{% endfor %}");
    fails(names.data, ERR_TOO_LARGE, "takes too many steps");
    buf_free(&names);
    fails("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", ERR_TOO_LARGE, "macros call");
    fails("{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}", ERR_TOO_LARGE, "macros call");
    fails("{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
          "{{ m(100) }}",
          ERR_TOO_LARGE, "steps");
    fails("{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}"
          "{% endfor %}",
          ERR_TOO_LARGE, "string of over");
    fails("{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}"
          "{% endfor %}",
          ERR_TOO_LARGE, "");
    fails("{% set ns = namespace(x=[]) %}{% for i in range(999) %}{% set ns.x = [ns.x] %}"
          "{% endfor %}{{ ns.x }}",
          ERR_TOO_LARGE, "nested too deeply");
    fails("{% set ns = namespace(x=[]) %}{% for i in range(999) %}{% set ns.x = [ns.x] %}"
          "{% endfor %}{{ ns.x|tojson }}",
          ERR_TOO_LARGE, "nested too deeply");
    fails("{% set ns = namespace(x=[], y=[]) %}{% for i in range(999) %}{% set ns.x = [ns.x] %}"
          "{% set ns.y = [ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
          ERR_TOO_LARGE, "nested too deeply");
    fails("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", ERR_TOO_LARGE, "nested");
    // a list of one list twice, twice, ...: small in memory, exponential in print
    fails("{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
          "{% endfor %}{{ ns.x }}",
          ERR_TOO_LARGE, "");
    fails("{{ 'x' * 999999999999 }}", ERR_TOO_LARGE, "string of over");
    fails("{{ [1] * 999999999999 }}", ERR_TOO_LARGE, "");
    fails("{{ '%999999999d' % 1 }}", ERR_TOO_LARGE, "");
    fails("{{ '{:999999999}'.format(1) }}", ERR_TOO_LARGE, "");
    fails("{{ ('a' * 9999999).replace('', 'b' * 999999) }}", ERR_TOO_LARGE, "");
    fails("{{ ('a' * 9999999).replace('a' * 4999999 ~ 'b', 'c') }}", ERR_TOO_LARGE, "steps");
    fails("{{ s|indent(9999999) }}", ERR_TOO_LARGE, "indent");
    fails("{{ range(9999999) }}", ERR_INVALID, "Range too big");
    fails("{{ 9223372036854775807 + 1 }}", ERR_INVALID, "64 bits");
    fails("{{ 10 ** 100 }}", ERR_INVALID, "64 bits");
    gives("{% set ns = namespace(x='') %}{% for i in range(50000) %}{% set ns.x = ns.x ~ "
          "'abcdefgh' %}"
          "{% endfor %}{{ ns.x|length }}",
          "400000"); // appending is not quadratic in memory
    struct template_limits tight = {.max_bytes = 10, .max_steps = 100, .max_depth = 3};
    CHECK(run("{{ 'x' * 10 }}", 14, &tight) == ERR_OK && out.len == 10);
    CHECK(run("{{ 'x' * 10 }}y", 15, &tight) == ERR_TOO_LARGE && out.len == 0);
    CHECK(run("{{ [[[1]]] }}", 13, &tight) == ERR_OK);
    CHECK(run("{{ [[[[1]]]] }}", 15, &tight) == ERR_TOO_LARGE);
    CHECK(run("{% for x in range(200) %}{% endfor %}", 37, &tight) == ERR_TOO_LARGE);
}

// Every allocation may fail, in compiling and in rendering; nothing leaks (ASan watches).
static void test_no_memory(void) {
    static const char source[] =
        "{% macro m(a, b='x') %}{{ a ~ b }}{{ caller() }}{{ kwargs }}{% endmacro %}"
        "{% set ns = namespace(l=[1, 2]) %}{% for x in ns.l %}{% set ns.l = ns.l + [x] %}"
        "{{ loop.index }}{{ {'k': [x, none, 1.5]}|tojson(indent=2) }}{% endfor %}"
        "{% call m(s|upper, c=1) %}in{% endcall %}{% set t %}{{ s.split('x') }}{% endset %}"
        "{{ t|replace('t', 'u')|indent }}{{ '%s-%d' % (s, 3) }}{{ '{:>5}'.format(s) }}"
        "{{ ns.l|map('string')|join(',') }}{{ s[::-1] }}{{ strftime_now('%Y') }}"
        "{{ {'b': 1, 'a': 2}|dictsort }}{{ s|e }}{{ 'x' * 40000 }}";
    static const struct template_variable variables[] = {
        {.name = "s", .string = "text", .string_len = 4}};
    bool done = false;
    for (long nth = 1; nth < 2000 && !done; nth++) {
        struct template *t = NULL;
        struct buf rendered = {0};
        fault_arm(FAULT_ALLOC, nth, nth % 2);
        enum err e = template_compile("x", source, sizeof source - 1, &t, NULL);
        if (!e)
            e = template_render(t, variables, 1, NULL, &rendered, NULL);
        fault_disarm();
        done = e == ERR_OK;
        CHECK(done ? nth > 3 && rendered.len > 40000 : e == ERR_NOMEM && rendered.len == 0);
        template_free(t);
        buf_free(&rendered);
    }
    CHECK(done);
}

int main(void) {
    test_variables();
    test_refusals();
    test_from_json();
    test_nesting();
    test_limits();
    test_no_memory();
    buf_free(&out);
    return check_done();
}
