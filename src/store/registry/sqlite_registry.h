/*
 * The registry in a file: core/ports/registry.h over SQLite.
 *
 *     struct sqlite_registry_options o = {0};
 *     sqlite_registry_open("/var/lib/weir/tasks.db", &o, &registry, &err)
 *     registry->ops->apply(...)        // one thread
 *     registry->ops->close(registry)
 *
 * A write-ahead log and synchronous=FULL: what apply() has said WEIR_OK to outlives a power cut.
 * One process at a time has it open, by whatever name (PATH-lock is locked for as long, and says
 * whose it is; so is the file itself); any number of readers, each on a connection of its own, see
 * what was committed and hold up nobody.
 *
 * docs/registry.md tells what is in the tables.
 */
#ifndef STORE_REGISTRY_SQLITE_REGISTRY_H
#define STORE_REGISTRY_SQLITE_REGISTRY_H

#include "core/ports/registry.h"

/* "WeiT", in the header of the file. */
#define SQLITE_REGISTRY_APPLICATION_ID 0x57656954
/* Of the tables; another one is refused. */
#define SQLITE_REGISTRY_VERSION 3

enum sqlite_registry_sync {
    SQLITE_REGISTRY_FULL, /* each transaction is on the disk when it is done */
    SQLITE_REGISTRY_NORMAL, /* a power cut may take back the last ones; a crash of the process takes none */
    SQLITE_REGISTRY_OFF, /* for tests */
};

struct sqlite_registry_options {
    enum sqlite_registry_sync sync;
    uint32_t busy_ms;        /* wait so long for a foreign lock; 0: 4,000 */
    uint32_t cache_kib;      /* of pages in memory; 0: 65,536 */
    uint32_t page_bytes;     /* of a new file: a power of two, 512 .. 65,536; 0: 4,096 */
    uint32_t log_pages;      /* in the log before it is copied back; 0: 2,000 */
    uint32_t file_pages_max; /* the file grows no further; 0: no limit */
};

/*
 * Opens the file, or makes it. WEIR_E_BUSY: another process has it, the message says which.
 * WEIR_E_CONFLICT: it is another program's, or of another version. WEIR_E_FORMAT: it is no
 * database, or is damaged.
 */
WEIR_MUST_CHECK enum weir_status sqlite_registry_open(const char *path,
                                                      const struct sqlite_registry_options *o,
                                                      struct core_registry **ret,
                                                      struct weir_error *err);

/* Tests only. NULL: what is kept twice (counts, dependencies, what the engine has of each line) agrees. O(tasks). */
const char *sqlite_registry_check(struct core_registry *base);
/* Tests only. The next n transactions fail when they are all but done (WEIR_E_IO). */
void sqlite_registry_fail_next(struct core_registry *base, uint64_t n);
/* Tests only. As if REGISTRY_LINES_MAX were that. */
void sqlite_registry_limit_lines(struct core_registry *base, uint32_t max);

#endif
