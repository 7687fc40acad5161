/*
 * The file of a service (cli/simulate/service_file.h) from bytes, with the keys that weir simulate
 * takes.
 *
 * Nothing that is given may crash; what is refused has a message that names the file; a value that
 * is set is a text.
 */
#include "base/error.h"
#include "cli/simulate/service_file.h"
#include "sim/study.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *name_of(void *ctx, size_t i)
{
    size_t of_run = sim_run_option_count();

    (void)ctx;
    return i < of_run ? sim_run_option_at(i)->name : sim_option_at(i - of_run)->name;
}

static bool is_flag(void *ctx, size_t i)
{
    size_t of_run = sim_run_option_count();

    (void)ctx;
    return i >= of_run && !sim_option_at(i - of_run)->argument;
}

static bool repeats(void *ctx, size_t i)
{
    size_t of_run = sim_run_option_count();

    (void)ctx;
    return i >= of_run && sim_option_repeats(sim_option_at(i - of_run));
}

static enum weir_status set(void *ctx, size_t i, const char *value, struct weir_error *err)
{
    struct sim_study_options *o = ctx;
    size_t of_run = sim_run_option_count();

    assert(is_flag(NULL, i) ? !value : value && *value);
    return i < of_run ? sim_run_option_at(i)->set(&o->run, value, err)
                      : sim_option_at(i - of_run)->set(&o->script, value, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_study_options o;
    const struct service_file_keys keys = {.count = sim_run_option_count() + sim_option_count(),
                                           .name = name_of,
                                           .is_flag = is_flag,
                                           .repeats = repeats,
                                           .set = set,
                                           .ctx = &o};
    struct weir_error err = {0};

    sim_study_options_init(&o);
    if (service_file_parse("f.yml", (const char *)data, size, &keys, &err) != WEIR_OK)
        assert(err.status != WEIR_OK && strncmp(err.message, "f.yml:", 6) == 0);
    else
        (void)!sim_study_options_check(&o, NULL);
    return 0;
}
