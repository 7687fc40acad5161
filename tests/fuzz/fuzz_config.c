/*
 * A configuration (serve/config/config.h) from bytes.
 *
 * Nothing that is given may crash. What is refused is told with a place; what is taken can be
 * shown, and loads again as the same. Tokens in files are left out: the fuzzer would open whatever
 * it names.
 */
#include "base/error.h"
#include "serve/config/config.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_faults(const struct config_faults *f, const struct weir_error *err,
                         const char *bytes, size_t size)
{
    size_t lines = 1;

    for (size_t i = 0; i < size; i++)
        lines += bytes[i] == '\n' || bytes[i] == '\r' || (unsigned char)bytes[i] >= 0x80;
    assert(f->count > 0 && *err->message);
    for (size_t i = 0; i < f->count; i++) {
        assert(f->items[i].line <= lines + 1);
        assert(*f->items[i].what);
        assert(i == 0 || f->items[i - 1].line <= f->items[i].line);
    }
}

static void check_config(const struct config *c)
{
    struct buf shown = {0}, twice = {0};
    struct config *again = NULL;
    struct config_changes changes = {0};
    struct weir_error err;

    config_show(c, &shown);
    if (!strstr(shown.data, "(hidden)")) {
        if (config_parse("shown", shown.data, shown.len, &again, NULL, &err) != WEIR_OK)
            assert(!"what is shown does not load");
        config_show(again, &twice);
        assert(slice_equal(buf_slice(&shown), buf_slice(&twice)));
        assert(config_diff(c, again, &changes, &err) == WEIR_OK);
        assert(changes.count == 0);
    }
    config_changes_free(&changes);
    config_free(again);
    buf_free(&shown);
    buf_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    struct config_faults faults = {0};
    struct config *c = NULL;
    struct weir_error err = {0};

    if (size > CONFIG_FILE_BYTES_MAX || memmem(data, size, "file", 4))
        return 0;
    if (config_parse("weir.yml", bytes, size, &c, &faults, &err) == WEIR_OK)
        check_config(c);
    else
        check_faults(&faults, &err, bytes, size);
    config_free(c);
    config_faults_free(&faults);
    return 0;
}
