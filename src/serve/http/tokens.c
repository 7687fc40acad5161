/* See tokens.h. */
#include "serve/http/tokens.h"

#include "base/error.h"
#include "base/mem.h"

#include <nettle/base16.h>
#include <nettle/memops.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <string.h>

struct entry {
    uint8_t digest[SHA256_DIGEST_SIZE];
    enum http_role role;
    char name[HTTP_TOKEN_NAME_BYTES_MAX];
};

struct http_tokens {
    size_t count;
    struct entry entries[];
};

static void digest(struct slice secret, uint8_t ret[SHA256_DIGEST_SIZE])
{
    struct sha256_ctx ctx;

    sha256_init(&ctx);
    sha256_update(&ctx, secret.len, (const uint8_t *)secret.data);
    sha256_digest(&ctx, SHA256_DIGEST_SIZE, ret);
    explicit_bzero(&ctx, sizeof ctx);
}

static bool is_visible(const char *text)
{
    for (; *text; text++) {
        if (*text <= ' ' || *text >= 0x7f)
            return false;
    }
    return true;
}

/* Names the token by its place and its name: its text is never repeated. */
static enum weir_status refuse(struct weir_error *err, size_t i, const struct http_token *t,
                               const char *why)
{
    return error_set(err, WEIR_E_INVALID, "token %zu (%.64s) %s", i + 1,
                     t->name ? t->name : "without a name", why);
}

/* Its digest is there. */
static enum weir_status enter(struct http_tokens *t, const struct http_token *given,
                              struct weir_error *err)
{
    struct entry *e = &t->entries[t->count];

    for (size_t i = 0; i < t->count; i++) {
        if (memeql_sec(t->entries[i].digest, e->digest, SHA256_DIGEST_SIZE))
            return refuse(err, t->count, given, "stands there twice; give each its own secret");
    }
    e->role = given->role;
    snprintf(e->name, sizeof e->name, "%s", given->name ? given->name : "");
    t->count++;
    return WEIR_OK;
}

/* One whose digest is all that is known of it. */
static enum weir_status add_digest(struct http_tokens *t, const struct http_token *given,
                                   struct weir_error *err)
{
    struct base16_decode_ctx ctx;
    size_t bytes = SHA256_DIGEST_SIZE;

    base16_decode_init(&ctx);
    if (strlen(given->sha256) != BASE16_ENCODE_LENGTH(SHA256_DIGEST_SIZE) ||
        !base16_decode_update(&ctx, &bytes, t->entries[t->count].digest, strlen(given->sha256),
                              given->sha256) ||
        !base16_decode_final(&ctx) || bytes != SHA256_DIGEST_SIZE)
        return refuse(err, t->count, given, "has no SHA-256: that is 64 digits of hexadecimal");
    if (given->role < HTTP_ROLE_READ || given->role > HTTP_ROLE_OPERATE)
        return refuse(err, t->count, given, "has no role; roles are read, submit, operate");
    return enter(t, given, err);
}

static enum weir_status add(struct http_tokens *t, const struct http_token *given,
                            struct weir_error *err)
{
    struct entry *e = &t->entries[t->count];

    if (given->sha256 && !given->secret)
        return add_digest(t, given, err);
    if (!given->secret || !given->secret[0])
        return refuse(err, t->count, given, "is empty");
    if (strlen(given->secret) > HTTP_TOKEN_BYTES_MAX)
        return refuse(err, t->count, given, "is longer than 4,096 bytes");
    if (!is_visible(given->secret))
        return refuse(
            err, t->count, given,
            "has a blank or another byte that no header can carry; use visible ASCII characters");
    if (given->role < HTTP_ROLE_READ || given->role > HTTP_ROLE_OPERATE)
        return refuse(err, t->count, given, "has no role; roles are read, submit, operate");
    digest(slice_of(given->secret), e->digest);
    return enter(t, given, err);
}

enum weir_status http_tokens_new(const struct http_token *given, size_t count,
                                 struct http_tokens **ret, struct weir_error *err)
{
    struct http_tokens *t = mem_calloc(1, sizeof *t + count * sizeof t->entries[0]);

    if (!t)
        return error_nomem(err);
    for (size_t i = 0; i < count; i++) {
        enum weir_status status = add(t, &given[i], err);

        if (status != WEIR_OK) {
            http_tokens_free(t);
            return status;
        }
    }
    *ret = t;
    return WEIR_OK;
}

size_t http_tokens_count(const struct http_tokens *t)
{
    return t ? t->count : 0;
}

bool http_tokens_look(const struct http_tokens *t, struct slice secret, enum http_role *ret_role,
                      char ret_name[HTTP_TOKEN_NAME_BYTES_MAX])
{
    uint8_t wanted[SHA256_DIGEST_SIZE];
    const struct entry *found = NULL;

    digest(secret, wanted);
    for (size_t i = 0; i < http_tokens_count(t); i++) {
        if (memeql_sec(t->entries[i].digest, wanted, SHA256_DIGEST_SIZE))
            found = &t->entries[i];
    }
    if (!found)
        return false;
    *ret_role = found->role;
    memcpy(ret_name, found->name, HTTP_TOKEN_NAME_BYTES_MAX);
    return true;
}

struct http_tokens *http_tokens_free(struct http_tokens *t)
{
    return mem_free(t);
}

const char *http_role_name(enum http_role role)
{
    static const char *const names[] = {"none", "read", "submit", "operate"};

    return (size_t)role < sizeof names / sizeof names[0] ? names[role] : "unknown";
}
