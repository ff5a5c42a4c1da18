/* Names that appear, change and vanish below the folder.

   What a call removes is kept under another name beside the folder, so that it can be undone; its
   inode is not used again meanwhile. */

#define _GNU_SOURCE
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static int rename_at(int from_directory, const char *from, int to_directory, const char *to) {
    char source[4096], target[4096], kept[4096];
    int out = resolve(from_directory, from, source), in = resolve(to_directory, to, target);
    struct stat moved, replaced;
    if (!out && !in) return (int)syscall(SYS_renameat2, from_directory, from, to_directory, to, 0);
    if (!out || !in) give_up("a rename into or out of the folder");
    lock_journal();
    if (lstat(source, &moved)) {
        unlock_journal();
        errno = ENOENT;
        return -1;
    }
    int over = !lstat(target, &replaced) && S_ISREG(replaced.st_mode);
    if (over) {
        kept_name(kept);
        if (syscall(SYS_linkat, AT_FDCWD, target, AT_FDCWD, kept, 0)) give_up("cannot keep a file");
        if (replaced.st_nlink == 1) give_room(replaced.st_size);
    }
    note_name(RENAME, moved.st_ino, source, target, over ? kept : NULL);
    int result = (int)syscall(SYS_renameat2, AT_FDCWD, source, AT_FDCWD, target, 0);
    unlock_journal();
    return result;
}

int rename(const char *from, const char *to) { return rename_at(AT_FDCWD, from, AT_FDCWD, to); }

int renameat(int from_directory, const char *from, int to_directory, const char *to) {
    return rename_at(from_directory, from, to_directory, to);
}

static int remove_at(int directory, const char *path, int flags) {
    char whole[4096], kept[4096];
    if (!resolve(directory, path, whole)) return (int)syscall(SYS_unlinkat, directory, path, flags);
    struct stat found;
    lock_journal();
    int result = lstat(whole, &found), error = result ? errno : 0;
    if (!result && (flags & AT_REMOVEDIR)) {
        result = (int)syscall(SYS_unlinkat, directory, path, flags);
        error = errno;
        if (!result) note_name(RMDIR, found.st_ino, whole, NULL, NULL);
    } else if (!result && S_ISDIR(found.st_mode)) {
        result = -1, error = EISDIR;
    } else if (!result) {
        kept_name(kept);
        note_name(UNLINK, found.st_ino, whole, NULL, kept);
        result = (int)syscall(SYS_renameat2, AT_FDCWD, whole, AT_FDCWD, kept, 0);
        error = errno;
        if (!result && found.st_nlink == 1) give_room(found.st_size);
    }
    unlock_journal();
    errno = error;
    return result;
}

int unlink(const char *path) { return remove_at(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return remove_at(AT_FDCWD, path, AT_REMOVEDIR); }

int unlinkat(int directory, const char *path, int flags) {
    return remove_at(directory, path, flags);
}

static int make_at(int directory, const char *path, mode_t mode) {
    char whole[4096];
    if (!resolve(directory, path, whole)) return (int)syscall(SYS_mkdirat, directory, path, mode);
    if (control->room == 0) {
        errno = ENOSPC;
        return -1;
    }
    struct stat found;
    lock_journal();
    int result = (int)syscall(SYS_mkdirat, directory, path, mode), error = errno;
    if (!result && !lstat(whole, &found)) note_name(MKDIR, found.st_ino, whole, NULL, NULL);
    unlock_journal();
    errno = error;
    return result;
}

int mkdir(const char *path, mode_t mode) { return make_at(AT_FDCWD, path, mode); }

int mkdirat(int directory, const char *path, mode_t mode) {
    return make_at(directory, path, mode);
}

static int link_at(int from_directory, const char *from, int to_directory, const char *to,
                   int flags) {
    char source[4096], target[4096];
    if (!resolve(to_directory, to, target))
        return (int)syscall(SYS_linkat, from_directory, from, to_directory, to, flags);
    if (!resolve(from_directory, from, source)) give_up("a link to a file outside of the folder");
    struct stat found;
    lock_journal();
    int result = (int)syscall(SYS_linkat, from_directory, from, to_directory, to, flags);
    int error = errno;
    if (!result && !lstat(target, &found)) note_name(LINK, found.st_ino, target, NULL, NULL);
    unlock_journal();
    errno = error;
    return result;
}

int link(const char *from, const char *to) { return link_at(AT_FDCWD, from, AT_FDCWD, to, 0); }

int linkat(int from_directory, const char *from, int to_directory, const char *to, int flags) {
    return link_at(from_directory, from, to_directory, to, flags);
}
