/* Files that are written through memory: no call tells of each write, so that a copy of the file
   as it was last synced says what is durable. */

#define _GNU_SOURCE
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAPPED 64
static struct {
    char *start;
    size_t size;
    int fd; /* our own */
    uint64_t inode;
} maps[MAPPED];

static void mapped(char *start, size_t size, int fd, uint64_t inode) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    for (int place = 0; place < MAPPED; place++) {
        if (maps[place].start) continue;
        maps[place].start = start, maps[place].size = size, maps[place].inode = inode;
        maps[place].fd = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
        note_image(maps[place].fd, inode, 0);
        return;
    }
    give_up("too many mapped files");
}

/* The file was synced by its descriptor. */
void renew_images(uint64_t inode) {
    for (int place = 0; place < MAPPED; place++)
        if (maps[place].start && maps[place].inode == inode) note_image(maps[place].fd, inode, 1);
}

void *mmap64(void *start, size_t size, int rights, int flags, int fd, off64_t offset) {
    struct file *file = file_of(fd);
    if (file && fails(&control->failing_reads, file->part)) return MAP_FAILED;
    void *found = (void *)syscall(SYS_mmap, start, size, rights, flags, fd, offset);
    if (file && found != MAP_FAILED && (rights & PROT_WRITE) && (flags & MAP_SHARED)) {
        lock_journal();
        mapped(found, size, fd, file->inode);
        unlock_journal();
    }
    return found;
}

void *mmap(void *start, size_t size, int rights, int flags, int fd, off_t offset) {
    return mmap64(start, size, rights, flags, fd, offset);
}

static int place_of(const void *start) {
    for (int place = 0; place < MAPPED; place++) {
        char *from = maps[place].start;
        if (from && (char *)start >= from && (char *)start < from + maps[place].size) return place;
    }
    return -1;
}

int munmap(void *start, size_t size) {
    int place = place_of(start);
    if (place >= 0) {
        maps[place].start = NULL;
        syscall(SYS_close, maps[place].fd);
    }
    return (int)syscall(SYS_munmap, start, size);
}

void *mremap(void *start, size_t size, size_t wanted, int flags, ...) {
    int place = place_of(start);
    if (flags & MREMAP_FIXED) give_up("a mapping is moved to a fixed place");
    void *found = (void *)syscall(SYS_mremap, start, size, wanted, flags);
    if (place >= 0 && found != MAP_FAILED) maps[place].start = found, maps[place].size = wanted;
    return found;
}

int msync(void *start, size_t size, int flags) {
    int place = place_of(start), result;
    if (place < 0) return (int)syscall(SYS_msync, start, size, flags);
    slow_down(&control->sync_us_least, &control->sync_us_most);
    lock_journal();
    result = (int)syscall(SYS_msync, start, size, flags);
    if (!result && (flags & MS_SYNC)) note_image(maps[place].fd, maps[place].inode, 1);
    unlock_journal();
    return result;
}
