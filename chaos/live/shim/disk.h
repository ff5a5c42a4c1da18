/* A disk that can lose power, be slow, full or broken, in front of one folder of one process.

   The library is loaded before libc (LD_PRELOAD). It sees every call that changes the folder, notes
   in a journal what would undo it until it is synced, and does what the control file says. Calls of
   other files pass. `chaos/live/power.py` reads the journal after the process was killed.

   Calls are made by `syscall`, so that nothing here meets itself. What it cannot follow (vectored
   writes, preallocation) ends the process with a message rather than pass unseen. */

#ifndef DISK_H
#define DISK_H

#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Shared with `chaos/live/shim/control.py`: same order, all 8 bytes. */
struct control {
    volatile int64_t seed;
    volatile int64_t sync_us_least, sync_us_most;   /* each sync takes so much longer */
    volatile int64_t write_us_least, write_us_most; /* each write, too */
    volatile int64_t stalled;                       /* writes and syncs wait until it is 0 */
    volatile int64_t room;                          /* bytes that can still be added; -1: any */
    volatile int64_t room_told;                     /* whether statvfs tells it */
    volatile int64_t aim;                           /* what fails: 0 all, else a `part` */
    volatile int64_t failing_reads, failing_writes, failing_syncs; /* of a million */
    volatile int64_t delayed, refused, failed; /* counted here: calls that met it */
};

enum part { OTHER = 0, LOG = 1, STATE = 2 };

enum record_kind {
    WRITE = 1, TRUNCATE, SYNC, SYNC_DIRECTORY, SYNC_FAILED, /* bytes */
    CREATE, LINK, RENAME, UNLINK, MKDIR, RMDIR,             /* names */
    IMAGE, /* of a mapped file: as it was when mapped, or (offset 1) as it was synced */
};

/* One record of the journal: this head, three paths without terminator, old bytes. */
struct record {
    uint32_t size; /* of all of it */
    uint16_t kind;
    uint16_t path_sizes[3];
    uint16_t unused[2];
    uint64_t inode;
    uint64_t parents[2]; /* inodes of the folders that a name is, or was, in */
    int64_t offset;      /* of a write; a sync covers the journal up to here */
    int64_t length;      /* bytes written; the size that a file is cut to */
    int64_t old_size;
};

/* control.c */
extern struct control *control;
extern char folder[4096], side[4096]; /* whole paths, no slash at the end; folder "" where none */
int fails(volatile int64_t *of_a_million, enum part part);
void slow_down(volatile int64_t *least, volatile int64_t *most);
int64_t room_for(int64_t growth);
void give_room(int64_t size);
void give_up(const char *why) __attribute__((noreturn));

/* journal.c */
void lock_journal(void);
void unlock_journal(void);
int64_t journal_end(void);
void note(struct record *record, const char *paths[3], const void *old, size_t old_size);
void note_bytes(enum record_kind kind, uint64_t inode, int64_t offset, int64_t length,
                int64_t size_before, const void *old, size_t old_size);
void note_name(enum record_kind kind, uint64_t inode, const char *path, const char *path2,
               const char *kept);
void note_synced(enum record_kind kind, uint64_t inode, int64_t covers);
void kept_name(char *name);
void note_image(int fd, uint64_t inode, int synced);

/* kept.c */
void touch_name(uint64_t inode, int64_t position);
void keep(int64_t position);
void names_survive(uint64_t inode, int64_t covers);

/* maps.c */
void renew_images(uint64_t inode);

/* files.c */
struct file {
    uint8_t tracked, directory, appends;
    enum part part;
    uint64_t inode;
};
struct file *file_of(int fd); /* NULL for what is not below the folder */
int resolve(int directory, const char *path, char *whole); /* 1 where it is below the folder */

#endif
