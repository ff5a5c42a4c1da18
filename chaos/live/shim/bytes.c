/* Bytes that are read, written and synced. */

#define _GNU_SOURCE
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* How many of `size` bytes at `offset` have room, where the file has `present` bytes; taken. */
static int64_t fitting(int64_t offset, int64_t size, int64_t present) {
    int64_t within = present - offset < 0 ? 0 : present - offset;
    int64_t growth = size > within ? size - within : 0;
    return size - growth + room_for(growth);
}

static void note_write(int fd, uint64_t inode, int64_t offset, int64_t size, int64_t present) {
    int64_t last = offset + size < present ? offset + size : present;
    size_t over = last > offset ? (size_t)(last - offset) : 0;
    char *old = over ? malloc(over) : NULL;
    /* By a descriptor of its own where this one cannot read. */
    if (over && syscall(SYS_pread64, fd, old, over, offset) != (ssize_t)over) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        int reader = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
        if (syscall(SYS_pread64, reader, old, over, offset) != (ssize_t)over)
            give_up("what is written over cannot be read");
        syscall(SYS_close, reader);
    }
    note_bytes(WRITE, inode, offset, size, present, old, over);
    free(old);
}

static ssize_t put(int fd, const void *data, size_t size, int64_t offset, int positioned) {
    struct file *file = file_of(fd);
    struct stat found;
    slow_down(&control->write_us_least, &control->write_us_most);
    if (fails(&control->failing_writes, file->part)) return -1;
    lock_journal();
    if (fstat(fd, &found)) give_up("a file cannot be looked at");
    if (!positioned) offset = file->appends ? found.st_size : lseek(fd, 0, SEEK_CUR);
    int64_t fits = fitting(offset, (int64_t)size, found.st_size);
    ssize_t result = -1;
    int error = ENOSPC;
    if (fits || !size) {
        note_write(fd, found.st_ino, offset, fits, found.st_size);
        result = positioned ? syscall(SYS_pwrite64, fd, data, (size_t)fits, offset)
                            : syscall(SYS_write, fd, data, (size_t)fits);
        error = errno;
    }
    unlock_journal();
    errno = error;
    return result;
}

ssize_t write(int fd, const void *data, size_t size) {
    return file_of(fd) ? put(fd, data, size, 0, 0) : syscall(SYS_write, fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    return file_of(fd) ? put(fd, data, size, offset, 1)
                       : syscall(SYS_pwrite64, fd, data, size, offset);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    return pwrite64(fd, data, size, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (file_of(fd)) give_up("a vectored write below the folder");
    return syscall(SYS_writev, fd, parts, count);
}

int posix_fallocate64(int fd, off64_t offset, off64_t size) {
    if (file_of(fd)) give_up("preallocation below the folder");
    return syscall(SYS_fallocate, fd, 0, offset, size) ? errno : 0;
}

/* Whoever copies so falls back on reads and writes. */
ssize_t sendfile64(int out, int in, off64_t *offset, size_t size) {
    if (!file_of(out)) return syscall(SYS_sendfile, out, in, offset, size);
    errno = EINVAL;
    return -1;
}

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
    if (!file_of(out)) return syscall(SYS_copy_file_range, in, from, out, to, size, flags);
    errno = EINVAL;
    return -1;
}

ssize_t read(int fd, void *data, size_t size) {
    struct file *file = file_of(fd);
    if (file && fails(&control->failing_reads, file->part)) return -1;
    return syscall(SYS_read, fd, data, size);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t offset) {
    struct file *file = file_of(fd);
    if (file && fails(&control->failing_reads, file->part)) return -1;
    return syscall(SYS_pread64, fd, data, size, offset);
}

ssize_t pread(int fd, void *data, size_t size, off_t offset) {
    return pread64(fd, data, size, offset);
}

/* A sync covers what was noted before it began. After one that failed the system takes the pages
   for clean: later syncs do not cover them either. */
static int sync_by(long number, int fd) {
    struct file *file = file_of(fd);
    if (!file) return (int)syscall(number, fd);
    lock_journal();
    int64_t covers = journal_end();
    unlock_journal();
    slow_down(&control->sync_us_least, &control->sync_us_most);
    int result = fails(&control->failing_syncs, file->part) ? -1 : (int)syscall(number, fd);
    int error = errno;
    lock_journal();
    enum record_kind good = file->directory ? SYNC_DIRECTORY : SYNC;
    note_synced(result ? SYNC_FAILED : good, file->inode, covers);
    if (!result) renew_images(file->inode);
    unlock_journal();
    errno = error;
    return result;
}

int fsync(int fd) { return sync_by(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_by(SYS_fdatasync, fd); }
