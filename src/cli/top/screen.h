/*
 * The terminal of `weir top`, by ncurses: lines onto it, keys from it.
 *
 *     screen_open(colour, &err);
 *     screen_size(&s.width, &s.height); top_draw(...); screen_show(&s);
 *     while (screen_key(&key)) ...
 *     screen_close();                              // the terminal is as it was
 *
 * There is one terminal, so there is no handle. One thread.
 */
#ifndef CLI_TOP_SCREEN_H
#define CLI_TOP_SCREEN_H

#include "cli/top/view.h"

/* SCREEN_RESIZED: no key; the size is another one. */
enum { SCREEN_RESIZED = 0x120000, SCREEN_REDRAW };

/* WEIR_E_INVALID: this is no terminal that can be drawn on; the message says what to do. */
WEIR_MUST_CHECK enum weir_status screen_open(bool colour, struct weir_error *err);
void screen_size(size_t *ret_width, size_t *ret_height);
void screen_show(const struct top_screen *s);
/* The next key, as top_key() takes it, or one of the above. False: there is none just now. */
bool screen_key(int *ret);
/* Draws all anew: something else has written on the terminal. */
void screen_spoil(void);
void screen_close(void);

#endif
