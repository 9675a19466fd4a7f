/* Starts a task's process from its launcher without copying the launcher, and sees a short one through.
 *
 * A forked child of a Python process costs a page fault for every page that it or its parent touches
 * until the exec. This child shares the launcher's memory until then, as vfork(2) does: the launcher
 * stands still meanwhile, and no signal handler runs. So the child may only make system calls, by
 * themselves (set*id of the C library would speak to all threads), and write to `told`.
 *
 * A plain shared library, called by khala.execution.launching.vforking, whose Structures mirror the
 * structs here. It does what starting.py does in a forked child where this library is missing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "launching.h"

_Static_assert(sizeof(long) == 8, "the system calls by number are those of 64-bit Linux");

enum { NOT_RUNNABLE = 126, NOT_FOUND = 127, STACK_BYTES = 1 << 16 };

/* The caller's idea of it must be the same. */
const long khala_start_bytes = sizeof(struct start);

struct call {
    const struct start *start;
    char **lists[LISTS];  /* each ended by NULL */
    struct told *told;
};

static char stack[STACK_BYTES] __attribute__((aligned(64)));

static void fail(struct told *told, const char *step, int error)
{
    told->step = step;
    told->error = error;
    syscall(SYS_exit_group, error == ENOENT || error == ENOTDIR ? NOT_FOUND : NOT_RUNNABLE);
}

#define MUST(step, done) do { if ((done) < 0) fail(told, step, errno); } while (0)

/* SIGKILL for this process unless it execs soon, for the launcher waits, and the file may be one that
 * another process holds a lease of. exec deletes the timer. */
static void set_exec_timer(struct told *told)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    struct itimerspec in = {.it_value = {.tv_sec = EXEC_WITHIN_S}};
    int timer = 0;
    MUST("timer_create", syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer));
    MUST("timer_settime", syscall(SYS_timer_settime, timer, 0, &in, NULL));
}

static void be_bounded(const struct start *start, struct told *told)
{
    for (int i = 0; i < start->group_count; i++)
        MUST("cgroup", pwrite(start->groups[i], "0", 1, 0));
    for (int i = 0; i < start->limit_count; i++) {
        const struct limit *limit = &start->limits[i];
        struct rlimit both = {.rlim_cur = limit->soft, .rlim_max = limit->hard};
        MUST("setrlimit", setrlimit((int)limit->resource, &both));
    }
    MUST("setpriority", setpriority(PRIO_PROCESS, 0, start->priority));
    int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (score >= 0) {
        /* Not held against it: without root it may not be allowed. */
        ssize_t ignored = write(score, start->oom_score, strlen(start->oom_score));
        (void)ignored;
        close(score);
    }
}

static void drop_root(const struct start *start, struct told *told)
{
    MUST("setgroups", syscall(SYS_setgroups, 0L, NULL));
    MUST("setresgid", syscall(SYS_setresgid, start->gid, start->gid, start->gid));
    MUST("setresuid", syscall(SYS_setresuid, start->uid, start->uid, start->uid));
}

/* As the box would say less of it than errno does. */
static void require_program(char **places, struct told *told)
{
    int error = ENOENT;
    for (char **place = places; *place; place++) {
        struct stat found;
        if (stat(*place, &found) < 0 || !S_ISREG(found.st_mode))
            continue;
        if (access(*place, X_OK) == 0)
            return;
        error = EACCES;
    }
    fail(told, "exec", error);
}

/* The first place that can be run; else the first error that is not "not there", as execvp(3) does. */
static void exec_first(char **places, char **argv, char **env, struct told *told)
{
    int error = 0, missing = ENOENT;
    for (char **place = places; *place; place++) {
        execve(*place, argv, env);
        if (errno == ENOENT || errno == ENOTDIR)
            missing = errno;
        else if (!error)
            error = errno;
    }
    fail(told, "exec", error ? error : missing);
}

static int be_child(void *given)
{
    struct call *call = given;
    const struct start *start = call->start;
    struct told *told = call->told;
    char **const *lists = call->lists;
    MUST("setsid", setsid());
    for (int fd = 0; fd < 3; fd++)
        MUST("dup2", dup2(start->stdio[fd], fd));
    for (int i = 0; i < start->kept_count; i++)
        MUST("fcntl", fcntl(start->kept[i], F_SETFD, 0));
    be_bounded(start, told);
    if (start->drops_root)
        drop_root(start, told);
    MUST("fchdir", fchdir(start->folder));
    set_exec_timer(told);
    /* The launcher's handler must not run in here; blocked signals that came meanwhile do their default. */
    signal(SIGCHLD, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    MUST("sigprocmask", sigprocmask(SIG_SETMASK, &none, NULL));
    if (*lists[BOX])
        require_program(lists[PLACES], told);
    exec_first(*lists[BOX] ? lists[BOX] : lists[PLACES], lists[ARGV], lists[ENV], told);
    return NOT_RUNNABLE;
}

/* The texts as lists, in one allocation; NULL without memory. */
static char **split(const struct start *start, char *text, char **lists[LISTS])
{
    size_t pointers = LISTS;
    for (int list = 0; list < LISTS; list++)
        pointers += (size_t)start->counts[list];
    char **all = calloc(pointers, sizeof *all), **next = all;
    for (int list = 0; all && list < LISTS; list++) {
        lists[list] = next;
        for (int i = 0; i < start->counts[list]; i++, text += strlen(text) + 1)
            *next++ = text;
        next++;
    }
    return all;
}

long khala_start(const struct start *start, char *texts, struct told *told)
{
    struct call call = {.start = start, .told = told};
    sigset_t all, before;
    told->step = NULL;
    told->error = 0;
    char **pointers = split(start, texts, call.lists);
    if (!pointers)
        return -ENOMEM;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    long pid = clone(be_child, stack + STACK_BYTES, CLONE_VM | CLONE_VFORK | SIGCHLD, &call);
    if (pid < 0)
        pid = -errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    free(pointers);
    return pid;
}

const long khala_watch_bytes = sizeof(struct watch);

long clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static long us(struct timeval time)
{
    return time.tv_sec * 1000000L + time.tv_usec;
}

static void reap(struct watch *watch)
{
    /* SIGCHLD waits once, however many have ended. */
    char noted[128];
    ssize_t ignored = read(watch->children, noted, sizeof noted);
    (void)ignored;
    int status;
    struct rusage use;
    long pid;
    while ((pid = wait4(-1, &status, WNOHANG, &use)) > 0) {
        if (pid == watch->pid) {
            watch->ended = 1;
            watch->status = status;
        }
        watch->user_us += us(use.ru_utime);
        watch->system_us += us(use.ru_stime);
        if (use.ru_maxrss > watch->rss_kib)
            watch->rss_kib = use.ru_maxrss;
    }
    watch->alone = pid < 0;
}

/* Read a stream once; whether more may be there, now or later. */
static int take(struct watch *watch, int stream)
{
    if (watch->streams[stream] < 0 || !watch->room)
        return 0;
    ssize_t size = read(watch->streams[stream], watch->taken[stream] + watch->sizes[stream], (size_t)watch->room);
    if (size == 0)
        watch->streams[stream] = -1;
    if (size <= 0)
        return 0;
    watch->sizes[stream] += size;
    watch->room -= size;
    return 1;
}

/* At first only the end is waited for: a pipe has room for what a short command writes, and neither what it
 * closes on the way there nor the next jobs need to wake the launcher. */
enum { QUIET_NS = 5000000 };

void khala_watch(struct watch *watch)
{
    long quiet_until_ns = clock_ns(CLOCK_BOOTTIME) + QUIET_NS;
    while (!watch->ended && watch->room) {
        struct pollfd ready[2 + STREAMS] = {{watch->children, POLLIN, 0}, {watch->control, POLLIN, 0}};
        for (int stream = 0; stream < STREAMS; stream++)
            ready[2 + stream] = (struct pollfd){watch->streams[stream], POLLIN, 0};
        long now_ns = clock_ns(CLOCK_BOOTTIME);
        int quiet = now_ns < quiet_until_ns && quiet_until_ns < watch->until_ns;
        long left_ns = (quiet ? quiet_until_ns : watch->until_ns) - now_ns;
        struct timespec pause = {left_ns / 1000000000L, left_ns % 1000000000L};
        int count = left_ns > 0 ? ppoll(ready, quiet ? 1 : 2 + STREAMS, &pause, NULL) : 0;
        if (count < 0 || (!count && !quiet) || (count && ready[1].revents))
            return;
        for (int stream = 0; stream < STREAMS && !quiet; stream++)
            if (ready[2 + stream].revents)
                take(watch, stream);
        if (ready[0].revents)
            reap(watch);
    }
    for (int stream = 0; stream < STREAMS; stream++)
        while (watch->ended && take(watch, stream))
            ;
}
