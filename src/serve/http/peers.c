/* See peers.h. */
#include "serve/http/peers.h"

#include "base/mem.h"

/* Places that an address may have, one after another. */
#define PROBES 8

bool http_peers_init(struct http_peers *p, double rate_per_s, double burst, uint64_t seed)
{
    *p =
        (struct http_peers){.rate_per_s = rate_per_s, .burst = burst < 1 ? 1 : burst, .seed = seed};
    if (rate_per_s <= 0)
        return true;
    p->places = mem_calloc(HTTP_PEERS_MAX, sizeof *p->places);
    return p->places != NULL;
}

/* The finalizer of splitmix64; the seed keeps places from being chosen from outside. */
static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static double filled(const struct http_peers *p, const struct http_peer *peer, struct instant now)
{
    double have = peer->have + instant_seconds(now, peer->at) * p->rate_per_s;

    return have > p->burst ? p->burst : have;
}

static struct http_peer *place_of(struct http_peers *p, const struct http_peer_addr *addr,
                                  struct instant now)
{
    uint64_t h = mix(mix(addr->high ^ p->seed) ^ addr->low);
    struct http_peer *free_place = NULL, *fullest = NULL;

    for (size_t i = 0; i < PROBES; i++) {
        struct http_peer *peer = &p->places[(h + i) % HTTP_PEERS_MAX];

        if (peer->at.ns == 0) {
            if (!free_place)
                free_place = peer;
            continue;
        }
        if (peer->addr.high == addr->high && peer->addr.low == addr->low)
            return peer;
        if (!fullest || filled(p, peer, now) > filled(p, fullest, now))
            fullest = peer;
    }
    if (!free_place)
        free_place = fullest;
    *free_place = (struct http_peer){.addr = *addr, .have = p->burst, .at = now};
    return free_place;
}

duration_ns http_peers_take(struct http_peers *p, const struct http_peer_addr *addr,
                            struct instant now)
{
    struct http_peer *peer;

    if (!p->places)
        return 0;
    if (now.ns == 0)
        now.ns = 1;
    peer = place_of(p, addr, now);
    peer->have = filled(p, peer, now);
    peer->at = now;
    if (peer->have >= 1) {
        peer->have -= 1;
        return 0;
    }
    return duration_from_seconds((1 - peer->have) / p->rate_per_s);
}

void http_peers_free(struct http_peers *p)
{
    p->places = mem_free(p->places);
}
