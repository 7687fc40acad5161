/*
 * Sessions by name: their memory, and the hash table that finds them.
 *
 *     session_table_init(&t);                          // false: no memory
 *     s = session_table_find(&t, hash, name, len);     // NULL: not known
 *     s = session_table_add(&t, hash, name, len);      // NULL: no memory; it was not known
 *     session_table_remove(&t, hash, s);
 *     session_table_clear(&t);
 *
 * Among many sessions what a look-up costs is the cache lines that are not at hand. It touches one
 * of the table, in which a part of the hash stands beside each session's number, so that no session
 * is touched that does not match (but for one of some thousands), and the first of the session,
 * which has what a task needs and the name.
 *
 * The table is an array of lines of LINE_ENTRIES entries each, with further lines chained to those
 * that are full. It grows by linear hashing: with each LINE_FILL sessions more one line is split in
 * two, so that no look-up pays for the growth. Lines and sessions are in blocks of which each is as
 * large as all before it together: nothing is ever moved or copied, and a block's pages are touched
 * one by one. A table that has shrunk gives back its last block of sessions when it is empty and
 * those before it are less than half in use. Pure. Owner: an affinity; one thread.
 */
#ifndef CORE_WORKER_SESSION_TABLE_H
#define CORE_WORKER_SESSION_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCK_FIRST  16 /* elements of the first block, and of the second */
#define BLOCKS       28 /* 2^31 elements; beyond that there is no memory */
#define LINE_ENTRIES 7
#define LINE_FILL    4 /* sessions for each line, on average */

struct session;

/* An array whose elements never move. */
struct blocks {
    size_t each_bytes; /* whole cache lines; each element begins with one */
    char *elements[BLOCKS];
    void *memory[BLOCKS];
};

struct session_table {
    struct blocks lines, sessions;
    size_t line_count; /* without those that are chained to others */
    size_t known;
    uint64_t probes; /* sessions that look-ups have compared */
    struct {
        uint32_t made, used; /* sessions that have been, and that are */
        uint32_t free;       /* the first free one of those made, and 1; 0: none */
    } block[BLOCKS];
};

bool session_table_init(struct session_table *t);
/* Of sessions too: all are forgotten. */
void session_table_clear(struct session_table *t);
struct session *session_table_find(struct session_table *t, uint64_t hash, const char *name,
                                   size_t len);
/* All but its name is zero, and its lists are empty. */
struct session *session_table_add(struct session_table *t, uint64_t hash, const char *name,
                                  size_t len);
void session_table_remove(struct session_table *t, uint64_t hash, struct session *s);
/* Calls fn for each with what the table has of its hash, until one returns what is wrong. Also NULL: all is sound. */
const char *session_table_check(const struct session_table *t,
                                const char *(*fn)(void *ctx, const struct session *s,
                                                  uint32_t hash),
                                void *ctx);

#endif
