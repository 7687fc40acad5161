/* See check.h. */
#include "cli/input/check.h"

#include "base/error.h"
#include "store/sqlite/keyset.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PLACE_LINE_BITS 43

uint64_t check_place(const struct line *line)
{
    uint64_t line_max = (UINT64_C(1) << PLACE_LINE_BITS) - 1;
    uint64_t number = line->number < line_max ? line->number : line_max;

    return ((uint64_t)line->file_index << PLACE_LINE_BITS) | number;
}

void check_place_split(uint64_t place, uint32_t *ret_file_index, uint64_t *ret_number)
{
    *ret_file_index = (uint32_t)(place >> PLACE_LINE_BITS);
    *ret_number = place & ((UINT64_C(1) << PLACE_LINE_BITS) - 1);
}

static enum weir_status duplicate(const struct check_keys *k, const struct run_row *row,
                                  const struct line *line, uint64_t first, struct weir_error *err)
{
    char here[LINES_PLACE_BYTES], there[LINES_PLACE_BYTES];
    uint32_t file_index;
    uint64_t number;

    check_place_split(first, &file_index, &number);
    return error_set(
        err, WEIR_E_FORMAT,
        "%s: the key \"%.64s\" was used before, at %s; each row needs a key of its own",
        lines_place(here, line->file, line->number), row->task.key,
        lines_place(there, k->files ? k->files[file_index] : "-", number));
}

enum weir_status check_key(struct check_keys *k, const struct run_row *row, const struct line *line,
                           struct weir_error *err)
{
    struct fingerprint f;
    enum weir_status status;
    bool is_duplicate = false;
    uint64_t first = 0;

    if (!row->keyed)
        return WEIR_OK;
    if (!k->set) {
        status = keyset_new(k->memory_keys, &k->set, err);
        if (status != WEIR_OK)
            return status;
    }
    f = row_key_fingerprint(row);
    status = keyset_add(k->set, f.hi, f.lo, check_place(line), &is_duplicate, &first, err);
    if (status != WEIR_OK)
        return status;
    return is_duplicate ? duplicate(k, row, line, first, err) : WEIR_OK;
}

void check_keys_free(struct check_keys *k)
{
    k->set = keyset_free(k->set);
}

static void note_fault(struct check_report *report, const struct weir_error *why)
{
    report->bad++;
    if (report->fault_count == CHECK_FAULTS_MAX)
        return;
    (void)snprintf(report->faults[report->fault_count++], WEIR_ERROR_MESSAGE_BYTES, "%s",
                   why->message);
}

static enum weir_status check_line(const struct check_options *o, const struct line *line,
                                   struct check_report *report, struct weir_error *err)
{
    struct weir_error why = {0};
    struct run_row *row = NULL;
    enum weir_status status = rows_build(o->rows, line, report->rows, &row, &why);

    if (status == WEIR_OK && o->keys)
        status = check_key(o->keys, row, line, &why);
    if (status == WEIR_OK && !report->any_good) {
        report->any_good = true;
        report->first_kind = row->kind;
    }
    row_free(row);
    if (status == WEIR_E_FORMAT)
        note_fault(report, &why);
    else if (status != WEIR_OK)
        goto failed;
    report->rows++;
    report->digest = trail_chain(report->digest, line->hash);
    return o->trail ? trail_add(o->trail, line->hash, check_place(line), err) : WEIR_OK;
failed:
    if (err)
        *err = why;
    return status;
}

enum weir_status check_run(const struct check_options *o, struct check_report *ret,
                           struct weir_error *err)
{
    struct lines_options lines_options = *o->lines;
    struct weir_error why = {0};
    struct lines *lines = NULL;
    struct line line;
    enum weir_status status;

    memset(ret, 0, sizeof(*ret));
    lines_options.regular_only = true;
    status = lines_open(&lines_options, &lines, err);
    if (status != WEIR_OK)
        return status;
    while ((status = lines_next(lines, &line, &why)) == WEIR_OK) {
        if (o->identities)
            o->identities[line.file_index] = lines_identity(lines);
        status = check_line(o, &line, ret, &why);
        if (status != WEIR_OK)
            break;
    }
    ret->bytes = lines_bytes_taken(lines);
    lines_close(lines);
    if (status == WEIR_E_END)
        return WEIR_OK;
    if (err)
        *err = why;
    return status;
}
