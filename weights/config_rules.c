// See config_rules.h.
#include "weights/config_rules.h"

#include "weights/decoder_config.h"
#include "weights/gguf_keys.h"
#include "weights/model_config.h"

const struct key_rules *config_rules_of(const cJSON *root) {
    enum model_arch encoder;
    enum decoder_arch decoder;
    if (model_config_arch(root, &encoder))
        return model_config_keys(encoder);
    return decoder_config_arch(root, &decoder) ? decoder_config_keys(decoder) : NULL;
}

const struct key_rules *config_rules_of_gguf(const struct gguf *g) {
    struct gguf_string arch = {0};
    bool encoder = gguf_get_string(g, "general.architecture", &arch, NULL) == ERR_OK &&
                   gguf_string_is(arch, "bert");
    return encoder ? &model_config_gguf_keys : &decoder_config_gguf_keys;
}
