/* What a launcher does between two attempts: it makes what the next one takes, and looks whether the last one
 * left IPC objects. Called by khala.execution.launching.ready and ipc, and within a row by brief.c.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launching.h"

/* The caller's idea of it must be the same. */
const long khala_ready_bytes = sizeof(struct ready);

static int make(struct ready *ready)
{
    for (int stream = 0; stream < STREAMS; stream++) {
        int *ends = ready->pipes + 2 * stream;
        if (pipe2(ends, O_CLOEXEC) < 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0)
            return -1;
        if (ready->has_owner && fchown(ends[1], ready->uid, ready->gid) < 0)
            return -1;
    }
    if (mkdirat(ready->ended, ready->next, 0700) < 0)
        return -1;
    ready->workspace = openat(ready->ended, ready->next, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (ready->workspace < 0 || (ready->has_owner && fchown(ready->workspace, ready->uid, ready->gid) < 0))
        return -1;
    return 0;
}

int khala_ready(struct ready *ready)
{
    for (int i = 0; i < 2 * STREAMS; i++)
        ready->pipes[i] = -1;
    ready->workspace = -1;
    if (make(ready) == 0)
        return 1;
    for (int i = 0; i < 2 * STREAMS; i++)
        if (ready->pipes[i] >= 0)
            close(ready->pipes[i]);
    if (ready->workspace >= 0)
        close(ready->workspace);
    ready->workspace = -1;
    return 0;
}

int khala_has_objects(const int *lists, int count)
{
    char text[1024];
    for (int i = 0; i < count; i++) {
        ssize_t size = pread(lists[i], text, sizeof text, 0);
        char *heading = memchr(text, '\n', size > 0 ? (size_t)size : 0);
        if (size < 0 || (heading && heading + 1 < text + size))
            return 1;
    }
    return 0;
}
