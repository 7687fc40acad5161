/*
 * Lines that say whose they are: --tag.
 *
 *     tagged_put(&out, SLICE("row 7"), bytes);      // "row 7\tfirst line\nrow 7\tsecond line\n"
 *
 * Each line of the bytes gets the tag and a tab before it, also a last one that has no end; nothing
 * else changes, as in GNU parallel. Pure.
 */
#ifndef CLI_OUTPUT_TAGGED_H
#define CLI_OUTPUT_TAGGED_H

#include "base/buf.h"
#include "base/slice.h"

void tagged_put(struct buf *out, struct slice tag, struct slice bytes);

#endif
