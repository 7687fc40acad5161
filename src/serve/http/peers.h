/*
 * How many requests each address sends: a bucket for each, in a table that does not grow.
 *
 *     http_peers_init(&peers, 100 per second, burst);
 *     wait_ns = http_peers_take(&peers, &addr, now);     // 0: it may; else how long until it may again
 *
 * A bucket that has filled up again says nothing, so its place may be taken; when all places that
 * an address could have are taken by others, the fullest of them goes, which lets its owner have a
 * little more. Not thread-safe; time is an argument.
 */
#ifndef SERVE_HTTP_PEERS_H
#define SERVE_HTTP_PEERS_H

#include "base/time.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_PEERS_MAX 4096

/* IPv4 as its mapped IPv6 address. An IPv6 peer is its /64: one host has all of that. */
struct http_peer_addr {
    uint64_t high, low;
};

struct http_peer {
    struct http_peer_addr addr;
    double have;
    struct instant at; /* when that was so; 0: the place is empty */
};

struct http_peers {
    struct http_peer *places; /* NULL: no limit */
    double rate_per_s, burst;
    uint64_t seed;
};

/* rate 0: no limit. False: no memory. */
bool http_peers_init(struct http_peers *p, double rate_per_s, double burst, uint64_t seed);
duration_ns http_peers_take(struct http_peers *p, const struct http_peer_addr *addr,
                            struct instant now);
void http_peers_free(struct http_peers *p);

#endif
