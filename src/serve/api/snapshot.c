/* See snapshot.h. */
#include "serve/api/snapshot.h"

#include <assert.h>

bool snapshot_init(struct snapshot *s, const struct snapshot_rules *rules)
{
    assert(rules->every_ns > 0 && rules->burst > 0 && rules->age_max_ns >= rules->every_ns);
    *s = (struct snapshot){.rules = *rules};
    if (pthread_mutex_init(&s->lock, NULL) != 0)
        return false;
    if (pthread_cond_init(&s->made, NULL) == 0)
        return true;
    pthread_mutex_destroy(&s->lock);
    return false;
}

/* ---- under the lock ---- */

static bool is_good(const struct snapshot *s, struct instant now, uint64_t changes)
{
    return s->has_text && s->changes >= changes &&
           instant_diff(now, s->begun_at) <= s->rules.age_max_ns;
}

/* Whether one more may be made for whoever could do with what there is. */
static bool may_make(const struct snapshot *s, struct instant now)
{
    return instant_diff(s->paid_to, now) <= (duration_ns)(s->rules.burst - 1) * s->rules.every_ns;
}

/* Those that had to be made are not paid for without end. */
static void pay(struct snapshot *s, struct instant now)
{
    struct instant most = instant_add(now, (duration_ns)s->rules.burst * s->rules.every_ns);

    if (instant_before(s->paid_to, now))
        s->paid_to = now;
    s->paid_to = instant_min(instant_add(s->paid_to, s->rules.every_ns), most);
}

/* Leaves the lock while it does. */
static enum weir_status make_anew(struct snapshot *s, struct instant now, uint64_t changes,
                                  snapshot_fn make, void *ctx, struct buf *out,
                                  struct weir_error *err)
{
    struct buf text = {0};
    enum weir_status status;

    s->being_made = true;
    pay(s, now);
    pthread_mutex_unlock(&s->lock);
    status = make(ctx, &text, err);
    if (status == WEIR_OK)
        buf_put_slice(out, buf_slice(&text));
    out->failed |= text.failed;
    pthread_mutex_lock(&s->lock);
    s->being_made = false;
    if (status == WEIR_OK && !text.failed) {
        struct buf before = s->text;

        s->text = text;
        s->has_text = true;
        s->changes = changes;
        s->begun_at = now;
        text = before;
    }
    pthread_cond_broadcast(&s->made);
    buf_free(&text);
    return status;
}

enum weir_status snapshot_get(struct snapshot *s, struct instant now, uint64_t changes,
                              snapshot_fn make, void *ctx, struct buf *out, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    bool waited = false;

    pthread_mutex_lock(&s->lock);
    for (; s->being_made && !is_good(s, now, changes); waited = true)
        pthread_cond_wait(&s->made, &s->lock);
    if (is_good(s, now, changes) && (waited || s->being_made || !may_make(s, now)))
        buf_put_slice(out, buf_slice(&s->text));
    else
        status = make_anew(s, now, changes, make, ctx, out, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}

void snapshot_free(struct snapshot *s)
{
    buf_free(&s->text);
    pthread_cond_destroy(&s->made);
    pthread_mutex_destroy(&s->lock);
}
