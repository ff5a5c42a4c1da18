/* The journal: what would undo each change of the folder that no sync has covered yet.

   One file, only appended to, also by the next process after a kill: the system still holds what a
   killed process wrote. A record's position in it is its time. */

#define _GNU_SOURCE
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int journal = -1;
static int64_t end;

static void open_journal(void) {
    char path[sizeof side + 16];
    snprintf(path, sizeof path, "%s/journal", side);
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
    journal = (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0644);
    if (journal < 0) give_up("the journal cannot be opened");
    end = lseek(journal, 0, SEEK_END);
}

void lock_journal(void) {
    pthread_mutex_lock(&mutex);
    if (journal < 0) open_journal();
}

void unlock_journal(void) { pthread_mutex_unlock(&mutex); }

int64_t journal_end(void) { return end; }

void note(struct record *record, const char *paths[3], const void *old, size_t old_size) {
    struct iovec parts[5] = {{record, sizeof *record}};
    size_t size = sizeof *record;
    for (int place = 0; place < 3; place++) {
        const char *path = paths && paths[place] ? paths[place] : "";
        parts[place + 1] = (struct iovec){(void *)path, strlen(path)};
        record->path_sizes[place] = (uint16_t)strlen(path);
        size += strlen(path);
    }
    parts[4] = (struct iovec){(void *)old, old_size};
    record->size = (uint32_t)(size + old_size);
    if (syscall(SYS_writev, journal, parts, 5) != (ssize_t)record->size)
        give_up("the journal cannot be written");
    end += record->size;
}

void note_bytes(enum record_kind kind, uint64_t inode, int64_t offset, int64_t length,
                int64_t size_before, const void *old, size_t old_size) {
    struct record record = {.kind = kind, .inode = inode, .offset = offset, .length = length,
                            .old_size = size_before};
    note(&record, NULL, old, old_size);
}

static uint64_t parent_of(const char *path) {
    char copy[4096];
    struct stat found;
    snprintf(copy, sizeof copy, "%s", path);
    return stat(dirname(copy), &found) ? 0 : found.st_ino;
}

void note_name(enum record_kind kind, uint64_t inode, const char *path, const char *path2,
               const char *kept) {
    struct record record = {.kind = kind, .inode = inode};
    const char *paths[3] = {path, path2, kept};
    record.parents[0] = parent_of(path);
    if (path2) record.parents[1] = parent_of(path2);
    touch_name(inode, end);
    for (int place = 0; place < 2; place++)
        if (record.parents[place]) touch_name(record.parents[place], end);
    if (kept) keep(end);
    note(&record, paths, NULL, 0);
}

void note_synced(enum record_kind kind, uint64_t inode, int64_t covers) {
    struct record record = {.kind = kind, .inode = inode, .offset = covers};
    note(&record, NULL, NULL, 0);
    if (kind != SYNC_FAILED) names_survive(inode, covers);
}

/* A name beside the folder, for what a call is about to remove. */
void kept_name(char *name) { snprintf(name, 4096, "%s/kept/%lld", side, (long long)end); }

/* A copy of a mapped file: writes through a mapping are not seen. */
void note_image(int fd, uint64_t inode, int synced) {
    char name[4096], copy[65536];
    kept_name(name);
    int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
    int image = (int)syscall(SYS_openat, AT_FDCWD, name, flags, 0644);
    if (image < 0) give_up("an image cannot be made");
    int64_t offset = 0;
    ssize_t size;
    while ((size = syscall(SYS_pread64, fd, copy, sizeof copy, offset)) > 0) {
        if (syscall(SYS_write, image, copy, (size_t)size) != size) give_up("an image is cut");
        offset += size;
    }
    syscall(SYS_close, image);
    struct record record = {.kind = IMAGE, .inode = inode, .offset = synced, .old_size = offset};
    const char *paths[3] = {name, NULL, NULL};
    note(&record, paths, NULL, 0);
}
