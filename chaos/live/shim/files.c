/* Which descriptors belong to files below the folder; opening and closing them. */

#define _GNU_SOURCE
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DESCRIPTORS 65536
static struct file files[DESCRIPTORS];

/* LevelDB's own notes and its lock: they hold no data, and not all of what is done to them can be
   seen here. */
static const char *const IGNORED[] = {"LOG", "LOG.old", "LOCK"};

struct file *file_of(int fd) {
    return fd >= 0 && fd < DESCRIPTORS && files[fd].tracked ? &files[fd] : NULL;
}

int resolve(int directory, const char *path, char *whole) {
    if (!folder[0]) return 0;
    char start[4096] = "", link[64];
    if (path[0] != '/') {
        if (directory == AT_FDCWD) {
            if (!getcwd(start, sizeof start)) return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
            ssize_t size = readlink(link, start, sizeof start - 1);
            if (size < 0) return 0;
            start[size] = 0;
        }
        strncat(start, "/", sizeof start - strlen(start) - 1);
    }
    if (snprintf(whole, 4096, "%s%s", start, path) >= 4096) return 0;
    size_t size = strlen(folder);
    if (strncmp(whole, folder, size) || (whole[size] && whole[size] != '/')) return 0;
    const char *name = strrchr(whole, '/') + 1;
    for (size_t place = 0; place < sizeof IGNORED / sizeof *IGNORED; place++)
        if (!strcmp(name, IGNORED[place])) return 0;
    return 1;
}

static enum part part_of(const char *whole) {
    const char *rest = whole + strlen(folder);
    if (!strncmp(rest, "/log", 4) || !strncmp(rest, "/witness", 8)) return LOG;
    return !strncmp(rest, "/state", 6) ? STATE : OTHER;
}

static void note_truncation(const char *whole, int64_t length) {
    struct stat found;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, whole, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return;
    if (!fstat(fd, &found) && found.st_size != length) {
        size_t size = found.st_size > length ? (size_t)(found.st_size - length) : 0;
        char *old = malloc(size + 1);
        if (size && syscall(SYS_pread64, fd, old, size, length) != (ssize_t)size)
            give_up("what is cut off cannot be read");
        note_bytes(TRUNCATE, found.st_ino, 0, length, found.st_size, old, size);
        give_room((int64_t)size);
        free(old);
    }
    syscall(SYS_close, fd);
}

static int opened(int fd, const char *whole, int flags, int created) {
    struct stat found;
    if (fd < 0 || fd >= DESCRIPTORS || fstat(fd, &found)) return fd;
    if (created) note_name(CREATE, found.st_ino, whole, NULL, NULL);
    files[fd] = (struct file){1, S_ISDIR(found.st_mode), (flags & O_APPEND) != 0, part_of(whole),
                              found.st_ino};
    return fd;
}

static int open_at(int directory, const char *path, int flags, mode_t mode) {
    char whole[4096];
    if ((flags & O_TMPFILE) == O_TMPFILE || !resolve(directory, path, whole))
        return (int)syscall(SYS_openat, directory, path, flags, mode);
    struct stat before;
    lock_journal();
    int there = !lstat(whole, &before);
    if (there && (flags & O_TRUNC)) note_truncation(whole, 0);
    int fd = (int)syscall(SYS_openat, directory, path, flags, mode);
    int error = errno;
    fd = opened(fd, whole, flags, !there && (flags & O_CREAT));
    unlock_journal();
    errno = error;
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...) {
    MODE(flags)
    return open_at(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags)
    return open_at(AT_FDCWD, path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...) {
    MODE(flags)
    return open_at(directory, path, flags, mode);
}

int openat64(int directory, const char *path, int flags, ...) {
    MODE(flags)
    return open_at(directory, path, flags, mode);
}

int close(int fd) {
    if (file_of(fd)) files[fd].tracked = 0;
    return (int)syscall(SYS_close, fd);
}

static int truncated(const char *whole, int fd, int64_t length) {
    lock_journal();
    note_truncation(whole, length);
    int result = fd < 0 ? (int)syscall(SYS_truncate, whole, length)
                        : (int)syscall(SYS_ftruncate, fd, length);
    unlock_journal();
    return result;
}

int truncate64(const char *path, off64_t length) {
    char whole[4096];
    if (!resolve(AT_FDCWD, path, whole)) return (int)syscall(SYS_truncate, path, length);
    return truncated(whole, -1, length);
}

int ftruncate64(int fd, off64_t length) {
    if (!file_of(fd)) return (int)syscall(SYS_ftruncate, fd, length);
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return truncated(link, fd, length);
}

int truncate(const char *path, off_t length) { return truncate64(path, length); }
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }
