/* See values.h. */
#include "cli/command/values.h"

#include "base/error.h"
#include "base/parse.h"

#include <ctype.h>
#include <signal.h>
#include <string.h>
#include <strings.h>

/* Longest number or time in a list. */
#define ITEM_BYTES_MAX 32
#define WAIT_NS_MAX    (3600 * NS_PER_S)
#define EXIT_CODE_MAX  255
#define SHARE_MAX      1e6

/* The signals that somebody may want to end a program with. */
static const struct {
    const char *name;
    int number;
} signals[] = {{"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"ABRT", SIGABRT},
               {"KILL", SIGKILL}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"ALRM", SIGALRM},
               {"TERM", SIGTERM}, {"CONT", SIGCONT}, {"STOP", SIGSTOP}, {"PIPE", SIGPIPE}};

/* ---- lists ---- */

/* Copies the item up to the next comma; moves on. False: it is empty or too long. */
static bool next_item(const char **at, char item[ITEM_BYTES_MAX], bool *ret_last)
{
    size_t len = strcspn(*at, ",");

    if (len == 0 || len >= ITEM_BYTES_MAX)
        return false;
    memcpy(item, *at, len);
    item[len] = '\0';
    *ret_last = (*at)[len] == '\0';
    *at += len + (*ret_last ? 0 : 1);
    return true;
}

static bool all_digits(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text);
}

/* ---- signals ---- */

static bool find_signal(const char *text, int *ret)
{
    const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
    int64_t number;

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        if (strcasecmp(signals[i].name, name) == 0) {
            *ret = signals[i].number;
            return true;
        }
    }
    if (!all_digits(text) || parse_count(text, 1, 64, &number, NULL) != WEIR_OK)
        return false;
    *ret = (int)number;
    return true;
}

/* Milliseconds, as GNU parallel has them; with a unit any time. */
static bool find_wait(const char *text, duration_ns *ret)
{
    int64_t ms;

    if (all_digits(text)) {
        if (parse_count(text, 0, WAIT_NS_MAX / NS_PER_MS, &ms, NULL) != WEIR_OK)
            return false;
        *ret = ms * NS_PER_MS;
        return true;
    }
    return parse_duration(text, ret, NULL) == WEIR_OK && *ret <= WAIT_NS_MAX;
}

enum weir_status values_term_seq(const char *text, struct term_seq *ret, struct weir_error *err)
{
    struct term_seq seq = {0};
    const char *at = text;
    char item[ITEM_BYTES_MAX];
    bool last = false;

    while (!last) {
        if (seq.count == TERM_SEQ_MAX)
            return error_set(err, WEIR_E_LIMIT, "more than %d signals", TERM_SEQ_MAX);
        if (!next_item(&at, item, &last) || !find_signal(item, &seq.steps[seq.count].signal))
            return error_set(err, WEIR_E_INVALID,
                             "\"%.60s\" is no sequence of signals with milliseconds between; write "
                             "TERM,200,TERM,100,KILL,25",
                             text);
        if (!last &&
            (!next_item(&at, item, &last) || !find_wait(item, &seq.steps[seq.count].wait_ns)))
            return error_set(err, WEIR_E_INVALID,
                             "\"%.60s\": behind a signal stands how many milliseconds to wait (up "
                             "to an hour); write TERM,200,TERM,100,KILL,25",
                             text);
        seq.count++;
    }
    *ret = seq;
    return WEIR_OK;
}

/* ---- exit codes ---- */

bool exit_set_has(const struct exit_set *set, int code)
{
    return code >= 0 && code <= EXIT_CODE_MAX &&
           (set->bits[code / 64] & UINT64_C(1) << (code % 64)) != 0;
}

/* "75" or "100-110", of codes that are no success. */
static bool find_exits(const char *item, int64_t *ret_from, int64_t *ret_to)
{
    char first[ITEM_BYTES_MAX];
    size_t len = strcspn(item, "-");
    const char *second = item[len] ? item + len + 1 : first;

    memcpy(first, item, len);
    first[len] = '\0';
    return all_digits(first) && all_digits(second) &&
           parse_count(first, 1, EXIT_CODE_MAX, ret_from, NULL) == WEIR_OK &&
           parse_count(second, *ret_from, EXIT_CODE_MAX, ret_to, NULL) == WEIR_OK;
}

enum weir_status values_exits(const char *text, struct exit_set *ret, struct weir_error *err)
{
    struct exit_set set = {0};
    char item[ITEM_BYTES_MAX];
    bool last = strcmp(text, "none") == 0;

    while (!last) {
        int64_t from, to;

        if (!next_item(&text, item, &last) || !find_exits(item, &from, &to))
            return error_set(err, WEIR_E_INVALID,
                             "exit codes from 1 to 255 are wanted; write 75, or 75,100-110, or "
                             "none");
        for (int64_t code = from; code <= to; code++)
            set.bits[code / 64] |= UINT64_C(1) << (code % 64);
    }
    *ret = set;
    return WEIR_OK;
}

/* ---- shares ---- */

/* "200%" as 2.0. False: there is no % at the end. */
static bool find_percent(const char *text, double *ret, enum weir_status *ret_status,
                         struct weir_error *err)
{
    size_t len = strlen(text);
    char number[ITEM_BYTES_MAX];

    if (len == 0 || text[len - 1] != '%')
        return false;
    if (len > sizeof(number)) {
        *ret_status = error_set(err, WEIR_E_INVALID, "\"%.40s\" is no percentage", text);
        return true;
    }
    memcpy(number, text, len - 1);
    number[len - 1] = '\0';
    *ret_status = parse_number(number, 0, SHARE_MAX, ret, err);
    if (*ret_status == WEIR_OK && !(*ret > 0))
        *ret_status =
            error_set(err, WEIR_E_INVALID, "%s is nothing; more than 0%% is needed", text);
    *ret /= 100;
    return true;
}

enum weir_status values_timeout(const char *text, struct timeout_value *ret, struct weir_error *err)
{
    struct timeout_value value = {0};
    enum weir_status status;

    if (!find_percent(text, &value.share, &status, err))
        status = parse_duration(text, &value.time_ns, err);
    else if (status == WEIR_OK && value.share < 1)
        status = error_set(err, WEIR_E_INVALID,
                           "%s of the median would end every second row; 100%% is the least", text);
    if (status == WEIR_OK)
        *ret = value;
    return status;
}

enum weir_status values_load(const char *text, long processors, double *ret, struct weir_error *err)
{
    double value;
    enum weir_status status;

    if (find_percent(text, &value, &status, err))
        value *= (double)processors;
    else
        status = parse_number(text, 0, SHARE_MAX, &value, err);
    if (status == WEIR_OK && !(value > 0))
        status = error_set(err, WEIR_E_INVALID, "no load is below 0; nothing would ever start");
    if (status == WEIR_OK)
        *ret = value;
    return status;
}

enum weir_status values_jobs(const char *text, long processors, int64_t max, int64_t *ret,
                             struct weir_error *err)
{
    double share;
    enum weir_status status;
    double jobs;

    if (!find_percent(text, &share, &status, err))
        return parse_count(text, 1, max, ret, err);
    if (status != WEIR_OK)
        return status;
    jobs = share * (double)processors;
    if (jobs > (double)max)
        return error_set(err, WEIR_E_INVALID, "%s of %ld processors is more than %lld", text,
                         processors, (long long)max);
    *ret = jobs < 1 ? 1 : (int64_t)jobs;
    return WEIR_OK;
}
