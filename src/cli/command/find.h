/*
 * Whether a program is there, asked before the first row: a slip of the pen is told once, and not
 * by each row.
 *
 *     status = find_program("gzip", workdir, &err);
 *
 * As it will be looked for when it is started: a name with a slash is that file (from dir, if it is
 * relative), any other one is looked up in PATH. What is found now may be gone later; that is then
 * told by whoever starts it. Any thread.
 */
#ifndef CLI_COMMAND_FIND_H
#define CLI_COMMAND_FIND_H

#include "weir/status.h"

/* dir: where it will start; NULL: here. WEIR_E_INVALID: it is not there, or may not be run. */
WEIR_MUST_CHECK enum weir_status find_program(const char *name, const char *dir,
                                              struct weir_error *err);

#endif
