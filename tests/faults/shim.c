/* Preloaded between a program and its C library: counts the calls that touch files below one
 * folder, and at the n-th of them kills the process or makes the call fail. What the program does
 * on disk is thereby its own doing, up to the very call.
 *
 * fault_arm(root, at, action, sticky) is called by the program under test (through ctypes), in a
 * fresh child each time. Actions: 0 counts only; -1 kills before the call; -2 does half of a write
 * and kills; any other is the errno the call fails with. Sticky: all later calls that need room
 * fail as well, as on a disk that stays full.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { ALL = 1, ROOM = 2, SYNC = 4 }; /* ROOM: calls that a full disk makes fail */

static char root[4096];
static size_t root_length;
static int armed, at, action, sticky, calls, fired, retried;
static char last[64], names[65536];
static struct { dev_t dev; ino_t ino; } failed_syncs[64];
static int failed_count;

void fault_arm(const char *folder, int n, int what, int stay)
{
    strncpy(root, folder, sizeof root - 1);
    root_length = strlen(root);
    at = n, action = what, sticky = stay;
    calls = fired = retried = failed_count = 0;
    last[0] = names[0] = 0;
    armed = 1;
}
void fault_disarm(void) { armed = 0; }
int fault_calls(void) { return calls; }
int fault_fired(void) { return fired; }
int fault_retried(void) { return retried; }
const char *fault_last(void) { return last; }
const char *fault_names(void) { return names; }

static int below(const char *path)
{
    return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || !path[root_length]);
}

static int fd_below(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0)
        return 0;
    path[n] = 0;
    return below(path);
}

static int at_below(int folder, const char *path)
{
    if (path[0] == '/')
        return below(path);
    if (folder == AT_FDCWD) {
        char here[4096];
        return getcwd(here, sizeof here) && below(here);
    }
    return fd_below(folder);
}

/* 0: go on; 1: fail with errno; 2: do half of it, then die. */
static int strike(const char *name, int kind, int whole)
{
    if (!armed || !whole)
        return 0;
    int n = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (strlen(names) + strlen(name) + 2 < sizeof names) {
        strcat(names, name);
        strcat(names, " ");
    }
    int hit = n == at || (sticky && fired && (kind & ROOM));
    if (!action || !hit)
        return 0;
    if (action < 0) {
        if (action == -2 && strstr(name, "write"))
            return 2;
        kill(getpid(), SIGKILL);
    }
    if (!fired)
        snprintf(last, sizeof last, "%s", name);
    fired = 1;
    errno = action;
    return 1;
}

static void die(void) { kill(getpid(), SIGKILL); }

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        int writes = flags & (O_WRONLY | O_RDWR | O_CREAT); \
        if (strike(#name, writes & O_CREAT ? ROOM : 0, armed && at_below(AT_FDCWD, path))) \
            return -1; \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) \
    { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = va_arg(rest, mode_t); \
        va_end(rest); \
        if (strike(#name, flags & O_CREAT ? ROOM : 0, armed && at_below(folder, path))) \
            return -1; \
        return real(folder, path, flags, mode); \
    }
OPENAT(openat)
OPENAT(openat64)

#define WRITE(name, type, parameters, arguments, half) \
    ssize_t name parameters \
    { \
        REAL(name); \
        switch (strike(#name, ROOM, armed && fd_below(fd))) { \
        case 1: return -1; \
        case 2: half; die(); \
        } \
        return real arguments; \
    }
WRITE(write, , (int fd, const void *data, size_t size), (fd, data, size), real(fd, data, size / 2))
WRITE(pwrite, , (int fd, const void *data, size_t size, off_t to), (fd, data, size, to),
      real(fd, data, size / 2, to))
WRITE(pwrite64, , (int fd, const void *data, size_t size, off64_t to), (fd, data, size, to),
      real(fd, data, size / 2, to))
WRITE(writev, , (int fd, const struct iovec *parts, int count), (fd, parts, count),
      real(fd, parts, count / 2))
WRITE(pwritev, , (int fd, const struct iovec *parts, int count, off_t to), (fd, parts, count, to),
      real(fd, parts, count / 2, to))
WRITE(pwritev64, , (int fd, const struct iovec *parts, int count, off64_t to),
      (fd, parts, count, to), real(fd, parts, count / 2, to))

/* A failed fsync must not be tried again: the kernel may have dropped the bytes. */
static int sync_strike(const char *name, int fd)
{
    struct stat now;
    if (!armed || !fd_below(fd) || fstat(fd, &now))
        return 0;
    for (int i = 0; i < failed_count; i++)
        if (failed_syncs[i].dev == now.st_dev && failed_syncs[i].ino == now.st_ino)
            retried = 1;
    int result = strike(name, ROOM | SYNC, 1);
    if (result == 1 && failed_count < 64) {
        failed_syncs[failed_count].dev = now.st_dev;
        failed_syncs[failed_count++].ino = now.st_ino;
    }
    return result;
}
#define SYNCING(name) \
    int name(int fd) \
    { \
        REAL(name); \
        return sync_strike(#name, fd) ? -1 : real(fd); \
    }
SYNCING(fsync)
SYNCING(fdatasync)

int msync(void *address, size_t size, int flags)
{
    REAL(msync);
    return strike("msync", ROOM, armed) ? -1 : real(address, size, flags);
}
int close(int fd)
{
    REAL(close);
    int failed = strike("close", 0, armed && fd_below(fd)), error = errno;
    int result = real(fd); /* a close that fails has closed all the same */
    errno = failed ? error : errno;
    return failed ? -1 : result;
}

#define ON_PATH(name, kind, parameters, arguments, path) \
    int name parameters \
    { \
        REAL(name); \
        return strike(#name, kind, armed && at_below(AT_FDCWD, path)) ? -1 : real arguments; \
    }
ON_PATH(rename, ROOM, (const char *from, const char *to), (from, to), from)
ON_PATH(unlink, 0, (const char *path), (path), path)
ON_PATH(mkdir, ROOM, (const char *path, mode_t mode), (path, mode), path)
ON_PATH(rmdir, 0, (const char *path), (path), path)
ON_PATH(chmod, 0, (const char *path, mode_t mode), (path, mode), path)
ON_PATH(truncate, ROOM, (const char *path, off_t size), (path, size), path)
ON_PATH(truncate64, ROOM, (const char *path, off64_t size), (path, size), path)

#define ON_FD(name, kind, parameters, arguments, fd) \
    int name parameters \
    { \
        REAL(name); \
        return strike(#name, kind, armed && fd_below(fd)) ? -1 : real arguments; \
    }
ON_FD(ftruncate, ROOM, (int fd, off_t size), (fd, size), fd)
ON_FD(ftruncate64, ROOM, (int fd, off64_t size), (fd, size), fd)
ON_FD(fchmod, 0, (int fd, mode_t mode), (fd, mode), fd)

int unlinkat(int folder, const char *path, int flags)
{
    REAL(unlinkat);
    return strike("unlinkat", 0, armed && at_below(folder, path)) ? -1 : real(folder, path, flags);
}
int renameat(int from, const char *old, int to, const char *new)
{
    REAL(renameat);
    return strike("renameat", ROOM, armed && at_below(from, old)) ? -1 : real(from, old, to, new);
}
