#include "core/permits.h"

#include <assert.h>

void permits_init(struct permits *all, size_t limit)
{
    *all = (struct permits){.limit = limit};
}

void permit_account_init(struct permit_account *a, struct permits *all, size_t limit)
{
    *a = (struct permit_account){.all = all, .limit = limit};
}

bool permit_available(const struct permit_account *a)
{
    return a->running < a->limit && a->all->running < a->all->limit;
}

bool permit_take(struct permit_account *a)
{
    if (!permit_available(a))
        return false;
    a->running++;
    a->all->running++;
    if (a->running > a->peak)
        a->peak = a->running;
    return true;
}

void permit_return(struct permit_account *a)
{
    assert(a->running > 0 && a->all->running > 0);
    a->running--;
    a->all->running--;
}
