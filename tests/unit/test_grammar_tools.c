// Calls beside a form for answers, and what a schema may say that constrains nothing.
#include "tests/unit/grammar_kit.h"

static struct errmsg msg;

static struct json_tree *parse(const char *text) {
    struct json_tree *tree = NULL;
    CHECK_OK(json_tree_parse(text, strlen(text), &json_limits_request, &tree, NULL, &msg), msg);
    return tree;
}

#define CALL "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>"

static void takes(const struct grammar *g, const char *text, char want) {
    if (g && !CHECK(kit_takes(g, text) == want))
        fprintf(stderr, "    %s\n", text);
}

// An answer in its form, or calls: never text before a call, nor an answer behind one.
static void test_answer(void) {
    struct json_tree *args =
        parse("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}},"
              "\"required\":[\"a\"]}");
    struct json_tree *form =
        parse("{\"type\":\"object\",\"properties\":{\"b\":{\"type\":\"string\"}},"
              "\"required\":[\"b\"],\"additionalProperties\":false}");
    struct grammar_tool tool = {"f", 1, json_tree_root(args)};
    struct grammar_answer answer = {json_tree_root(form)};
    struct grammar *g = NULL;
    CHECK_OK(grammar_from_tools(&tool, 1, GRAMMAR_TOOLS_AUTO, true, &answer, &g, &msg), msg);
    takes(g, CALL, 'y');
    takes(g, CALL "\n" CALL, 'y');
    takes(g, "{\"b\": \"<tool_call>\"}", 'y');
    takes(g, "", 'p');
    takes(g, "{\"b\": \"x\"", 'p');
    takes(g, "{\"b\": 5", 'n');
    takes(g, "{\"a\"", 'n');
    takes(g, "Sure", 'n');
    takes(g, CALL "\n{", 'n');
    takes(g, "{\"b\": \"x\"}\n", 'n');
    takes(g, "<tool_call>\n{\"name\": \"g", 'n');
    grammar_free(g);
    CHECK_OK(grammar_from_tools(&tool, 1, GRAMMAR_TOOLS_AUTO, false, &answer, &g, &msg), msg);
    takes(g, CALL, 'y');
    takes(g, CALL "\n", 'n');
    grammar_free(g);
    // where a call must come there is no answer
    CHECK_OK(grammar_from_tools(&tool, 1, GRAMMAR_TOOLS_REQUIRED, true, &answer, &g, &msg), msg);
    takes(g, CALL, 'y');
    takes(g, "{", 'n');
    grammar_free(g);
    // any object
    answer.schema = NULL;
    CHECK_OK(grammar_from_tools(&tool, 1, GRAMMAR_TOOLS_AUTO, true, &answer, &g, &msg), msg);
    takes(g, "{\"x\": [1, null]}", 'y');
    takes(g, "[1]", 'n');
    takes(g, CALL, 'y');
    grammar_free(g);
    json_tree_free(form);
    // an answer that cannot be, beside calls that can: a call remains
    form = parse("{\"type\":\"string\",\"enum\":[5]}");
    answer.schema = json_tree_root(form);
    CHECK_OK(grammar_from_tools(&tool, 1, GRAMMAR_TOOLS_AUTO, true, &answer, &g, &msg), msg);
    takes(g, CALL, 'y');
    takes(g, "\"", 'n');
    grammar_free(g);
    json_tree_free(form);
    form = parse("{\"oneOf\":[{}]}");
    answer.schema = json_tree_root(form);
    CHECK(grammar_from_tools(&tool, 1, GRAMMAR_TOOLS_AUTO, true, &answer, &g, &msg) != ERR_OK);
    CHECK(g == NULL);
    json_tree_free(form);
    json_tree_free(args);
}

// Whatever describes: alone, beside each keyword that stands alone, and at every level.
static void test_annotations(void) {
    static const char *const names[] = {"title",
                                        "description",
                                        "default",
                                        "example",
                                        "examples",
                                        "deprecated",
                                        "readOnly",
                                        "writeOnly",
                                        "$schema",
                                        "$id",
                                        "id",
                                        "$comment",
                                        "$vocabulary",
                                        "$anchor",
                                        "$dynamicAnchor",
                                        "contentEncoding",
                                        "contentMediaType",
                                        "contentSchema",
                                        "nullable",
                                        "discriminator",
                                        "externalDocs",
                                        "xml",
                                        "enumNames",
                                        "enumDescriptions",
                                        "markdownDescription",
                                        "propertyOrdering",
                                        "errorMessage",
                                        "x-order",
                                        "x-",
                                        "X-Internal"};
    static const char *const values[] = {"true", "\"w\"", "{\"not\": {}}", "[1]", "null"};
    static const char *const schemas[] = {
        "{\"type\":\"integer\",\"%s\":%s}",
        "{\"%s\":%s,\"anyOf\":[{\"type\":\"integer\"}]}",
        "{\"enum\":[5],\"%s\":%s}",
        "{\"%s\":%s,\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"type\":\"integer\"}}}",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t k = 0; k < sizeof schemas / sizeof *schemas; k++) {
            char text[256];
            struct buf warnings = {0};
            struct grammar *g = NULL;

            snprintf(text, sizeof text, schemas[k], names[i], values[(i + k) % 5]);
            struct json_tree *tree = parse(text);
            enum err e = grammar_from_schema(json_tree_root(tree), &warnings, &g, &msg);
            if (!CHECK(e == ERR_OK && warnings.len == 0))
                fprintf(stderr, "    %s: %s\n", text, msg.text);
            takes(g, "5", 'y');
            takes(g, "null", 'n'); // nullable is a word, not a type
            grammar_free(g);
            buf_free(&warnings);
            json_tree_free(tree);
        }
    // what only looks like one
    static const char *const others[] = {"x", "xorder", "Title", "readonly", "x_order", "comment"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char text[64];
        struct grammar *g = NULL;
        snprintf(text, sizeof text, "{\"type\":\"integer\",\"%s\":1}", others[i]);
        struct json_tree *tree = parse(text);
        CHECK_INT(grammar_from_schema(json_tree_root(tree), NULL, &g, &msg), ERR_UNSUPPORTED);
        CHECK(strstr(msg.text, others[i]) != NULL);
        json_tree_free(tree);
    }
}

int main(void) {
    test_answer();
    test_annotations();
    return check_done();
}
