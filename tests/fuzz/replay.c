/*
 * Runs a fuzz target over stored inputs, without a fuzzer: so each input that once was a finding
 * stays a test, under any compiler and sanitizer.
 *
 *     build-address/tests/fuzz/fuzz_NAME tests/fuzz/corpus/NAME
 *
 * Each argument is a file, or a folder of files. The empty input is always tried first. Says one
 * TAP result per argument; a crash is the failure.
 */
#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    struct stat info;
    uint8_t *bytes = NULL;
    size_t size = 0;
    int rc = -1;
    FILE *file = fopen(path, "rbe");

    if (file == NULL || fstat(fileno(file), &info) != 0)
        goto out;
    size = (size_t)info.st_size;
    /* Exactly as large as the input, so that the sanitizer sees a read beyond it. */
    bytes = malloc(size > 0 ? size : 1);
    if (bytes == NULL || fread(bytes, 1, size, file) != size)
        goto out;
    LLVMFuzzerTestOneInput(bytes, size);
    rc = 0;
out:
    if (rc != 0)
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
    free(bytes);
    if (file != NULL)
        fclose(file);
    return rc;
}

/* The number of inputs that were tried, or -1. */
static long replay_folder(const char *path)
{
    long count = 0;
    struct dirent *entry;
    DIR *folder = opendir(path);

    if (folder == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    while (count >= 0 && (entry = readdir(folder)) != NULL) {
        char name[4096];

        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        count = replay_file(name) == 0 ? count + 1 : -1;
    }
    closedir(folder);
    return count;
}

int main(int argc, char **argv)
{
    static const uint8_t nothing[1];
    int failed = 0;

    printf("1..%d\n", argc > 1 ? argc - 1 : 1);
    fflush(stdout);
    LLVMFuzzerTestOneInput(nothing, 0);
    for (int i = 1; i < argc; i++) {
        struct stat info;
        long count = -1;

        if (stat(argv[i], &info) == 0)
            count = S_ISDIR(info.st_mode) ? replay_folder(argv[i]) : 1 + replay_file(argv[i]) * 2;
        printf("%s %d - survives %ld inputs of %s\n", count > 0 ? "ok" : "not ok", i, count,
               argv[i]);
        failed += count <= 0;
    }
    if (argc == 1)
        printf("ok 1 - survives the empty input\n");
    return failed > 0 ? 1 : 0;
}
