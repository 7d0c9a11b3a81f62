// The main of a fuzz target outside libFuzzer: feeds each file named on the command line (or each
// file of a folder) to the target, so that the committed corpus is a regression test.
#include "base/file.h"
#include "base/mem.h"
#include "tests/check.h"

#include <dirent.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay_file(const char *path) {
    char *data;
    size_t len;
    struct errmsg msg = {0};
    enum err e = file_read(path, 64u << 20, &data, &len, &msg);
    CHECK_OK(e, msg);
    if (e)
        return;
    CHECK(LLVMFuzzerTestOneInput((const uint8_t *)data, len) == 0);
    mem_free(data);
}

static void replay_folder(const char *path) {
    DIR *dir = opendir(path);
    if (!CHECK(dir != NULL))
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char *file = file_join(path, entry->d_name);
        if (file && entry->d_name[0] != '.')
            replay_file(file);
        mem_free(file);
    }
    closedir(dir);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        file_is_dir(argv[i]) ? replay_folder(argv[i]) : replay_file(argv[i]);
    return check_done();
}
