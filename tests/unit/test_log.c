// Log lines: as JSON one valid object a line with typed fields, whatever the strings hold and
// however long they are; as text one line.
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "tests/check.h"
#include "tests/kit/scratch.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static char text[1 << 16];
static size_t text_len;

static int begin(bool json) {
    fflush(stderr);
    int kept = dup(STDERR_FILENO),
        fd = open(scratch_path("log"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDERR_FILENO);
    close(fd);
    log_init(LOG_LEVEL_INFO, json);
    return kept;
}

static void end(int kept) {
    dup2(kept, STDERR_FILENO);
    close(kept);
    int fd = open(scratch_path("log"), O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text_len = n > 0 ? (size_t)n : 0;
    text[text_len] = '\0';
}

// The one line that was written, checked as strictly as a request's body.
static cJSON *read_object(void) {
    struct errmsg msg = {0};
    cJSON *root = NULL;
    CHECK(text_len > 0 && text[text_len - 1] == '\n' && !memchr(text, '\n', text_len - 1));
    CHECK_OK(json_parse(text, text_len, &json_limits_request, &root, NULL, &msg), msg);
    return root;
}

static const char *string_of(const cJSON *o, const char *name) {
    const cJSON *item = json_get(o, name);
    return cJSON_IsString(item) ? item->valuestring : "(none)";
}

static void test_types(void) {
    int kept = begin(true);
    log_event(LOG_LEVEL_WARN, "something",
              LOG_FIELDS(log_string("name", "a"), log_string("absent", NULL), log_int("n", -5),
                         log_size("bytes", (size_t)1 << 40), log_real("ms", 1.25),
                         log_real("whole", 3), log_real("none", -0.0), log_real("most", 1e15),
                         log_real("nan", NAN), log_bool("yes", true), log_bool("no", false)),
              "said %d", 7);
    end(kept);
    cJSON *o = read_object();
    CHECK_STR(string_of(o, "level"), "warn");
    CHECK_STR(string_of(o, "event"), "something");
    CHECK_STR(string_of(o, "message"), "said 7");
    CHECK_STR(string_of(o, "name"), "a");
    CHECK(strlen(string_of(o, "time")) == 24 && string_of(o, "time")[23] == 'Z');
    CHECK(!json_get(o, "absent") && !json_get(o, "nan"));
    CHECK(cJSON_IsNumber(json_get(o, "n")) && json_get(o, "n")->valuedouble == -5);
    CHECK(cJSON_IsNumber(json_get(o, "bytes")) && json_get(o, "bytes")->valuedouble == 0x1p40);
    CHECK(cJSON_IsNumber(json_get(o, "ms")) && json_get(o, "ms")->valuedouble == 1.25);
    CHECK(strstr(text, "\"whole\":3.0,") && strstr(text, "\"none\":-0.0,"));
    CHECK(json_get(o, "most") && json_get(o, "most")->valuedouble == 1e15);
    CHECK(strstr(text, "\"n\":-5,"));
    CHECK(cJSON_IsTrue(json_get(o, "yes")) && cJSON_IsFalse(json_get(o, "no")));
    cJSON_Delete(o);

    kept = begin(true);
    log_info("words only: %s", "x");
    log_debug("not at this level");
    end(kept);
    o = read_object();
    CHECK_STR(string_of(o, "event"), "note");
    CHECK_STR(string_of(o, "message"), "words only: x");
    cJSON_Delete(o);
}

static void test_any_bytes(void) {
    // every byte, at each place in a string: what is text comes back, the rest as U+FFFD
    for (int c = 1; c < 256; c++) {
        char value[8] = {'a', (char)c, 'b', '"', '\\', (char)c, '\0'};
        int kept = begin(true);
        log_event(LOG_LEVEL_INFO, "bytes", LOG_FIELDS(log_string("value", value)), "%s", value);
        end(kept);
        cJSON *o = read_object();
        char want[16];
        if (c < 0x80)
            snprintf(want, sizeof want, "%s", value);
        else
            snprintf(want, sizeof want,
                     "a\xef\xbf\xbd"
                     "b\"\\\xef\xbf\xbd");
        CHECK_STR(string_of(o, "value"), want);
        cJSON_Delete(o);

        kept = begin(false);
        log_event(LOG_LEVEL_INFO, "bytes", LOG_FIELDS(log_string("value", value)), "%s", value);
        end(kept);
        CHECK(text_len && strchr(text, '\n') == text + text_len - 1 &&
              utf8_valid(text, text_len, NULL));
    }
}

static void test_long_strings(void) {
    static const char *const fill[] = {"x", "\"", "\x01", "\xc3\xa4", "\xf0\x9f\x98\x80", "\xff"};
    static char value[20000];
    for (size_t k = 0; k < sizeof fill / sizeof *fill; k++) {
        for (size_t shift = 0; shift < 4; shift++) {
            size_t n = shift;
            memset(value, 'y', shift);
            while (n + 8 < sizeof value) {
                memcpy(value + n, fill[k], strlen(fill[k]));
                n += strlen(fill[k]);
            }
            value[n] = '\0';
            int kept = begin(true);
            log_event(
                LOG_LEVEL_INFO, "long",
                LOG_FIELDS(log_string("a", value), log_string("b", value), log_string("c", value),
                           log_string("d", value), log_string("e", value), log_string("f", value),
                           log_string("g", value), log_string("h", value), log_string("i", value),
                           log_string("j", value), log_string("k", value), log_string("l", value)),
                "%s", value);
            end(kept);
            CHECK(text_len < 8192);
            cJSON *o = read_object();
            const char *a = string_of(o, "a"), *message = string_of(o, "message");
            CHECK(strlen(a) >= 80 && strcmp(a + strlen(a) - 3, "...") == 0);
            CHECK(strlen(message) >= 80 && json_get(o, "level"));
            cJSON_Delete(o);
        }
    }
}

// What another process is told, to write as this one does.
static void levels(void) {
    enum log_level got = LOG_LEVEL_OFF;
    for (int i = LOG_LEVEL_DEBUG; i <= LOG_LEVEL_OFF; i++) {
        CHECK(log_level_read(log_level_name((enum log_level)i), &got) && (int)got == i);
        log_init((enum log_level)i, i % 2);
        CHECK(log_least() == (enum log_level)i && log_is_json() == (i % 2 == 1));
    }
    CHECK(!log_level_read("", &got) && !log_level_read("Warn", &got) && got == LOG_LEVEL_OFF);
}

int main(void) {
    json_init();
    test_types();
    test_any_bytes();
    test_long_strings();
    CHECK_INT(log_dropped(), 0);
    levels();
    return check_done();
}
