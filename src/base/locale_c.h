/*
 * The C locale for one thread and one moment.
 *
 * A program that uses the library may have set a locale in which 1.5 is written "1,5"; what weir
 * reads and writes must not change with it.
 *
 *     locale_t before = locale_c_enter();
 *     ... strtod, printf ...
 *     locale_c_leave(before);
 *
 * glibc hands out one static object for the whole C locale, so this allocates nothing and there is
 * nothing to free.
 */
#ifndef BASE_LOCALE_C_H
#define BASE_LOCALE_C_H

#include <locale.h>

static inline locale_t locale_c_enter(void)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);

    return c ? uselocale(c) : (locale_t)0;
}

static inline void locale_c_leave(locale_t before)
{
    if (before)
        uselocale(before);
}

#endif
