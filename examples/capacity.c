/*
 * A service that is often full: rows are refused, wait, and are tried again, and none of them fails
 * for it.
 *
 * The callback only says what happened (weir_answer_capacity). The rest is the pool's business: the
 * refused row gives its place away and is tried again, the throttle finds out how much the service
 * bears and keeps to it, and a refusal never counts against max_attempts. In a real program the
 * callback would say so for the statuses 429, 503 and 529.
 */
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <weir/weir.h>

/* The service: it lets at most `room` callers in at once. */
struct service {
    pthread_mutex_t lock;
    int inside, room, refused;
};

static int service_enter(struct service *s)
{
    int status = 200;

    pthread_mutex_lock(&s->lock);
    if (s->inside >= s->room)
        status = 429;
    else
        s->inside++;
    s->refused += status == 429;
    pthread_mutex_unlock(&s->lock);
    return status;
}

static void service_leave(struct service *s)
{
    pthread_mutex_lock(&s->lock);
    s->inside--;
    pthread_mutex_unlock(&s->lock);
}

static void call_service(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    struct service *s = ctx;
    int status = service_enter(s);

    if (status != 200) {
        weir_answer_capacity(answer, status, "the service is full");
        return;
    }
    nanosleep(&(struct timespec){.tv_nsec = 5 * 1000 * 1000}, NULL); /* the work itself */
    weir_answer_ok(answer, row->key, 1);
    service_leave(s);
}

static int show(const struct weir_results *results, int refused)
{
    const struct weir_stats *s = &results->stats;
    unsigned most = 0;

    for (size_t i = 0; i < results->count; i++)
        if (results->items[i].attempts > most)
            most = results->items[i].attempts;
    printf("rows                     %zu\n", results->count);
    printf("successes, failures      %llu, %llu\n", (unsigned long long)s->pool_stats.successes,
           (unsigned long long)s->pool_stats.failures);
    printf("calls refused            %d (capacity_retries %llu)\n", refused,
           (unsigned long long)s->pool_stats.capacity_retries);
    printf("most attempts of a row   %u\n", most);
    printf("throttle                 %s: %s, rates from %.0f to %.0f/s\n", s->throttle.kind,
           s->throttle.mode, s->throttle.rate_min_per_second, s->throttle.rate_max_per_second);
    for (unsigned i = 0; i < WEIR_THROTTLE_REASONS; i++)
        if (s->throttle.changes_by_reason[i] > 0)
            printf("%10llu times         %s\n",
                   (unsigned long long)s->throttle.changes_by_reason[i],
                   weir_throttle_reason_text(i));
    /* Nothing failed, everything was counted, and the service was really full now and then. */
    return s->pool_stats.successes == results->count && s->pool_stats.failures == 0 &&
           s->pool_stats.capacity_retries == (unsigned)refused && refused > 0;
}

int main(void)
{
    enum { COUNT = 500 };
    static struct weir_row rows[COUNT]; /* no data, no key: the key is the row's number */
    struct service service = {.lock = PTHREAD_MUTEX_INITIALIZER, .room = 6};
    struct weir_engine *engine = NULL;
    struct weir_results *results = NULL;
    struct weir_pool_options options;
    struct weir_pool *pool;
    struct weir_error err;
    int right = 0;

    weir_pool_options_init(&options); /* the throttle: WEIR_THROTTLE_ADAPTIVE */
    options.size = 8;                 /* more than the service has room for */
    if (weir_open(NULL, &engine, &err) != WEIR_OK ||
        weir_pool_open_thread(engine, &options, call_service, &service, &pool, &err) != WEIR_OK ||
        weir_run(pool, rows, COUNT, NULL, &results, &err) != WEIR_OK)
        fprintf(stderr, "capacity: %s\n", err.message);
    else
        right = show(results, service.refused);
    weir_results_free(results);
    weir_close(engine, NULL);
    return right ? 0 : 1;
}
