/* See heartbeat.h. */
#include "exec/command/heartbeat.h"

#include "base/json.h"
#include "base/parse.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of a number; what is longer is text. */
#define NUMBER_BYTES_MAX 32

void heartbeat_init(struct heartbeat *h, const char *const *env)
{
    static const char name[] = HEARTBEAT_VARIABLE "=";

    *h = (struct heartbeat){0};
    /* As in an environment, the last one counts. */
    for (; env && *env; env++)
        if (strncmp(*env, name, sizeof name - 1) == 0)
            h->path = *env + sizeof name - 1;
    if (h->path && !*h->path)
        h->path = NULL;
}

static bool is_as_it_was(const struct heartbeat *h, const struct stat *now)
{
    return h->seen && h->inode == now->st_ino && h->size == now->st_size &&
           h->touched.tv_sec == now->st_mtim.tv_sec && h->touched.tv_nsec == now->st_mtim.tv_nsec;
}

static struct slice skip_blanks(struct slice s)
{
    while (s.len > 0 && (*s.data == ' ' || *s.data == '\t'))
        s = (struct slice){s.data + 1, s.len - 1};
    return s;
}

void heartbeat_read(struct slice line, struct core_heartbeat *ret)
{
    char number[NUMBER_BYTES_MAX + 1];
    double progress;
    size_t len = 0;

    ret->progress = -1;
    ret->text = line = skip_blanks(line);
    while (len < line.len && line.data[len] != ' ' && line.data[len] != '\t')
        len++;
    if (len > 0 && len <= NUMBER_BYTES_MAX) {
        memcpy(number, line.data, len);
        number[len] = '\0';
        if (parse_number(number, 0, 1, &progress, NULL) == WEIR_OK) {
            ret->progress = progress;
            ret->text = skip_blanks((struct slice){line.data + len, line.len - len});
        }
    }
    if (ret->text.len > CORE_HEARTBEAT_TEXT_MAX)
        ret->text.len = CORE_HEARTBEAT_TEXT_MAX;
    ret->text.len = utf8_valid_prefix(ret->text);
}

static struct slice first_line(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && text[n] != '\n' && text[n] != '\r' && text[n] != '\0')
        n++;
    return (struct slice){text, n};
}

bool heartbeat_look(struct heartbeat *h, char room[HEARTBEAT_READ_BYTES],
                    struct core_heartbeat *ret)
{
    struct stat now;
    ssize_t n = -1;
    int fd;

    if (!h->path || lstat(h->path, &now) != 0 || !S_ISREG(now.st_mode) || is_as_it_was(h, &now))
        return false;
    /* It may have become something else meanwhile: never waits, never follows. */
    fd = open(h->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &now) != 0 || !S_ISREG(now.st_mode)) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    do {
        n = read(fd, room, HEARTBEAT_READ_BYTES);
    } while (n < 0 && errno == EINTR);
    close(fd);
    h->seen = true;
    h->inode = now.st_ino;
    h->size = now.st_size;
    h->touched = now.st_mtim;
    heartbeat_read(first_line(room, n > 0 ? (size_t)n : 0), ret);
    return true;
}

void heartbeat_remove(struct heartbeat *h)
{
    if (h->path)
        unlink(h->path);
    h->path = NULL;
}
