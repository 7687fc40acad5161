#include "cli/top/screen.h"

#include "base/error.h"

/* The name that ncurses gives its wide functions in a header of their own. */
#define NCURSES_WIDECHAR 1
#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ESCAPE_MS 50

static SCREEN *screen;
static bool in_colour;

static const struct {
    short colour;
    attr_t attr, plain; /* plain: without colour */
} styles[] = {
    [TOP_PLAIN] = {0, A_NORMAL, A_NORMAL},
    [TOP_HEAD] = {0, A_BOLD, A_BOLD},
    [TOP_ACTIVE] = {COLOR_CYAN, A_BOLD | A_REVERSE, A_BOLD | A_REVERSE},
    [TOP_CHOSEN] = {0, A_REVERSE, A_REVERSE},
    [TOP_GOOD] = {COLOR_GREEN, A_NORMAL, A_NORMAL},
    [TOP_BAD] = {COLOR_RED, A_BOLD, A_BOLD},
    [TOP_BUSY] = {COLOR_YELLOW, A_NORMAL, A_NORMAL},
    [TOP_DIM] = {0, A_DIM, A_NORMAL},
};

static enum weir_status no_terminal(const char *term, struct weir_error *err)
{
    return error_set(
        err, WEIR_E_INVALID,
        "TERM is %s%.60s%s, which cannot be drawn on; weir top --once prints one screen",
        term && *term ? "\"" : "not set", term ? term : "", term && *term ? "\"" : "");
}

static void take_colours(bool colour)
{
    in_colour = colour && has_colors() && start_color() == OK;
    if (!in_colour)
        return;
    use_default_colors();
    for (short i = 0; i < (short)(sizeof styles / sizeof *styles); i++) {
        if (styles[i].colour)
            init_pair((short)(i + 1), styles[i].colour, -1);
    }
}

enum weir_status screen_open(bool colour, struct weir_error *err)
{
    const char *term = getenv("TERM"), *moves;

    if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO))
        return error_set(err, WEIR_E_INVALID,
                         "this is no terminal; weir top --once prints one screen");
    screen = term && *term ? newterm(NULL, stdout, stdin) : NULL;
    if (!screen)
        return no_terminal(term, err);
    moves = tigetstr("cup");
    if (!moves || moves == (char *)-1) {
        screen_close();
        return no_terminal(term, err);
    }
    set_escdelay(ESCAPE_MS);
    cbreak();
    noecho();
    nonl();
    keypad(stdscr, true);
    nodelay(stdscr, true);
    curs_set(0);
    take_colours(colour);
    return WEIR_OK;
}

void screen_size(size_t *ret_width, size_t *ret_height)
{
    int height, width;

    getmaxyx(stdscr, height, width);
    *ret_width = width > 0 ? (size_t)width : 1;
    *ret_height = height > 0 ? (size_t)height : 1;
}

void screen_show(const struct top_screen *s)
{
    int height, width;

    getmaxyx(stdscr, height, width);
    erase();
    for (size_t i = 0; i < s->count && i < (size_t)height; i++) {
        const struct top_line *line = &s->lines[i];
        attr_t attr = in_colour ? styles[line->style].attr : styles[line->style].plain;
        short pair = in_colour && styles[line->style].colour ? (short)(line->style + 1) : 0;

        attr_set(attr, pair, NULL);
        mvaddnstr((int)i, 0, s->text.data + line->at, (int)line->len);
        /* A bar goes over the whole width. */
        if (attr & A_REVERSE) {
            for (int x = getcurx(stdscr); getcury(stdscr) == (int)i && x < width; x++)
                mvaddch((int)i, x, ' ');
        }
    }
    attr_set(A_NORMAL, 0, NULL);
    refresh();
}

static int special(wint_t code)
{
    switch (code) {
    case KEY_UP:
        return TOP_UP;
    case KEY_DOWN:
        return TOP_DOWN;
    case KEY_PPAGE:
        return TOP_PAGE_UP;
    case KEY_NPAGE:
        return TOP_PAGE_DOWN;
    case KEY_HOME:
        return TOP_HOME;
    case KEY_END:
        return TOP_END;
    case KEY_ENTER:
        return TOP_ENTER;
    case KEY_BTAB:
        return TOP_TAB_BACK;
    case KEY_BACKSPACE:
    case KEY_DC:
        return TOP_BACKSPACE;
    case KEY_RESIZE:
        return SCREEN_RESIZED;
    default:
        return 0;
    }
}

static int character(wint_t code)
{
    switch (code) {
    case '\n':
    case '\r':
        return TOP_ENTER;
    case '\t':
        return TOP_TAB;
    case '\b':
    case 0x7F:
        return TOP_BACKSPACE;
    case 0x1B:
        return TOP_ESCAPE;
    case 0x0C: /* control-L */
        return SCREEN_REDRAW;
    default:
        return code >= ' ' ? (int)code : 0;
    }
}

bool screen_key(int *ret)
{
    wint_t code;
    int got;

    do {
        got = get_wch(&code);
        if (got == ERR)
            return false;
        *ret = got == KEY_CODE_YES ? special(code) : character(code);
    } while (*ret == 0);
    return true;
}

void screen_spoil(void)
{
    clearok(stdscr, true);
}

void screen_close(void)
{
    if (!screen)
        return;
    endwin();
    delscreen(screen);
    screen = NULL;
}
