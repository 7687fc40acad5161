/*
 * docs/openapi.yaml, as the binary has it. The assembler reads the file, from the top of the
 * sources, where make runs.
 */
#include "serve/api/api.h"

extern const char openapi_begin[], openapi_end[];

__asm__(".pushsection .rodata\n"
        ".hidden openapi_begin\n"
        ".hidden openapi_end\n"
        ".globl openapi_begin\n"
        ".globl openapi_end\n"
        "openapi_begin:\n"
        ".incbin \"docs/openapi.yaml\"\n"
        "openapi_end:\n"
        ".byte 0\n"
        ".popsection\n");

struct slice api_openapi(void)
{
    return (struct slice){openapi_begin, (size_t)(openapi_end - openapi_begin)};
}
