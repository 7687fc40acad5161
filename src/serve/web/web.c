#include "serve/web/web.h"

const struct api_file *web_find(void *ctx, const char *path)
{
    (void)ctx;
    (void)path;
    return NULL;
}
