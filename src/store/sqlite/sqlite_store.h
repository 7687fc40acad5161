/*
 * The journal of `weir run`: a store in one SQLite file, FILE.weir. docs/journal.md is its format.
 *
 *     status = sqlite_store_open("out.jsonl.weir", SQLITE_STORE_CREATE, &store, err);
 *     store->ops->put(store, rows, n, attempts, m, err);
 *     store->ops->close(store);
 *
 * Each put, mark, set and reopen_failed is one transaction, synced to the disk before it returns.
 * While the journal is open there is a FILE.weir-wal beside it, and nobody else can open it, to
 * read neither; close leaves FILE.weir alone. After a crash the -wal file belongs to it.
 *
 * Any thread may call the store; calls wait for each other. The opener closes it, once, when no
 * other call runs. After an fsync that failed, and after damage was found, every further call fails
 * with the same status: what the disk holds then is only known when the journal is opened again.
 */
#ifndef STORE_SQLITE_SQLITE_STORE_H
#define STORE_SQLITE_SQLITE_STORE_H

#include "core/ports/store.h"

/* In the header of the file, where `file` and other tools look for it: "Weir". */
#define SQLITE_STORE_APPLICATION_ID 0x57656972
/* Raised with each change of the tables. */
#define SQLITE_STORE_VERSION 2

/* A journal up to this size is checked whole whenever it is opened; a larger one only when the run
 * before did not close it. */
#define SQLITE_STORE_CHECK_BYTES ((int64_t)64 << 20)

enum sqlite_store_mode {
    SQLITE_STORE_CREATE,     /* opens it, or makes it when there is none */
    SQLITE_STORE_MUST_EXIST, /* opens it; WEIR_E_END when there is none */
    SQLITE_STORE_FRESH,      /* a new one in place of one that there may be */
};

/*
 * Opens a journal. What is refused, each with a message that names the file and the remedy:
 *   WEIR_E_FORMAT    no database, a truncated or damaged one, tables that somebody changed
 *   WEIR_E_CONFLICT  another program's database; a journal of another version
 *   WEIR_E_BUSY      held by somebody else (whose process id the message tells where it can)
 *   WEIR_E_IO        it, or its folder, cannot be read or written; the disk is full
 *   WEIR_E_INVALID   not a regular file
 *   WEIR_E_END       there is none (SQLITE_STORE_MUST_EXIST)
 * SQLITE_STORE_FRESH replaces a journal of any version, damaged ones included, and nothing else:
 * not a file that is something other than a journal, and not one that is held.
 */
WEIR_MUST_CHECK enum weir_status sqlite_store_open(const char *path, enum sqlite_store_mode mode,
                                                   struct core_store **ret, struct weir_error *err);

#endif
