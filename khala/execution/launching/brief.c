/* Plain commands, one after the other, each from its workspace to the frame that tells its end. Where all goes
 * well, as it does for most short ones, what lies around vfork.c's start and watch takes a launcher longer in
 * Python than the command runs.
 *
 * Called by khala.execution.launching.brief, whose Structures mirror the structs here. Whatever is out of the
 * ordinary is left as it is, for the launcher's usual way to go on from there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launching.h"

enum { ROW = 16, FIGURES = 5, SHARED = 5, LISTS_OF_IPC = 3, HEADER_BYTES = 4096 };

/* How it stands with the first that is not done: nothing was done of it; nothing, for the executor has said
 * something; its workspace is in its place, but the command could not be executed; it runs, or has ended and
 * must be looked at. */
enum { NOT_BEGUN, ASKED, PLACED, BEGUN };

struct row {
    /* The attempts, and what they share. */
    int count;
    int has_more;                /* whether others wait behind them */
    const struct start *starts[ROW];  /* but for the descriptors, which are known here */
    char *texts[ROW];
    const char *ids[ROW], *names[ROW];  /* the tasks', and their workspaces' */
    long attempts[ROW];
    const char *enforced;        /* what holds for them, in JSON */
    long most_ns, most_waited_for_ns;  /* how long one may take here; while others wait for it */
    long most_cpu_us;            /* CPU time allowed; 0 is no limit */

    /* The slot. */
    int control, root, null;
    long reserve_bytes;          /* of the file system; with less left nothing is started */
    const char *shared[SHARED];  /* folders that all may write; the rest is NULL */
    long changed_ns[SHARED];     /* from which time stamp of theirs on something may be new in there */
    int lists[LISTS_OF_IPC];     /* of System V's objects (/proc/sysvipc); -1: not to be known */
    int queues;                  /* the folder of message queues, and what it is without one */
    long queues_bytes, queues_ns;

    /* The group; -1 is no file. */
    int files[FIGURES];          /* where the figures are read */
    int cpu;                     /* takes "0" to count CPU time anew */
    long most_processes, most_left_bytes;  /* with so much at most it serves again */

    /* What came of it. */
    int done, stage;
    long began_at_ns;            /* of the last one, by CLOCK_REALTIME */
    long began_ns, ended_ns;     /* by CLOCK_BOOTTIME; 0 if its end was not waited for, as its exec took too long */
    long figures[FIGURES];
};

const long khala_row_bytes = sizeof(struct row);

/* In the order of row.files: what the number follows in its line. */
static const char *const labels[FIGURES] = {"", "max ", "", "oom_kill ", ""};
enum { PROCESSES, REFUSED, MEMORY, KILLS, LEFT };

static long stamp_ns(const struct stat *found)
{
    return found->st_mtim.tv_sec * 1000000000L + found->st_mtim.tv_nsec;
}

static long figure(int file, const char *label)
{
    char text[256];
    ssize_t size = file < 0 ? 0 : pread(file, text, sizeof text - 1, 0);
    text[size > 0 ? size : 0] = 0;
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, label, strlen(label)) == 0)
            return strtol(line + strlen(label), NULL, 10);
    }
    return 0;
}

/* Whoever lists the folder next begins where it is left: at its start. */
static int is_empty(int folder)
{
    struct entry {
        unsigned long inode;
        long offset;
        unsigned short size;
        unsigned char type;
        char name[];
    } *entry;
    char entries[512] __attribute__((aligned(8)));
    int others = 0;
    long size = 1;
    while (!others && size > 0) {
        size = syscall(SYS_getdents64, folder, entries, sizeof entries);
        for (char *at = entries; at < entries + size; at += entry->size) {
            entry = (struct entry *)at;
            others |= strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0;
        }
    }
    return lseek(folder, 0, SEEK_SET) == 0 && size == 0 && !others;
}

static int has_room(const struct row *row)
{
    struct statvfs disk;
    return fstatvfs(row->root, &disk) == 0 &&
           (unsigned long)disk.f_bavail * disk.f_frsize >= (unsigned long)row->reserve_bytes;
}

static int has_traces(const struct row *row)
{
    struct stat found;
    for (int i = 0; i < SHARED && row->shared[i]; i++)
        if (stat(row->shared[i], &found) == 0 && stamp_ns(&found) >= row->changed_ns[i])
            return 1;
    return 0;
}

static int has_ipc(const struct row *row)
{
    struct stat found;
    return row->queues >= 0 && (khala_has_objects(row->lists, LISTS_OF_IPC) || fstat(row->queues, &found) < 0 ||
                                found.st_size != row->queues_bytes || stamp_ns(&found) != row->queues_ns);
}

static void send_all(int to, const char *data, size_t size)
{
    while (size) {
        ssize_t sent = send(to, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return;  /* whoever reads next from a socket that is closed at the other end notices */
        data += sent > 0 ? sent : 0;
        size -= sent > 0 ? (size_t)sent : 0;
    }
}

/* The frame that khala.execution.wire decodes (`decode_done`). */
static void tell(const struct row *row, const struct watch *watch)
{
    char frame[HEADER_BYTES];
    unsigned lengths[2];
    int room = HEADER_BYTES - (int)sizeof lengths;
    int size = snprintf(frame + sizeof lengths, (size_t)room,
        "{\"done\":[\"%s\",%ld,%.6f,%.6f,%.6f,%.6f,%.6f,%ld,%ld,%ld],\"enforced\":%s,\"blobs\":[%ld,%ld]}",
        row->ids[row->done], row->attempts[row->done], (double)clock_ns(CLOCK_REALTIME) / 1e9,
        (double)row->began_at_ns / 1e9, (double)(row->ended_ns - row->began_ns) / 1e9,
        (double)watch->user_us / 1e6, (double)watch->system_us / 1e6, watch->rss_kib * 1024,
        row->figures[MEMORY], row->figures[PROCESSES], row->enforced, watch->sizes[0], watch->sizes[1]);
    lengths[0] = htonl((unsigned)size);
    lengths[1] = htonl((unsigned)(watch->sizes[0] + watch->sizes[1]));
    memcpy(frame, lengths, sizeof lengths);
    send_all(row->control, frame, sizeof lengths + (size_t)size);
    for (int stream = 0; stream < STREAMS; stream++)
        send_all(row->control, watch->taken[stream], (size_t)watch->sizes[stream]);
}

/* A command that succeeded, alone, within its bounds, and left nothing, and its group as good as new: none of
 * it is there when this returns true. */
static int see_off(struct row *row, const struct ready *ready, const struct watch *watch)
{
    if (!watch->ended || watch->status != 0 || !watch->alone || !watch->room)
        return 0;
    for (int stream = 0; stream < STREAMS; stream++)
        if (watch->streams[stream] >= 0)
            return 0;
    if (row->most_cpu_us && watch->user_us + watch->system_us > row->most_cpu_us)
        return 0;
    for (int i = 0; i < FIGURES; i++)
        row->figures[i] = figure(row->files[i], labels[i]);
    if (row->figures[KILLS] || row->figures[REFUSED] || row->figures[PROCESSES] > row->most_processes ||
        row->figures[LEFT] > row->most_left_bytes || has_traces(row) || !is_empty(ready->workspace))
        return 0;
    if (row->files[MEMORY] >= 0 && pwrite(row->files[MEMORY], "0", 1, 0) < 0)
        return 0;
    if (renameat(row->root, row->names[row->done], ready->ended, row->names[row->done]) < 0)
        return 0;
    close(ready->workspace);
    for (int stream = 0; stream < STREAMS; stream++)
        close(ready->pipes[2 * stream]);
    return 1;
}

/* Move the workspace to its place, start the command in there and wait; the stage it has come to. */
static int begin(struct row *row, const struct ready *ready, struct watch *watch)
{
    struct pollfd asked = {row->control, POLLIN, 0};
    struct start start = *row->starts[row->done];
    struct told told;
    if (poll(&asked, 1, 0) != 0)
        return ASKED;
    if (!has_room(row) || renameat(ready->ended, ready->next, row->root, row->names[row->done]) < 0)
        return NOT_BEGUN;
    start.stdio[0] = row->null;
    for (int stream = 0; stream < STREAMS; stream++) {
        watch->streams[stream] = ready->pipes[2 * stream];
        start.stdio[1 + stream] = ready->pipes[2 * stream + 1];
        watch->sizes[stream] = 0;
    }
    start.folder = ready->workspace;
    watch->ended = watch->alone = 0;
    watch->user_us = watch->system_us = watch->rss_kib = 0;
    row->began_at_ns = clock_ns(CLOCK_REALTIME);
    row->began_ns = clock_ns(CLOCK_BOOTTIME);
    watch->pid = khala_start(&start, row->texts[row->done], &told);
    if (watch->pid < 0 || told.step) {
        if (watch->pid > 0)
            waitpid((pid_t)watch->pid, NULL, 0);
        return PLACED;
    }
    for (int stream = 0; stream < STREAMS; stream++)
        close(start.stdio[1 + stream]);
    int waited_for = row->has_more || row->done + 1 < row->count;
    watch->until_ns = row->began_ns + (waited_for ? row->most_waited_for_ns : row->most_ns);
    row->ended_ns = 0;
    if (clock_ns(CLOCK_BOOTTIME) - row->began_ns < EXEC_WITHIN_S * 1000000000L) {
        khala_watch(watch);
        row->ended_ns = clock_ns(CLOCK_BOOTTIME);
    }
    return BEGUN;
}

/* Whether all is there for the next one. */
static int prepare(const struct row *row, struct ready *ready)
{
    if (has_ipc(row))
        return 0;
    if (row->cpu >= 0 && pwrite(row->cpu, "0", 1, 0) < 0)
        return 0;
    return khala_ready(ready);
}

/* Run one after the other, as long as all goes well; each end is told before the next one begins. `ready` is
 * what the first one takes; what is left in it is the next one's, if its workspace is one. */
void khala_row(struct row *row, struct ready *ready, struct watch *watch)
{
    const long room = watch->room;
    for (row->done = 0; row->done < row->count; row->done++) {
        watch->room = room;
        row->stage = begin(row, ready, watch);
        if (row->stage != BEGUN || !see_off(row, ready, watch))
            return;
        row->stage = NOT_BEGUN;
        tell(row, watch);
        ready->workspace = -1;
        if (row->done + 1 < row->count && !prepare(row, ready)) {
            row->done++;
            return;
        }
    }
}
