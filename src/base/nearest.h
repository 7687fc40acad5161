/*
 * What somebody may have meant: the known name that is nearest to a word that is none.
 *
 *     nearest = nearest_name("prioritty", (const char *const[]){"pool", "priority", NULL});     // "priority"
 *
 * Near is few letters added, left out, changed or swapped, the fewer the shorter the word; or an
 * abbreviation. No state.
 */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

/* names ends with NULL. NULL: none is near. */
const char *nearest_name(const char *word, const char *const *names);

#endif
