/* What the control file says: delays, errors, room. Mapped, so that looking costs nothing. */

#define _GNU_SOURCE
#include "disk.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct control *control;
char folder[4096], side[4096];

/* How often a stalled call looks whether it may go on. */
static const struct timespec LOOK = {0, 2 * 1000 * 1000};

void give_up(const char *why) {
    char text[512];
    int size = snprintf(text, sizeof text, "disk shim: %s (%s)\n", why, strerror(errno));
    syscall(SYS_write, 2, text, (size_t)size);
    abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *named = getenv("TASKQ_DISK_FOLDER"), *beside = getenv("TASKQ_DISK_SIDE");
    if (!named || !beside) return;
    char path[sizeof side + 16];
    snprintf(side, sizeof side, "%s", beside);
    snprintf(path, sizeof path, "%s/control", side);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) give_up("no control file");
    control = (void *)syscall(SYS_mmap, NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED,
                              fd, 0);
    if (control == MAP_FAILED) give_up("the control file cannot be mapped");
    syscall(SYS_close, fd);
    snprintf(folder, sizeof folder, "%s", named);
}

/* Threads may meet in here; any number is good enough. */
static uint64_t chance(void) {
    static volatile uint64_t state;
    uint64_t x = state ? state : (uint64_t)control->seed * 2654435769u + (uint64_t)getpid();
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return state = x;
}

static void count(volatile int64_t *counter) { __sync_fetch_and_add(counter, 1); }

int fails(volatile int64_t *of_a_million, enum part part) {
    if (!*of_a_million || (control->aim && control->aim != part)) return 0;
    if ((int64_t)(chance() % 1000000) >= *of_a_million) return 0;
    count(&control->failed);
    errno = EIO;
    return 1;
}

static void wait_for(const struct timespec *time) { syscall(SYS_nanosleep, time, NULL); }

void slow_down(volatile int64_t *least, volatile int64_t *most) {
    if (control->stalled) count(&control->delayed);
    while (control->stalled) wait_for(&LOOK);
    int64_t low = *least, high = *most;
    if (high <= 0) return;
    count(&control->delayed);
    int64_t us = low + (high > low ? (int64_t)(chance() % (uint64_t)(high - low)) : 0);
    struct timespec time = {us / 1000000, us % 1000000 * 1000};
    wait_for(&time);
}

/* How much of `growth` bytes still fits, which are then taken. */
int64_t room_for(int64_t growth) {
    if (control->room < 0 || growth <= 0) return growth;
    int64_t room = control->room, taken = growth < room ? growth : room;
    __sync_fetch_and_sub(&control->room, taken);
    if (taken < growth) count(&control->refused);
    return taken;
}

void give_room(int64_t size) {
    if (control->room >= 0) __sync_fetch_and_add(&control->room, size);
}

/* What the operator's tools and the node itself are told of the room. */
static void tell(struct statvfs *found) {
    if (!control || control->room < 0 || !control->room_told) return;
    unsigned long unit = found->f_frsize ? found->f_frsize : 4096;
    unsigned long blocks = (unsigned long)control->room / unit;
    if (blocks >= found->f_bavail) return;
    found->f_bavail = found->f_bfree = blocks;
    count(&control->refused);
}

int statvfs64(const char *path, struct statvfs64 *found) {
    static int (*real)(const char *, struct statvfs64 *);
    if (!real) real = (int (*)(const char *, struct statvfs64 *))dlsym(RTLD_NEXT, "statvfs64");
    char whole[4096];
    int result = real(path, found);
    if (!result && resolve(AT_FDCWD, path, whole)) tell((struct statvfs *)found);
    return result;
}
