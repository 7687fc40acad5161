/*
 * The table of pools, for weir pool list and weir status.
 */
#ifndef CLI_CLIENT_POOL_H
#define CLI_CLIENT_POOL_H

#include "cli/client/view.h"

#define POOL_COLUMNS 13
extern const struct view_column pool_columns[POOL_COLUMNS];

#endif
