/* The observer that passes on; see tee.h. */
#include "observe/tee.h"

#include "base/list.h"

static void tee_event(struct core_observer *o, const struct core_event *ev)
{
    const struct tee *t = list_entry(o, struct tee, base);

    for (size_t i = 0; i < t->count; i++)
        t->to[i]->ops->event(t->to[i], ev);
}

static const struct core_observer_ops tee_ops = {.event = tee_event};

void tee_init(struct tee *t)
{
    *t = (struct tee){.base = {.ops = &tee_ops}};
}

bool tee_add(struct tee *t, struct core_observer *o)
{
    if (!o)
        return true;
    if (t->count == TEE_OBSERVERS_MAX)
        return false;
    t->to[t->count++] = o;
    return true;
}
