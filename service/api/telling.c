// See telling.h.
#include "service/api/telling.h"

#include <stddef.h>

// Parts of names that tell of a changed answer, whatever service the name comes from, with the
// values that ask for what is done anyway; "", [] and {} do of all. Compared without case and
// without what joins the words of a name.
#define NOT_ASKED "false|0|float"
static const struct api_telling telling[] = {
    // done in any case, so that false asks for another answer; first, as the first part that is
    // found counts
    {"normaliz", "true", false},
    {"normalis", "true", false},
    {"sort", "true|desc", true},
    {"sorted", "true", true},
    // the form of a vector
    {"dimension", NOT_ASKED, false},
    {"dtype", NOT_ASKED, false},
    {"pooling", NOT_ASKED, false},
    {"quantiz", NOT_ASKED, false},
    {"quantis", NOT_ASKED, false},
    {"precision", NOT_ASKED, false},
    {"endian", "little|native", false},
    {"sparse", NOT_ASKED, false},
    {"dense", "true", true},
    {"colbert", NOT_ASKED, false},
    {"multivector", NOT_ASKED, false},
    {"tokenembedding", NOT_ASKED, false},
    {"interaction", NOT_ASKED, false},
    {"matryoshka", NOT_ASKED, false},
    {"embeddim", NOT_ASKED, false},
    {"embeddingdim", NOT_ASKED, false},
    {"outputdim", NOT_ASKED, false},
    {"embeddingsize", NOT_ASKED, false},
    {"vectorsize", NOT_ASKED, false},
    {"embeddingformat", NOT_ASKED, false},
    {"outputformat", NOT_ASKED, false},
    {"outputtype", "float|dense", false},
    {"layer", "", true},
    {"layers", "", true},
    // texts
    {"truncat", NOT_ASKED, false},
    {"chunk", NOT_ASKED, false},
    {"overlap", NOT_ASKED, false},
    {"instruct", NOT_ASKED, false},
    {"prompt", NOT_ASKED, false},
    {"prefix", "", false},
    {"suffix", "", false},
    {"template", "", false},
    {"maxlength", NOT_ASKED, false},
    {"doclength", NOT_ASKED, false},
    {"querylength", NOT_ASKED, false},
    {"seqlen", NOT_ASKED, false},
    {"maxtokens", NOT_ASKED, false},
    {"inputtokens", NOT_ASKED, false},
    {"specialtoken", NOT_ASKED, false},
    {"lowercase", "", false},
    {"image", "", true},
    {"images", "", true},
    {"video", "", true},
    {"videos", "", true},
    {"audio", "", true},
    // scores, and which of them are answered
    {"activation", "", false},
    {"softmax", "", false},
    {"sigmoid", "", false},
    {"function", "", true},
    {"problemtype", "", false},
    {"threshold", NOT_ASKED, false},
    {"cutoff", NOT_ASKED, false},
    {"minscore", NOT_ASKED, false},
    {"score", NOT_ASKED, true},
    {"scores", NOT_ASKED, true},
    {"logits", NOT_ASKED, true},
    {"raw", NOT_ASKED, true},
    {"metric", "cosine|cos", true},
    {"similarity", "cosine|cos", true},
    {"filter", "", true},
    {"filters", "", true},
    // another model, or whatever
    {"lora", "", true},
    {"adapter", "", true},
    {"downstream", "", false},
    {"mode", "", true},
    {"kwargs", NOT_ASKED, false},
    {"extrabody", NOT_ASKED, false},
};
enum { MOST_TELLING = 64 }; // bytes of a name that are looked at
// What holds parameters in the bodies of other services, as a word of its name.
static const char *const holders[] = {"parameters", "params", "options", "config", "settings"};

static bool is_joint(char c) { return c == '_' || c == '-' || c == '.' || c == ' '; }

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

bool api_telling_same(const char *a, const char *b) {
    for (;; a++, b++) {
        while (is_joint(*a))
            a++;
        while (is_joint(*b))
            b++;
        if (lower(*a) != lower(*b))
            return false;
        if (!*a)
            return true;
    }
}

// A word begins behind what joins, and with a capital behind a small letter or a digit.
static bool begins_word(const char *name, size_t i) {
    bool capital = name[i] >= 'A' && name[i] <= 'Z';
    return i == 0 || is_joint(name[i - 1]) ||
           (capital && !(name[i - 1] >= 'A' && name[i - 1] <= 'Z'));
}

// Whether the name's part from `at` on is `part`, and where that ends.
static bool part_at(const char *name, size_t at, const char *part, size_t *end) {
    for (; *part; at++) {
        if (is_joint(name[at]))
            continue;
        if (lower(name[at]) != *part++)
            return false;
    }
    *end = at;
    return true;
}

static bool has_part(const char *name, const char *part, bool word) {
    for (size_t i = 0, end; i < MOST_TELLING && name[i]; i++) {
        if (is_joint(name[i]) || (word && !begins_word(name, i)))
            continue;
        if (part_at(name, i, part, &end) &&
            (!word || !name[end] || is_joint(name[end]) || begins_word(name, end)))
            return true;
    }
    return false;
}

const struct api_telling *api_telling_find(const char *name) {
    for (size_t i = 0; i < sizeof telling / sizeof *telling; i++)
        if (has_part(name, telling[i].part, telling[i].word))
            return &telling[i];
    return NULL;
}

bool api_telling_holder(const char *name) {
    for (size_t i = 0; i < sizeof holders / sizeof *holders; i++)
        if (has_part(name, holders[i], true))
            return true;
    return false;
}
