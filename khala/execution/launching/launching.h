/* What the C files of launchers share. */
#ifndef KHALA_LAUNCHING_H
#define KHALA_LAUNCHING_H

#include <time.h>

enum { EXEC_WITHIN_S = 2 };
enum { MOST_GROUPS = 8, MOST_KEPT = 5, MOST_LIMITS = 8, STREAMS = 2, NAME_BYTES = 64 };

struct limit {
    long resource;
    unsigned long soft, hard;
};

enum { PLACES, BOX, ARGV, ENV, LISTS };

struct start {
    int stdio[3];
    int folder;              /* becomes the working directory */
    int groups[MOST_GROUPS]; /* descriptors of files that take "0" and so this process into a group */
    int group_count;
    int kept[MOST_KEPT];     /* descriptors that the exec keeps */
    int kept_count;
    int limit_count;
    struct limit limits[MOST_LIMITS];
    int priority;
    int drops_root;          /* whether to become uid and gid, without other groups */
    unsigned uid, gid;
    char oom_score[8];
    int counts[LISTS];       /* how many of the texts, which follow one another, each with its NUL, are
                              *   PLACES: where the program may be, in this order
                              *   BOX: one or none; what to exec if a place can be run, instead of it
                              *   ARGV and ENV: what is executed gets */
};

struct told {
    const char *step;  /* what failed, or NULL */
    int error;         /* errno of it */
};

/* The child's pid when it has execed or failed, which `told` says, or -errno if there is none. */
long khala_start(const struct start *start, char *texts, struct told *told);

/* What a launcher waits for while a child runs, and what came of it. */
struct watch {
    long pid;              /* of the child */
    long until_ns;         /* CLOCK_BOOTTIME; no longer than this */
    long room;             /* how many bytes of output may yet be taken, of all streams together */
    char *taken[STREAMS];  /* each has that much space */
    long sizes[STREAMS];   /* bytes in there */
    int streams[STREAMS];  /* where they come from, without blocking; -1 once at the end */
    int children;          /* a signalfd of SIGCHLD */
    int control;           /* what the caller must attend to when it is readable */
    int ended, status;     /* whether the child has been reaped, and its wait status */
    int alone;             /* no child is left, at the last look */
    long user_us, system_us, rss_kib;  /* sums over the reaped, and the largest of them */
};

/* Return when the child has ended, with what it wrote until then, or earlier, whatever it was: the caller
 * must be able to go on from any point. Other children that end meanwhile are reaped too. */
void khala_watch(struct watch *watch);

/* In nanoseconds. */
long clock_ns(clockid_t clock);

/* What an attempt takes with it, made ahead. */
struct ready {
    int ended;               /* the folder where the workspace is made, as `next` */
    int has_owner;           /* whether it and the pipes are given to uid and gid */
    unsigned uid, gid;
    int workspace;
    int pipes[2 * STREAMS];  /* what is read without blocking, and what is written, of each stream */
    char next[NAME_BYTES];
};

/* Whether it could be made: all of it, or no descriptor. */
int khala_ready(struct ready *ready);

/* Whether one of these lists of System V's objects (/proc/sysvipc) has a line below its heading. */
int khala_has_objects(const int *lists, int count);

#endif
