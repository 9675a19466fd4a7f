"""A wall clock that jumps, for one process: a library between it and the C library moves CLOCK_REALTIME.

The clock of the machine itself is not touched. The processes that Khala starts from there keep true time:
their environment is made anew.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const long *offset_s;
static int (*true_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CLOCK_OFFSET_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *shared = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
    if (shared != MAP_FAILED) offset_s = shared;
    close(fd);
}

int clock_gettime(clockid_t id, struct timespec *at) {
    if (!true_clock) true_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = true_clock(id, at);
    if (!failed && id == CLOCK_REALTIME && offset_s) at->tv_sec += *offset_s;
    return failed;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""


class JumpingClock:
    """Built in `folder`; a process that is started with `environment` has this clock."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "offset"
        library, source = folder / "clock.so", folder / "clock.c"
        source.write_text(SOURCE)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        self.environment: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "CLOCK_OFFSET_FILE": str(self._file),
        }
        self.wrong_times = 0
        """How many times of wrong periods have been put right: none means that the clock never jumped."""
        self._periods: list[tuple[float, int]] = []
        self.jump_to(0)

    def jump_to(self, offset_s: int) -> None:
        """From now on it is `offset_s` seconds ahead of the truth."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(offset_s.to_bytes(8, "little", signed=True))
        self._periods.append((time.time(), offset_s))

    def truth(self, shown: float) -> float:
        """When it really was that this clock showed `shown`; jumps are longer than a test."""
        ends = [since for since, _ in self._periods[1:]] + [float("inf")]
        for (since, offset_s), end in zip(self._periods, ends, strict=True):
            if since <= shown - offset_s < end:
                self.wrong_times += offset_s != 0
                return shown - offset_s
        return shown
