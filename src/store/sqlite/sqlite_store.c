/*
 * The operations of the journal. Each takes the lock, runs its statements in one transaction, and
 * leaves every statement reset, so that nothing keeps a transaction open behind its back.
 */
#include "base/error.h"
#include "base/mem.h"
#include "store/check.h"
#include "store/sqlite/sqlite_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

/* Of the tables (sqlite_schema.c): values that a record takes of a statement. */
#define ROW_COLUMNS     16
#define PENDING_COLUMNS 3
#define PLACE_COLUMNS   5

static struct sqlite_store *self(struct core_store *s)
{
    return (struct sqlite_store *)(void *)s;
}

/* Locks, unless the store has failed for good. */
static enum weir_status enter(struct sqlite_store *js, struct weir_error *err)
{
    enum weir_status broken;

    pthread_mutex_lock(&js->lock);
    broken = js->broken;
    if (broken == WEIR_OK)
        return WEIR_OK;
    pthread_mutex_unlock(&js->lock);
    return error_set(err, broken,
                     "journal %s failed before; run the same command again to go on from what it "
                     "holds",
                     js->path);
}

static enum weir_status leave(struct sqlite_store *js, enum weir_status status)
{
    pthread_mutex_unlock(&js->lock);
    return status;
}

/* Runs a statement that gives no rows. */
static enum weir_status run(struct sqlite_store *js, enum journal_statement st, const char *doing,
                            struct weir_error *err)
{
    sqlite3_stmt *stmt = js->statements[st];
    enum weir_status status = WEIR_OK;

    if (sqlite3_step(stmt) != SQLITE_DONE)
        status = journal_fail(js, doing, err);
    sqlite3_reset(stmt);
    return status;
}

/* Ends the transaction: commits when all went well so far. What fails is as if it had not been. */
static enum weir_status end(struct sqlite_store *js, enum weir_status status, const char *doing,
                            struct weir_error *err)
{
    if (status == WEIR_OK)
        status = run(js, ST_COMMIT, doing, err);
    /* SQLite has rolled back by itself after some errors. */
    if (status != WEIR_OK && !sqlite3_get_autocommit(js->db)) {
        sqlite3_step(js->statements[ST_ROLLBACK]);
        sqlite3_reset(js->statements[ST_ROLLBACK]);
    }
    return status;
}

static void bind_number(sqlite3_stmt *stmt, int at, uint64_t n)
{
    sqlite3_bind_int64(stmt, at, (sqlite3_int64)n);
}

/* Without a copy: the bytes stay where they are until the statement is reset and bound anew. */
static int bind_text(sqlite3_stmt *stmt, int at, struct slice s)
{
    return sqlite3_bind_text64(stmt, at, s.len ? s.data : "", s.len, SQLITE_STATIC, SQLITE_UTF8);
}

static int bind_text_or_null(sqlite3_stmt *stmt, int at, struct slice s)
{
    return s.len ? bind_text(stmt, at, s) : sqlite3_bind_null(stmt, at);
}

static int bind_word(sqlite3_stmt *stmt, int at, const char *word)
{
    return sqlite3_bind_text(stmt, at, word, -1, SQLITE_STATIC);
}

static void hash_write(const struct store_row *r, unsigned char ret[16])
{
    for (unsigned i = 0; i < 8; i++) {
        ret[i] = (unsigned char)(r->hash_hi >> (56 - 8 * i));
        ret[8 + i] = (unsigned char)(r->hash_lo >> (56 - 8 * i));
    }
}

static void hash_read(const unsigned char bytes[16], uint64_t *ret_hi, uint64_t *ret_lo)
{
    *ret_hi = *ret_lo = 0;
    for (unsigned i = 0; i < 8; i++) {
        *ret_hi = *ret_hi << 8 | bytes[i];
        *ret_lo = *ret_lo << 8 | bytes[8 + i];
    }
}

/* A statement of many, prepared when it is first asked for: a run of a few rows never needs one. NULL: it failed. */
static sqlite3_stmt *many(struct sqlite_store *js, enum journal_statement st)
{
    if (!js->statements[st] &&
        sqlite3_prepare_v3(js->db, journal_sql[st], -1, SQLITE_PREPARE_PERSISTENT,
                           &js->statements[st], NULL) != SQLITE_OK)
        return NULL;
    return js->statements[st];
}

static int pending_bind(sqlite3_stmt *stmt, size_t place, const struct store_row *r)
{
    int at = (int)place * PENDING_COLUMNS;

    int rc;

    bind_number(stmt, at + 1, r->index);
    rc = sqlite3_bind_blob64(stmt, at + 2, r->output.len ? r->output.data : "", r->output.len,
                             SQLITE_STATIC);
    if (rc != SQLITE_OK)
        return rc;
    if (r->errput.len == 0)
        return sqlite3_bind_null(stmt, at + 3);
    return sqlite3_bind_blob64(stmt, at + 3, r->errput.data, r->errput.len, SQLITE_STATIC);
}

/* `count` outputs by one statement: 1, or JOURNAL_MANY. */
static enum weir_status pending_put(struct sqlite_store *js, const struct store_row *const *rows,
                                    size_t count, struct weir_error *err)
{
    enum journal_statement st = count == 1 ? ST_PENDING_PUT : ST_PENDING_PUT_MANY;
    sqlite3_stmt *stmt = many(js, st);
    int rc = stmt ? SQLITE_OK : SQLITE_NOMEM;

    for (size_t i = 0; rc == SQLITE_OK && i < count; i++)
        rc = pending_bind(stmt, i, rows[i]);
    if (rc != SQLITE_OK)
        return journal_fail(js, "writing an output", err);
    return run(js, st, "writing an output", err);
}

static enum weir_status pendings_put(struct sqlite_store *js, const struct store_row *rows,
                                     size_t count, struct weir_error *err)
{
    const struct store_row *group[JOURNAL_MANY];
    enum weir_status status = WEIR_OK;
    size_t held = 0;

    for (size_t i = 0; status == WEIR_OK && i < count; i++) {
        if (!rows[i].has_output)
            continue;
        group[held++] = &rows[i];
        if (held == JOURNAL_MANY) {
            status = pending_put(js, group, held, err);
            held = 0;
        }
    }
    for (size_t i = 0; status == WEIR_OK && i < held; i++)
        status = pending_put(js, &group[i], 1, err);
    return status;
}

static int row_bind(struct sqlite_store *js, sqlite3_stmt *stmt, size_t place,
                    const struct store_row *r)
{
    int at = (int)place * ROW_COLUMNS;
    int rc;

    hash_write(r, js->hashes[place]);
    bind_number(stmt, at + 1, r->index);
    bind_number(stmt, at + 2, r->generation);
    sqlite3_bind_blob(stmt, at + 3, js->hashes[place], sizeof(js->hashes[place]), SQLITE_STATIC);
    rc = bind_text(stmt, at + 4, r->key);
    bind_word(stmt, at + 5, weir_outcome_name(r->outcome));
    bind_word(stmt, at + 6, weir_reason_name(r->reason));
    sqlite3_bind_int(stmt, at + 7, r->status);
    if (rc == SQLITE_OK)
        rc = bind_text_or_null(stmt, at + 8, r->message);
    if (rc == SQLITE_OK)
        rc = bind_text_or_null(stmt, at + 9, r->request_id);
    bind_number(stmt, at + 10, r->complete_index);
    sqlite3_bind_int64(stmt, at + 11, r->submit_ns);
    sqlite3_bind_int64(stmt, at + 12, r->start_ns);
    sqlite3_bind_int64(stmt, at + 13, r->complete_ns);
    bind_number(stmt, at + 14, r->attempts);
    bind_number(stmt, at + 15, r->capacity_retries);
    sqlite3_bind_int64(stmt, at + 16, r->throttled_ns);
    return rc;
}

/* `count` rows by one statement: 1, or JOURNAL_MANY. */
static enum weir_status row_put(struct sqlite_store *js, const struct store_row *rows, size_t count,
                                struct weir_error *err)
{
    sqlite3_stmt *stmt = many(js, count == 1 ? ST_ROW_PUT : ST_ROW_PUT_MANY);
    enum weir_status status = WEIR_OK;
    int rc = stmt ? SQLITE_OK : SQLITE_NOMEM;

    for (size_t i = 0; rc == SQLITE_OK && i < count; i++)
        rc = row_bind(js, stmt, i, &rows[i]);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if ((rc & 0xff) == SQLITE_CONSTRAINT) {
        /* Those before it are in, until the transaction is taken back. */
        size_t done = count == 1 ? 0 : (size_t)sqlite3_changes64(js->db);

        status = error_set(err, WEIR_E_CONFLICT, "row %" PRIu64 " has already finished",
                           rows[done < count ? done : 0].index);
    } else if (rc != SQLITE_DONE) {
        status = journal_fail(js, "writing a row", err);
    }
    sqlite3_reset(stmt);
    return status;
}

static enum weir_status rows_put(struct sqlite_store *js, const struct store_row *rows,
                                 size_t count, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    for (size_t i = 0; status == WEIR_OK && i < count;) {
        size_t step = count - i >= JOURNAL_MANY ? JOURNAL_MANY : 1;

        status = row_put(js, &rows[i], step, err);
        i += step;
    }
    return status == WEIR_OK ? pendings_put(js, rows, count, err) : status;
}

static enum weir_status attempt_put(struct sqlite_store *js, const struct store_attempt *a,
                                    struct weir_error *err)
{
    sqlite3_stmt *stmt = js->statements[ST_ATTEMPT_PUT];

    bind_number(stmt, 1, a->index);
    bind_number(stmt, 2, a->generation);
    bind_number(stmt, 3, a->number);
    sqlite3_bind_int64(stmt, 4, a->start_ns);
    bind_word(stmt, 5, weir_outcome_name(a->outcome));
    bind_word(stmt, 6, weir_reason_name(a->reason));
    sqlite3_bind_int(stmt, 7, a->status);
    if (bind_text_or_null(stmt, 8, a->message) != SQLITE_OK)
        return journal_fail(js, "writing an attempt", err);
    sqlite3_bind_int64(stmt, 9, a->end_ns);
    sqlite3_bind_int64(stmt, 10, a->wait_ns);
    return run(js, ST_ATTEMPT_PUT, "writing an attempt", err);
}

static enum weir_status sqlite_put(struct core_store *s, const struct store_row *rows,
                                   size_t row_count, const struct store_attempt *attempts,
                                   size_t attempt_count, struct weir_error *err)
{
    struct sqlite_store *js = self(s);
    enum weir_status status = store_check_put(rows, row_count, attempts, attempt_count, err);

    if (status != WEIR_OK)
        return status;
    status = enter(js, err);
    if (status != WEIR_OK)
        return status;
    status = run(js, ST_BEGIN, "writing rows", err);
    if (status == WEIR_OK)
        status = rows_put(js, rows, row_count, err);
    for (size_t i = 0; status == WEIR_OK && i < attempt_count; i++)
        status = attempt_put(js, &attempts[i], err);
    return leave(js, end(js, status, "writing rows", err));
}

/* Reading: SQLite converts whatever it finds, so each value is checked to be what was written. */

static bool column_number(sqlite3_stmt *stmt, int at, uint64_t max, uint64_t *ret)
{
    sqlite3_int64 n = sqlite3_column_int64(stmt, at);

    if (sqlite3_column_type(stmt, at) != SQLITE_INTEGER || n < 0 || (uint64_t)n > max)
        return false;
    *ret = (uint64_t)n;
    return true;
}

static bool column_u32(sqlite3_stmt *stmt, int at, uint32_t *ret)
{
    uint64_t n;

    if (!column_number(stmt, at, UINT32_MAX, &n))
        return false;
    *ret = (uint32_t)n;
    return true;
}

/* Bytes of the current row; they are gone after the next step. */
static struct slice column_slice(sqlite3_stmt *stmt, int at)
{
    const void *bytes = sqlite3_column_blob(stmt, at);
    int len = sqlite3_column_bytes(stmt, at);

    return bytes && len > 0 ? (struct slice){bytes, (size_t)len} : (struct slice){"", 0};
}

static bool outcome_read(struct slice word, enum weir_outcome *ret)
{
    for (int i = WEIR_OUTCOME_OK; i <= WEIR_OUTCOME_CANCELLED; i++) {
        if (slice_equal(word, slice_of(weir_outcome_name((enum weir_outcome)i)))) {
            *ret = (enum weir_outcome)i;
            return true;
        }
    }
    return false;
}

static bool reason_read(struct slice word, enum weir_reason *ret)
{
    for (int i = WEIR_REASON_NONE; i < WEIR_REASON_COUNT; i++) {
        if (slice_equal(word, slice_of(weir_reason_name((enum weir_reason)i)))) {
            *ret = (enum weir_reason)i;
            return true;
        }
    }
    return false;
}

/* The record of a row, its slices into the statement's. */
static bool row_read(sqlite3_stmt *stmt, struct store_row *ret)
{
    struct slice hash = column_slice(stmt, 2);
    struct store_row r = {0};

    if (hash.len != 16 || !column_number(stmt, 0, STORE_NUMBER_MAX, &r.index) ||
        !column_u32(stmt, 1, &r.generation) || !outcome_read(column_slice(stmt, 4), &r.outcome) ||
        !reason_read(column_slice(stmt, 5), &r.reason) ||
        !column_number(stmt, 9, STORE_NUMBER_MAX, &r.complete_index) ||
        !column_u32(stmt, 13, &r.attempts) || !column_u32(stmt, 14, &r.capacity_retries))
        return false;
    hash_read((const unsigned char *)hash.data, &r.hash_hi, &r.hash_lo);
    r.key = column_slice(stmt, 3);
    r.status = sqlite3_column_int(stmt, 6);
    r.message = column_slice(stmt, 7);
    r.request_id = column_slice(stmt, 8);
    r.submit_ns = sqlite3_column_int64(stmt, 10);
    r.start_ns = sqlite3_column_int64(stmt, 11);
    r.complete_ns = sqlite3_column_int64(stmt, 12);
    r.throttled_ns = sqlite3_column_int64(stmt, 15);
    *ret = r;
    return true;
}

static struct slice text_append(char *text, size_t *used, struct slice s)
{
    struct slice copy = {text + *used, s.len};

    if (s.len)
        memcpy(text + *used, s.data, s.len);
    *used += s.len;
    return copy;
}

/* Copies what the statements hold into `hold`, and points the row at it. */
static bool row_hold(struct store_row *row, struct buf *hold)
{
    size_t bytes =
        row->key.len + row->message.len + row->request_id.len + row->output.len + row->errput.len;
    char *text = buf_reserve(hold, bytes);
    size_t used = 0;

    if (!text)
        return false;
    row->key = text_append(text, &used, row->key);
    row->message = text_append(text, &used, row->message);
    row->request_id = text_append(text, &used, row->request_id);
    row->output = text_append(text, &used, row->output);
    row->errput = text_append(text, &used, row->errput);
    text[used] = '\0';
    hold->len += used;
    return true;
}

static enum weir_status sqlite_get(struct core_store *s, uint64_t index, struct store_row *ret,
                                   struct buf *hold, struct weir_error *err)
{
    struct sqlite_store *js = self(s);
    sqlite3_stmt *get = js->statements[ST_ROW_GET], *pending = js->statements[ST_PENDING_GET];
    enum weir_status status = enter(js, err);
    struct store_row row;
    int rc;

    if (status != WEIR_OK)
        return status;
    buf_clear(hold);
    bind_number(get, 1, index);
    bind_number(pending, 1, index);
    rc = index > STORE_NUMBER_MAX ? SQLITE_DONE : sqlite3_step(get);
    if (rc != SQLITE_ROW) {
        status = rc != SQLITE_DONE
                     ? journal_fail(js, "reading a row", err)
                     : error_set(err, WEIR_E_END, "row %" PRIu64 " has not finished", index);
        goto out;
    }
    if (!row_read(get, &row)) {
        status = journal_damaged(js, "a row that cannot be read", err);
        goto out;
    }
    rc = sqlite3_step(pending);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) {
        status = journal_fail(js, "reading an output", err);
        goto out;
    }
    row.has_output = rc == SQLITE_ROW;
    row.output = row.has_output ? column_slice(pending, 0) : (struct slice){"", 0};
    row.errput = row.has_output ? column_slice(pending, 1) : (struct slice){"", 0};
    if (sqlite3_errcode(js->db) == SQLITE_NOMEM || !row_hold(&row, hold)) {
        status = error_nomem(err);
        goto out;
    }
    *ret = row;
out:
    sqlite3_reset(get);
    sqlite3_reset(pending);
    return leave(js, status);
}

/* Whether all rows from the mark to `next` have finished: a row is never delivered before the store
 * has it (I3). */
static enum weir_status mark_check(struct sqlite_store *js, uint64_t next, struct weir_error *err)
{
    sqlite3_stmt *stmt = js->statements[ST_ROW_COUNT];
    enum weir_status status = WEIR_OK;

    bind_number(stmt, 1, js->next);
    bind_number(stmt, 2, next);
    if (sqlite3_step(stmt) != SQLITE_ROW)
        status = journal_fail(js, "counting rows", err);
    else if ((uint64_t)sqlite3_column_int64(stmt, 0) != next - js->next)
        status = error_set(err, WEIR_E_INVALID,
                           "the mark cannot pass from row %" PRIu64 " to row %" PRIu64
                           ": a row between them has not finished",
                           js->next, next);
    sqlite3_reset(stmt);
    return status;
}

static enum weir_status mark_write(struct sqlite_store *js, const struct store_mark *mark,
                                   struct weir_error *err)
{
    sqlite3_stmt *stmt = js->statements[ST_MARK_PUT];

    bind_number(stmt, 1, mark->next);
    bind_number(stmt, 2, mark->output_bytes);
    bind_number(stmt, 3, mark->errors_bytes);
    return run(js, ST_MARK_PUT, "moving the mark", err);
}

/* `count` places by one statement: 1, or JOURNAL_MANY. */
static enum weir_status place_put(struct sqlite_store *js, const struct store_place *places,
                                  size_t count, struct weir_error *err)
{
    enum journal_statement st = count == 1 ? ST_PLACE_PUT : ST_PLACE_PUT_MANY;
    sqlite3_stmt *stmt = many(js, st);

    if (!stmt)
        return journal_fail(js, "writing a place", err);
    for (size_t i = 0; i < count; i++) {
        int at = (int)i * PLACE_COLUMNS;

        bind_number(stmt, at + 1, places[i].index);
        sqlite3_bind_int(stmt, at + 2, places[i].in_errors);
        bind_number(stmt, at + 3, places[i].offset);
        bind_number(stmt, at + 4, places[i].len);
        sqlite3_bind_int64(stmt, at + 5, places[i].deliver_ns);
    }
    return run(js, st, "writing a place", err);
}

static enum weir_status places_put(struct sqlite_store *js, const struct store_place *places,
                                   size_t count, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    for (size_t i = 0; status == WEIR_OK && i < count;) {
        size_t step = count - i >= JOURNAL_MANY ? JOURNAL_MANY : 1;

        status = place_put(js, &places[i], step, err);
        i += step;
    }
    return status;
}

static enum weir_status mark_locked(struct sqlite_store *js, const struct store_mark *mark,
                                    const struct store_place *places, size_t place_count,
                                    struct weir_error *err)
{
    enum weir_status status = store_check_mark(mark, js->next, places, place_count, err);

    if (status == WEIR_OK)
        status = run(js, ST_BEGIN, "moving the mark", err);
    if (status != WEIR_OK)
        return status;
    status = mark_check(js, mark->next, err);
    if (status == WEIR_OK)
        status = mark_write(js, mark, err);
    bind_number(js->statements[ST_PENDING_DROP], 1, mark->next);
    if (status == WEIR_OK)
        status = run(js, ST_PENDING_DROP, "moving the mark", err);
    /* Places of the round before, in files that are no more. */
    bind_number(js->statements[ST_PLACE_DROP], 1, js->next);
    bind_number(js->statements[ST_PLACE_DROP], 2, mark->next);
    if (status == WEIR_OK)
        status = run(js, ST_PLACE_DROP, "moving the mark", err);
    if (status == WEIR_OK)
        status = places_put(js, places, place_count, err);
    status = end(js, status, "moving the mark", err);
    if (status == WEIR_OK)
        js->next = mark->next;
    return status;
}

static enum weir_status sqlite_mark(struct core_store *s, const struct store_mark *mark,
                                    const struct store_place *places, size_t place_count,
                                    struct weir_error *err)
{
    struct sqlite_store *js = self(s);
    enum weir_status status = enter(js, err);

    if (status != WEIR_OK)
        return status;
    return leave(js, mark_locked(js, mark, places, place_count, err));
}

static enum weir_status sqlite_place(struct core_store *s, uint64_t index, struct store_place *ret,
                                     struct weir_error *err)
{
    struct sqlite_store *js = self(s);
    sqlite3_stmt *stmt = js->statements[ST_PLACE_GET];
    enum weir_status status = enter(js, err);
    struct store_place p = {.index = index};
    uint64_t in_errors = 0;
    int rc;

    if (status != WEIR_OK)
        return status;
    bind_number(stmt, 1, index);
    rc = index > STORE_NUMBER_MAX ? SQLITE_DONE : sqlite3_step(stmt);
    if (rc == SQLITE_DONE)
        status = error_set(err, WEIR_E_END, "row %" PRIu64 " has no place in a file", index);
    else if (rc != SQLITE_ROW)
        status = journal_fail(js, "reading a place", err);
    else if (!column_number(stmt, 0, 1, &in_errors) ||
             !column_number(stmt, 1, STORE_NUMBER_MAX, &p.offset) ||
             !column_number(stmt, 2, STORE_NUMBER_MAX, &p.len))
        status = journal_damaged(js, "a place that cannot be read", err);
    if (status == WEIR_OK) {
        p.in_errors = in_errors != 0;
        p.deliver_ns = sqlite3_column_int64(stmt, 3);
        *ret = p;
    }
    sqlite3_reset(stmt);
    return leave(js, status);
}

enum weir_status journal_mark_read(struct sqlite_store *js, struct store_mark *ret,
                                   struct weir_error *err)
{
    sqlite3_stmt *stmt = js->statements[ST_MARK_GET];
    enum weir_status status = WEIR_OK;
    struct store_mark m;
    int rc = sqlite3_step(stmt);

    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        status = journal_fail(js, "reading the mark", err);
    else if (rc == SQLITE_DONE || !column_number(stmt, 0, STORE_NUMBER_MAX, &m.next) ||
             !column_number(stmt, 1, STORE_NUMBER_MAX, &m.output_bytes) ||
             !column_number(stmt, 2, STORE_NUMBER_MAX, &m.errors_bytes))
        status = journal_damaged(js, "no mark that can be read", err);
    else
        *ret = m;
    sqlite3_reset(stmt);
    return status;
}

/* A sum that SQLite computed as a double, which no file can make overflow. */
static uint64_t column_total(sqlite3_stmt *stmt, int at)
{
    double n = sqlite3_column_double(stmt, at);

    return n > 0 && n < 9e18 ? (uint64_t)n : 0;
}

static enum weir_status sqlite_summary(struct core_store *s, struct store_summary *ret,
                                       struct weir_error *err)
{
    struct sqlite_store *js = self(s);
    sqlite3_stmt *stmt = js->statements[ST_SUMMARY];
    enum weir_status status = enter(js, err);
    struct store_summary sum = {0};
    uint64_t largest;

    if (status != WEIR_OK)
        return status;
    status = journal_mark_read(js, &sum.mark, err);
    if (status != WEIR_OK)
        return leave(js, status);
    if (sqlite3_step(stmt) != SQLITE_ROW) {
        status = journal_fail(js, "reading the rows", err);
        goto out;
    }
    sum.finished = (uint64_t)sqlite3_column_int64(stmt, 0);
    sum.failed = column_total(stmt, 1);
    if (sum.finished && !column_number(stmt, 2, STORE_NUMBER_MAX, &largest)) {
        status = journal_damaged(js, "a row that cannot be read", err);
        goto out;
    }
    sum.complete_index = sum.finished ? largest + 1 : 0;
    sum.capacity_retries = column_total(stmt, 3);
    sum.attempts = column_total(stmt, 4);
    *ret = sum;
out:
    sqlite3_reset(stmt);
    return leave(js, status);
}

static enum weir_status sqlite_reopen_failed(struct core_store *s, uint64_t *ret_rows,
                                             struct weir_error *err)
{
    static const enum journal_statement steps[] = {ST_REOPEN_KEEP, ST_REOPEN_PLACE,
                                                   ST_REOPEN_PENDING, ST_REOPEN_DROP};
    static const char doing[] = "reopening the failed rows";
    struct sqlite_store *js = self(s);
    enum weir_status status = enter(js, err);
    uint64_t rows = 0;

    if (status != WEIR_OK)
        return status;
    status = run(js, ST_BEGIN, doing, err);
    for (size_t i = 0; status == WEIR_OK && i < sizeof(steps) / sizeof(steps[0]); i++) {
        status = run(js, steps[i], doing, err);
        rows = (uint64_t)sqlite3_changes64(js->db); /* the last step's are the rows */
    }
    if (status == WEIR_OK)
        status = mark_write(js, &(struct store_mark){0}, err);
    status = end(js, status, doing, err);
    if (status == WEIR_OK) {
        js->next = 0;
        *ret_rows = rows;
    }
    return leave(js, status);
}

static enum weir_status sqlite_generation(struct core_store *s, uint64_t index, uint32_t *ret,
                                          struct weir_error *err)
{
    struct sqlite_store *js = self(s);
    sqlite3_stmt *stmt = js->statements[ST_GENERATION];
    enum weir_status status = enter(js, err);
    uint32_t last;

    if (status != WEIR_OK)
        return status;
    bind_number(stmt, 1, index);
    if (sqlite3_step(stmt) != SQLITE_ROW)
        status = journal_fail(js, "reading a generation", err);
    else if (sqlite3_column_type(stmt, 0) == SQLITE_NULL)
        *ret = 0;
    else if (!column_u32(stmt, 0, &last))
        status = journal_damaged(js, "a generation that cannot be read", err);
    else
        *ret = last < UINT32_MAX ? last + 1 : last;
    sqlite3_reset(stmt);
    return leave(js, status);
}

static enum weir_status sqlite_set(struct core_store *s, const char *name, struct slice value,
                                   struct weir_error *err)
{
    struct sqlite_store *js = self(s);
    sqlite3_stmt *stmt = js->statements[ST_FACT_PUT];
    enum weir_status status = enter(js, err);

    if (status != WEIR_OK)
        return status;
    if (bind_word(stmt, 1, name) != SQLITE_OK ||
        sqlite3_bind_blob64(stmt, 2, value.len ? value.data : "", value.len, SQLITE_STATIC) !=
            SQLITE_OK)
        status = journal_fail(js, "writing a fact", err);
    else
        status = run(js, ST_FACT_PUT, "writing a fact", err);
    sqlite3_clear_bindings(stmt); /* the caller's bytes may go */
    return leave(js, status);
}

static enum weir_status sqlite_fact(struct core_store *s, const char *name, struct buf *out,
                                    struct weir_error *err)
{
    struct sqlite_store *js = self(s);
    sqlite3_stmt *stmt = js->statements[ST_FACT_GET];
    enum weir_status status = enter(js, err);
    int rc;

    if (status != WEIR_OK)
        return status;
    rc = bind_word(stmt, 1, name);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_DONE)
        status = error_set(err, WEIR_E_END, "there is no fact named '%s'", name);
    else if (rc != SQLITE_ROW)
        status = journal_fail(js, "reading a fact", err);
    else
        buf_put_slice(out, column_slice(stmt, 0));
    if (status == WEIR_OK && (out->failed || sqlite3_errcode(js->db) == SQLITE_NOMEM))
        status = error_nomem(err);
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    return leave(js, status);
}

static void sqlite_close(struct core_store *s)
{
    journal_free(self(s));
}

const struct core_store_ops sqlite_store_ops = {
    .name = "sqlite",
    .put = sqlite_put,
    .get = sqlite_get,
    .mark = sqlite_mark,
    .place = sqlite_place,
    .summary = sqlite_summary,
    .reopen_failed = sqlite_reopen_failed,
    .generation = sqlite_generation,
    .set = sqlite_set,
    .fact = sqlite_fact,
    .close = sqlite_close,
};
