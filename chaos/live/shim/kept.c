/* What was removed is kept until no power cut can bring it back: else a long run would fill the
   disk with it. The same rule as in `power_journal.py`: names survive in their order, up to the
   last that a sync has covered. */

#define _GNU_SOURCE
#include "disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* An inode that is pushed out of its slot by another only makes a file stay longer. */
#define SLOTS 4096
static struct { uint64_t inode; int64_t position; } touched[SLOTS];
/* Positions of the kept files, the oldest first; what finds no place stays until the next cut. */
#define KEPT 1024
static int64_t kept[KEPT];
static unsigned first, count;

void touch_name(uint64_t inode, int64_t position) {
    touched[inode % SLOTS].inode = inode, touched[inode % SLOTS].position = position;
}

void keep(int64_t position) {
    if (count < KEPT) kept[(first + count++) % KEPT] = position;
}

void names_survive(uint64_t inode, int64_t covers) {
    if (touched[inode % SLOTS].inode != inode) return;
    int64_t sure = touched[inode % SLOTS].position;
    if (sure >= covers) return;
    for (; count && kept[first] <= sure; first = (first + 1) % KEPT, count--) {
        char name[4096];
        snprintf(name, sizeof name, "%s/kept/%lld", side, (long long)kept[first]);
        syscall(SYS_unlinkat, AT_FDCWD, name, 0);
    }
}
