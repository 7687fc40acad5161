/*
 * The counting behind --halt; halt.h has the rules.
 */
#include "cli/output/halt.h"

#include "base/error.h"
#include "base/parse.h"

#include <assert.h>
#include <string.h>

static const char *const why_names[] = {
    [HALT_ON_FAIL] = "fail",
    [HALT_ON_SUCCESS] = "success",
    [HALT_ON_DONE] = "done",
};

#define HALT_USAGE                                                                                 \
    "write never, or soon|now,fail|success|done=N or N%%, such as now,fail=1 or soon,fail=10%%"

static bool skip_word(const char **text, const char *word)
{
    size_t len = strlen(word);

    if (strncmp(*text, word, len) != 0)
        return false;
    *text += len;
    return true;
}

static enum weir_status parse_threshold(const char *text, struct halt_rule *rule,
                                        struct weir_error *err)
{
    size_t len = strlen(text);
    char number[32];
    int64_t count;
    enum weir_status status;

    if (len == 0 || len >= sizeof(number))
        return error_set(err, WEIR_E_INVALID, "\"%.40s\" is no number of rows", text);
    if (text[len - 1] != '%') {
        status = parse_count(text, 1, INT64_MAX, &count, err);
        if (status == WEIR_OK)
            rule->count = (uint64_t)count;
        return status;
    }
    memcpy(number, text, len - 1);
    number[len - 1] = '\0';
    status = parse_number(number, 0, 100, &rule->percent, err);
    if (status == WEIR_OK && !(rule->percent > 0))
        return error_set(err, WEIR_E_INVALID, "%s would halt at once; more than 0%% is needed",
                         text);
    return status;
}

/* never, and the numbers that GNU parallel had before it had words. */
static bool parse_short(const char *text, struct halt_rule *ret)
{
    static const struct {
        const char *text;
        struct halt_rule rule;
    } known[] = {
        {"never", {.verdict = HALT_NONE}},
        {"0", {.verdict = HALT_NONE}},
        {"1", {.verdict = HALT_SOON, .why = HALT_ON_FAIL, .count = 1}},
        {"2", {.verdict = HALT_NOW, .why = HALT_ON_FAIL, .count = 1}},
        {"-1", {.verdict = HALT_SOON, .why = HALT_ON_SUCCESS, .count = 1}},
        {"-2", {.verdict = HALT_NOW, .why = HALT_ON_SUCCESS, .count = 1}},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].text, text) == 0) {
            *ret = known[i].rule;
            return true;
        }
    }
    return false;
}

enum weir_status halt_parse(const char *text, struct halt_rule *ret, struct weir_error *err)
{
    struct halt_rule rule = {.verdict = HALT_NONE};
    const char *at = text;
    enum weir_status status;
    size_t why;

    if (parse_short(text, ret))
        return WEIR_OK;
    if (skip_word(&at, "soon,"))
        rule.verdict = HALT_SOON;
    else if (skip_word(&at, "now,"))
        rule.verdict = HALT_NOW;
    else
        return error_set(err, WEIR_E_INVALID, "\"%.60s\" is not understood; " HALT_USAGE, text);
    for (why = 0; why < sizeof(why_names) / sizeof(why_names[0]); why++) {
        if (skip_word(&at, why_names[why]))
            break;
    }
    if (why == sizeof(why_names) / sizeof(why_names[0]) || *at++ != '=')
        return error_set(err, WEIR_E_INVALID, "\"%.60s\" is not understood; " HALT_USAGE, text);
    rule.why = (enum halt_why)why;
    status = parse_threshold(at, &rule, err);
    if (status == WEIR_OK)
        *ret = rule;
    return status;
}

void halt_init(struct halt *h, const struct halt_rule *rule)
{
    *h = (struct halt){.rule = *rule};
}

static uint64_t counted(const struct halt *h)
{
    switch (h->rule.why) {
    case HALT_ON_FAIL:
        return h->failed;
    case HALT_ON_SUCCESS:
        return h->ok;
    case HALT_ON_DONE:
        break;
    }
    return h->ok + h->failed;
}

enum halt_verdict halt_finished(struct halt *h, bool ok)
{
    uint64_t count, done;

    if (ok)
        h->ok++;
    else
        h->failed++;
    if (h->rule.verdict == HALT_NONE || h->reached)
        return halt_verdict(h);
    count = counted(h);
    done = h->ok + h->failed;
    assert(count <= done);
    if (h->rule.count > 0)
        h->reached = count >= h->rule.count;
    else
        h->reached = count >= HALT_PERCENT_ROWS_MIN &&
                     (double)count * 100.0 >= h->rule.percent * (double)done;
    return halt_verdict(h);
}

enum halt_verdict halt_verdict(const struct halt *h)
{
    return h->reached ? h->rule.verdict : HALT_NONE;
}

void halt_describe(const struct halt *h, struct buf *out)
{
    static const char *const verbs[] = {"failed", "ended ok", "finished"};

    buf_printf(out, "%llu of %llu rows %s (--halt %s,%s=", (unsigned long long)counted(h),
               (unsigned long long)(h->ok + h->failed), verbs[h->rule.why],
               h->rule.verdict == HALT_NOW ? "now" : "soon", why_names[h->rule.why]);
    if (h->rule.count > 0)
        buf_printf(out, "%llu)", (unsigned long long)h->rule.count);
    else
        buf_printf(out, "%g%%)", h->rule.percent);
}
