// The codec's messages that bring a model: names of files in as many messages as they take, and the
// spec with every number of a model's held to the range that its files are held to.
#include "tests/unit/wire_kit.h"

static struct errmsg msg;

// ---- FILES

static struct wire_files files;
static bool takes_files(const struct channel_message *m) {
    return wire_read_files(m, &files, &msg) == ERR_OK;
}

static void test_files(void) {
    static const char *const paths[] = {"/m/config.json", "/m/model.safetensors", "x"};
    struct pack_writer w = wire_begin();
    CHECK_INT(wire_write_files(&w, 5, paths, 3), 3);
    struct channel_message m = wire_message(WIRE_FILES, &w, 0);
    m.fd_count = 3;
    wire_check_lengths(m, takes_files);
    CHECK(takes_files(&m) && files.model == 5 && files.count == 3);
    for (size_t i = 0; i < 3; i++)
        CHECK_STR(files.paths[i], paths[i]);
    CHECK(!wire_takes_u64(&m, takes_files, wire_payload, 0, 0));
    CHECK(!wire_takes_u32(&m, takes_files, wire_payload, 8, 2));
    CHECK(!wire_takes_u32(&m, takes_files, wire_payload, 8, UINT32_MAX));
    CHECK(!wire_takes_u32(&m, takes_files, wire_payload, 12, 0));
    CHECK(!wire_takes_u32(&m, takes_files, wire_payload, 12, UINT32_MAX));
    CHECK(!wire_takes_with(&m, takes_files, wire_payload, 17, "", 1)); // a NUL in a name
    m.fd_count = 2;
    CHECK(!takes_files(&m));
    m.fd_count = 4;
    CHECK(!takes_files(&m));
    w = wire_begin();
    CHECK_INT(wire_write_files(&w, 5, (const char *const[]){""}, 1), 0);
}

// Long names go in several messages, each with what fits.
static void test_many_files(void) {
    enum { MANY = 100, LONG = WIRE_PATH_BYTES - 1 };
    static char text[MANY][LONG + 2];
    const char *paths[MANY];
    for (size_t i = 0; i < MANY; i++) {
        size_t n = i < 20 ? LONG : 1 + wire_random(LONG);
        memset(text[i], (int)('a' + i % 26), n);
        paths[i] = text[i];
    }
    size_t sent = 0, messages = 0;
    while (sent < MANY) {
        struct pack_writer w = wire_begin();
        size_t n = wire_write_files(&w, 1, paths + sent, MANY - sent);
        if (!CHECK(n > 0 && n <= CHANNEL_FDS))
            return;
        struct channel_message m = wire_message(WIRE_FILES, &w, 0);
        m.fd_count = n;
        CHECK(takes_files(&m) && files.count == n);
        for (size_t i = 0; i < n; i++)
            CHECK_STR(files.paths[i], paths[sent + i]);
        sent += n;
        messages++;
    }
    CHECK(messages >= MANY / CHANNEL_FDS + 1);
    text[0][LONG] = 'a'; // a byte more than a name may have
    struct pack_writer w = wire_begin();
    CHECK_INT(wire_write_files(&w, 1, paths, 1), 0);
}

// ---- LOAD

static const struct replica_spec encoder = {
    .model = 2,
    .name = "minilm",
    .path = "/models/minilm",
    .files = "/models/minilm/0_Transformer",
    .task = TASK_RERANK,
    .max_length = 128,
    .dim = 3,
    .config = {.arch = MODEL_ARCH_DISTILBERT,
               .architecture = "DistilBertForSequenceClassification",
               .classification = true,
               .hidden = 48,
               .layers = 3,
               .heads = 4,
               .ffn = 96,
               .vocab = 50,
               .max_positions = 130,
               .type_vocab = 2,
               .norm_eps = 1e-12F,
               .activation = ACTIVATION_RELU,
               .labels = 3,
               .scores = MODEL_SCORES_LOGITS},
    .precision = {.storage = WEIGHT_STORAGE_STORED,
                  .rounding = ACTIVATION_ROUNDING_INT8,
                  .floats = COMPUTE_F16},
    .pool_mode = -1,
    .yes_id = -1,
    .no_id = -1,
    .room = {.limit = {.bytes = SIZE_MAX, .source = "the machine's memory"},
             .resident = 1,
             .workspaces = 2,
             .caches = 3,
             .reserve = SIZE_MAX}};

static const struct replica_spec decoder = {
    .model = UINT64_MAX,
    .name = "qwen",
    .path = "qwen.gguf",
    .files = "qwen.gguf",
    .task = TASK_RERANK,
    .causal = true,
    .max_length = 4096,
    .dim = 1,
    .decoder_config = {.arch = DECODER_ARCH_QWEN3,
                       .architecture = "Qwen3ForCausalLM",
                       .causal_lm = true,
                       .hidden = 1024,
                       .layers = 28,
                       .heads = 16,
                       .kv_heads = 8,
                       .head_dim = 128,
                       .ffn = 3072,
                       .vocab = 151669,
                       .max_positions = 40960,
                       .norm_eps = 1e-6F,
                       .rope = {.theta = 1e6,
                                .scaling = DECODER_ROPE_LLAMA3,
                                .factor = 4,
                                .low_freq_factor = 1,
                                .high_freq_factor = 4,
                                .beta_fast = 32,
                                .beta_slow = 1,
                                .attention_factor = 1.25,
                                .mscale = 0.5,
                                .mscale_all_dim = 0.25,
                                .truncate = true,
                                .original_max_positions = 8192},
                       .qkv_bias = true,
                       .mlp_bias = true,
                       .tied = true,
                       .window = 4096,
                       .window_from = 3},
    .precision = {.rounding = ACTIVATION_ROUNDING_NARROW},
    .pool_mode = POOL_LAST,
    .pools_plainly = true,
    .pool_normalizes = true,
    .yes_id = 9693,
    .no_id = 2152};

static struct wire_load load;
static bool takes_load(const struct channel_message *m) {
    return wire_read_load(m, &load, &msg) == ERR_OK;
}

static struct channel_message load_of(const struct replica_spec *s) {
    struct pack_writer w = wire_begin();
    CHECK_OK(wire_write_load(&w, s, 7, &msg), msg);
    return wire_message(WIRE_LOAD, &w, 0);
}

static bool takes_spec(const struct replica_spec *s) {
    struct channel_message m = load_of(s);
    return takes_load(&m);
}

// What was read writes the same bytes: every field went across, and stands where it belongs.
static void check_same_bytes(const struct channel_message *m) {
    static unsigned char again[CHANNEL_PAYLOAD_BYTES];
    struct pack_writer w = pack_writer_of(again, sizeof again);
    CHECK_OK(wire_write_load(&w, &load.spec, load.files, &msg), msg);
    CHECK_INT(w.length, m->payload_length);
    CHECK(memcmp(again, wire_payload, w.length) == 0);
}

static void test_load(void) {
    struct channel_message m = load_of(&encoder);
    wire_check_lengths(m, takes_load);
    CHECK(takes_load(&m));
    check_same_bytes(&m);
    const struct replica_spec *s = &load.spec;
    CHECK(s->model == 2 && s->task == TASK_RERANK && !s->causal && s->max_length == 128 &&
          s->dim == 3 && s->pool_mode == -1 && s->yes_id == -1 && !s->sources);
    CHECK_STR(s->name, "minilm");
    CHECK_STR(s->path, "/models/minilm");
    CHECK_STR(s->files, "/models/minilm/0_Transformer");
    CHECK_STR(s->config.architecture, encoder.config.architecture);
    CHECK(s->config.hidden == 48 && s->config.layers == 3 && s->config.heads == 4 &&
          s->config.ffn == 96 && s->config.vocab == 50 && s->config.max_positions == 130 &&
          s->config.type_vocab == 2 && s->config.labels == 3 && s->config.classification &&
          !s->config.label_names && s->config.activation == ACTIVATION_RELU);
    CHECK(s->room.limit.bytes == SIZE_MAX && s->room.reserve == SIZE_MAX && s->room.resident == 1);
    CHECK_STR(s->room.limit.source, "the machine's memory");
    struct wire_model known;
    wire_model_of(s, &known);
    CHECK(known.model == 2 && known.task == TASK_RERANK && !known.causal &&
          known.max_length == 128 && known.dim == 3 && known.vocab == 50 && known.types == 2);

    m = load_of(&decoder);
    wire_check_lengths(m, takes_load);
    CHECK(takes_load(&m));
    check_same_bytes(&m);
    const struct decoder_config *c = &load.spec.decoder_config, *d = &decoder.decoder_config;
    CHECK(c->kv_heads == 8 && c->head_dim == 128 && c->norm_eps == d->norm_eps && c->qkv_bias &&
          !c->o_bias && c->mlp_bias && !c->qk_norm && c->tied && c->window == 4096 &&
          c->window_from == 3 && c->rope.theta == 1e6 && c->rope.attention_factor == 1.25 &&
          c->rope.truncate && c->rope.original_max_positions == 8192);
    wire_model_of(&load.spec, &known);
    CHECK(known.causal && known.vocab == 151669 && known.types == 0);
}

// One field wrong at a time.
#define WRONG(of, field, value)                                                                    \
    do {                                                                                           \
        struct replica_spec wrong_ = of;                                                           \
        wrong_.field = value;                                                                      \
        CHECK(!takes_spec(&wrong_));                                                               \
    } while (0)

static void test_wrong_models(void) {
    WRONG(encoder, model, 0);
    WRONG(encoder, task, TASK_GENERATE);
    WRONG(encoder, task, TASK_COUNT);
    WRONG(encoder, task, TASK_EMBED); // with a head
    WRONG(encoder, max_length, 0);
    WRONG(encoder, max_length, 131);
    WRONG(encoder, dim, 0);
    WRONG(encoder, dim, 4);
    WRONG(encoder, precision.storage, (enum weight_storage)2);
    WRONG(encoder, precision.rounding, (enum activation_rounding)4);
    WRONG(encoder, precision.floats, (enum compute_floats)4);
    WRONG(encoder, pool_mode, -2);
    WRONG(encoder, pool_mode, POOL_MEAN_SQRT + 1);
    WRONG(decoder, task, TASK_CLASSIFY);
    WRONG(decoder, task, TASK_GENERATE); // with rows
    WRONG(decoder, max_length, 40961);
    WRONG(decoder, dim, 2);
    WRONG(decoder, yes_id, -1);
    WRONG(decoder, no_id, 151669);
    struct replica_spec plain = decoder;
    plain.task = TASK_EMBED;
    plain.dim = 1024;
    CHECK(takes_spec(&plain));
    WRONG(plain, pool_mode, -1); // which way?
    WRONG(plain, dim, ((size_t)1 << 20) + 1);
    struct replica_spec talks = decoder;
    talks.task = TASK_GENERATE;
    talks.dim = 0;
    talks.yes_id = talks.no_id = -1;
    CHECK(takes_spec(&talks));
}

static void test_wrong_encoders(void) {
    WRONG(encoder, config.arch, (enum model_arch)2);
    WRONG(encoder, config.hidden, 0);
    WRONG(encoder, config.hidden, (size_t)1 << 17);
    WRONG(encoder, config.layers, 0);
    WRONG(encoder, config.layers, 1025);
    WRONG(encoder, config.heads, 0);
    WRONG(encoder, config.heads, 5);
    WRONG(encoder, config.ffn, 0);
    WRONG(encoder, config.ffn, ((size_t)1 << 20) + 1);
    WRONG(encoder, config.vocab, 0);
    WRONG(encoder, config.vocab, ((size_t)1 << 24) + 1);
    WRONG(encoder, config.max_positions, 0);
    WRONG(encoder, config.max_positions, ((size_t)1 << 20) + 1);
    WRONG(encoder, config.type_vocab, 1025);
    WRONG(encoder, config.norm_eps, 0);
    WRONG(encoder, config.norm_eps, -1e-5F);
    WRONG(encoder, config.norm_eps, NAN);
    WRONG(encoder, config.activation, (enum activation)(ACTIVATION_SILU + 1));
    WRONG(encoder, config.labels, 0);
    WRONG(encoder, config.labels, (size_t)1 << 17);
    WRONG(encoder, config.scores, (enum model_scores)3);
    WRONG(encoder, config.classification, false);
}

static void test_wrong_decoders(void) {
    WRONG(decoder, decoder_config.arch, (enum decoder_arch)(DECODER_ARCH_MISTRAL + 1));
    WRONG(decoder, decoder_config.hidden, 0);
    WRONG(decoder, decoder_config.hidden, SIZE_MAX);
    WRONG(decoder, decoder_config.layers, 0);
    WRONG(decoder, decoder_config.layers, SIZE_MAX);
    WRONG(decoder, decoder_config.heads, 0);
    WRONG(decoder, decoder_config.heads, (size_t)1 << 17);
    WRONG(decoder, decoder_config.kv_heads, 0);
    WRONG(decoder, decoder_config.kv_heads, 3);
    WRONG(decoder, decoder_config.head_dim, 0);
    WRONG(decoder, decoder_config.head_dim, 127);
    WRONG(decoder, decoder_config.head_dim, 1 << 13);
    WRONG(decoder, decoder_config.ffn, 0);
    WRONG(decoder, decoder_config.ffn, SIZE_MAX);
    WRONG(decoder, decoder_config.vocab, 0);
    WRONG(decoder, decoder_config.vocab, SIZE_MAX);
    WRONG(decoder, decoder_config.max_positions, 0);
    WRONG(decoder, decoder_config.max_positions, SIZE_MAX);
    WRONG(decoder, decoder_config.norm_eps, 0);
    WRONG(decoder, decoder_config.norm_eps, NAN);
    WRONG(decoder, decoder_config.window, (size_t)INT32_MAX + 1);
    WRONG(decoder, decoder_config.window_from, 1025);
    WRONG(decoder, decoder_config.rope.theta, 1);
    WRONG(decoder, decoder_config.rope.theta, 1e16);
    WRONG(decoder, decoder_config.rope.theta, NAN);
    WRONG(decoder, decoder_config.rope.scaling, (enum decoder_rope_scaling)(DECODER_ROPE_YARN + 1));
    WRONG(decoder, decoder_config.rope.factor, 0.5);
    WRONG(decoder, decoder_config.rope.factor, NAN);
    WRONG(decoder, decoder_config.rope.factor, INFINITY);
    WRONG(decoder, decoder_config.rope.low_freq_factor, 0);
    WRONG(decoder, decoder_config.rope.low_freq_factor, 4);
    WRONG(decoder, decoder_config.rope.high_freq_factor, NAN);
    WRONG(decoder, decoder_config.rope.beta_fast, INFINITY);
    WRONG(decoder, decoder_config.rope.beta_slow, NAN);
    WRONG(decoder, decoder_config.rope.attention_factor, NAN);
    WRONG(decoder, decoder_config.rope.mscale, -INFINITY);
    WRONG(decoder, decoder_config.rope.mscale_all_dim, NAN);
    WRONG(decoder, decoder_config.rope.original_max_positions, SIZE_MAX);
}

// Flags are 0 or 1, strings are as long as there is room for them, and say so.
static void test_wrong_bytes(void) {
    struct channel_message m = load_of(&encoder);
    size_t name = 16, task = name + 6 + 4 + 14 + 4 + 28;
    CHECK(!wire_takes_u32(&m, takes_load, wire_payload, 8, WIRE_FILES_MOST + 1));
    CHECK(!wire_takes_with(&m, takes_load, wire_payload, name, "", 1));
    CHECK(!wire_takes_u32(&m, takes_load, wire_payload, name - 4, UINT32_MAX));
    CHECK(wire_takes_u32(&m, takes_load, wire_payload, task, TASK_CLASSIFY));
    CHECK(!wire_takes_u32(&m, takes_load, wire_payload, task, UINT32_MAX));
    CHECK(!wire_takes_with(&m, takes_load, wire_payload, task + 4, "\2", 1)); // causal
    static char long_name[WIRE_NAME_BYTES + 1], long_path[WIRE_PATH_BYTES + 1];
    memset(long_name, 'n', WIRE_NAME_BYTES);
    memset(long_path, 'p', WIRE_PATH_BYTES);
    struct replica_spec s = encoder;
    struct pack_writer w = wire_begin();
    s.name = long_name;
    CHECK_INT(wire_write_load(&w, &s, 1, &msg), ERR_TOO_LARGE);
    s = encoder;
    s.path = long_path;
    CHECK_INT(wire_write_load(&w, &s, 1, &msg), ERR_TOO_LARGE);
    s = encoder;
    s.files = long_path;
    CHECK_INT(wire_write_load(&w, &s, 1, &msg), ERR_TOO_LARGE);
    long_name[WIRE_NAME_BYTES - 1] = long_path[WIRE_PATH_BYTES - 1] = '\0';
    s.name = long_name;
    s.path = s.files = long_path;
    CHECK(takes_spec(&s));
    CHECK_INT(strlen(load.spec.files), WIRE_PATH_BYTES - 1);
}

int main(void) {
    test_files();
    test_many_files();
    test_load();
    test_wrong_models();
    test_wrong_encoders();
    test_wrong_decoders();
    test_wrong_bytes();
    return check_done();
}
