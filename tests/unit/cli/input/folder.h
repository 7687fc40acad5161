/*
 * A folder for the files of one test, made in setup and removed with all of it in teardown.
 *
 *     cmocka_unit_test_setup_teardown(test, folder_setup, folder_teardown)
 *     const char *name = folder_write("a.jsonl", "{}\n", 3);   // lives until teardown
 */
#ifndef TESTS_UNIT_CLI_INPUT_FOLDER_H
#define TESTS_UNIT_CLI_INPUT_FOLDER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_NAMES_MAX 16

/* A sanitizer holds freed memory back: how much a program takes says nothing then. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEMORY_IS_MEASURABLE false
#else
#define MEMORY_IS_MEASURABLE true
#endif

static char folder_path[64];
static char folder_names[FOLDER_NAMES_MAX][128];
static size_t folder_name_count;

static inline int folder_setup(void **state)
{
    (void)state;
    folder_name_count = 0;
    (void)snprintf(folder_path, sizeof(folder_path), "/tmp/weir-input-XXXXXX");
    return mkdtemp(folder_path) ? 0 : -1;
}

static inline int folder_teardown(void **state)
{
    DIR *dir = opendir(folder_path);
    struct dirent *entry;

    (void)state;
    if (!dir)
        return -1;
    while ((entry = readdir(dir)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)unlinkat(dirfd(dir), entry->d_name, entry->d_type == DT_DIR ? AT_REMOVEDIR : 0);
    (void)closedir(dir);
    return rmdir(folder_path);
}

/* The whole name of a file in the folder. */
static inline const char *folder_name(const char *file)
{
    char *name = folder_names[folder_name_count];

    assert_true(folder_name_count < FOLDER_NAMES_MAX);
    folder_name_count++;
    assert_true(snprintf(name, 128, "%s/%s", folder_path, file) < 128);
    return name;
}

static inline void file_write(const char *name, const void *bytes, size_t len)
{
    FILE *f = fopen(name, "we");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static inline const char *folder_write(const char *file, const void *bytes, size_t len)
{
    const char *name = folder_name(file);

    file_write(name, bytes, len);
    return name;
}

static inline const char *folder_text(const char *file, const char *text)
{
    return folder_write(file, text, strlen(text));
}

#endif
