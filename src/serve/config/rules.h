/*
 * The third hand: what must hold between fields, what one takes from another, and secrets that
 * stand elsewhere.
 */
#ifndef SERVE_CONFIG_RULES_H
#define SERVE_CONFIG_RULES_H

#include "serve/config/reader.h"

/* Adds what is wrong to the reader's faults; settles the rest. WEIR_E_NOMEM. */
WEIR_MUST_CHECK enum weir_status rules_settle(struct config *c, struct config_reader *r,
                                              struct weir_error *err);
/* Frees, and wipes, what rules_settle() has put beside what the file says. */
void rules_forget(struct config *c);

#endif
