/*
 * The files of web/, as the binary has them. The assembler reads them, from the top of the sources,
 * where make runs. Their tags are made of what is in them when the first of them is asked for.
 */
#include "serve/web/web.h"

#include <nettle/sha2.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* Bytes NAME_begin to NAME_end. */
#define EMBED(name, path)                                                                          \
    extern const char name##_begin[], name##_end[];                                                \
    __asm__(".pushsection .rodata\n"                                                               \
            ".hidden " #name "_begin\n"                                                            \
            ".hidden " #name "_end\n"                                                              \
            ".globl " #name "_begin\n"                                                             \
            ".globl " #name "_end\n" #name "_begin:\n"                                             \
            ".incbin \"" path "\"\n" #name "_end:\n"                                               \
            ".byte 0\n"                                                                            \
            ".popsection\n")

EMBED(web_page, "web/index.html");
EMBED(web_style, "web/style.css");
EMBED(web_app, "web/app.js");
EMBED(web_icon, "web/icon.svg");

/* Of the hash, in hex, with quotes around it and a NUL. */
#define TAG_BYTES  16
#define ETAG_BYTES (2 * TAG_BYTES + 3)

static struct web_file {
    const char *path, *content_type;
    const char *begin, *end;
    struct api_file file;
    char etag[ETAG_BYTES];
} files[] = {
    {.path = "/",
     .content_type = "text/html; charset=utf-8",
     .begin = web_page_begin,
     .end = web_page_end},
    {.path = "/web/style.css",
     .content_type = "text/css; charset=utf-8",
     .begin = web_style_begin,
     .end = web_style_end},
    {.path = "/web/app.js",
     .content_type = "text/javascript; charset=utf-8",
     .begin = web_app_begin,
     .end = web_app_end},
    {.path = "/web/icon.svg",
     .content_type = "image/svg+xml",
     .begin = web_icon_begin,
     .end = web_icon_end},
};

static void put_tag(struct web_file *f)
{
    struct sha256_ctx hash;
    uint8_t digest[TAG_BYTES];
    char *to = f->etag;

    sha256_init(&hash);
    sha256_update(&hash, (size_t)(f->end - f->begin), (const uint8_t *)f->begin);
    sha256_digest(&hash, sizeof digest, digest);
    *to++ = '"';
    for (size_t i = 0; i < sizeof digest; i++, to += 2)
        snprintf(to, 3, "%02x", digest[i]);
    *to++ = '"';
    *to = '\0';
}

static void fill(void)
{
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct web_file *f = &files[i];
        struct slice bytes = {f->begin, (size_t)(f->end - f->begin)};

        put_tag(f);
        f->file = (struct api_file){f->content_type, bytes, f->etag};
    }
}

const struct api_file *web_find(void *ctx, const char *path)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)ctx;
    pthread_once(&once, fill);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (strcmp(files[i].path, path) == 0)
            return &files[i].file;
    return NULL;
}
