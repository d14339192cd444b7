// Loaded into a radiant before libc: writes down what it does to the files of its data directory, so that a
// power cut can be played afterwards: what was not fsynced is gone. See disk.rs for the other side.
//
// The journal is a sequence of records: kind (1), object (8), number (8), length (8), then `length` bytes. An object is an
// inode. Names are not followed: they are durable when their directory is fsynced, so its listing is taken then. That
// also sees what does not pass through libc (rename by raw system call). A record is appended under one lock, together with
// what it tells of; only the fsync itself runs outside of it, between BEGIN and END.
//
// POWERCUT_DIR     the data directory
// POWERCUT_JOURNAL where to write; outside of it
// POWERCUT_SLOW    microseconds by which each fdatasync takes longer, which are those of the log
// POWERCUT_LIES    if set, fsync and fdatasync are not written down: a disk that lies

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FRESH = 1, WRITE = 2, ZEROS = 3, LENGTH = 4, BEGIN = 5, END = 6, LISTING = 7, FAILED = 8 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int journal = -1;
static char dir[4096];
static size_t dir_length;
static int lies;
static useconds_t slow;
static uint64_t syncs;

__attribute__((constructor)) static void start(void) {
    const char *d = getenv("POWERCUT_DIR"), *j = getenv("POWERCUT_JOURNAL");
    if (!d || !j) return;
    snprintf(dir, sizeof dir, "%s", d);
    dir_length = strlen(dir);
    lies = getenv("POWERCUT_LIES") != NULL;
    if (getenv("POWERCUT_SLOW")) slow = atoi(getenv("POWERCUT_SLOW"));
    journal = syscall(SYS_openat, AT_FDCWD, j, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (journal < 0) {
        fprintf(stderr, "powercut: no journal\n");
        abort();
    }
}

static void put(uint8_t kind, uint64_t object, uint64_t number, const void *data, uint64_t length) {
    char head[25];
    head[0] = (char)kind;
    memcpy(head + 1, &object, 8);
    memcpy(head + 9, &number, 8);
    memcpy(head + 17, &length, 8);
    struct iovec parts[2] = {{head, sizeof head}, {(void *)data, length}};
    // Short only if the process is killed here; then what it tells of did not return either.
    ssize_t done = syscall(SYS_writev, journal, parts, data ? 2 : 1);
    if (done != (ssize_t)(sizeof head + (data ? length : 0))) {
        fprintf(stderr, "powercut: the journal is cut\n");
        abort();
    }
}

static int inside(const char *path) {
    return journal >= 0 && strncmp(path, dir, dir_length) == 0 && (path[dir_length] == '/' || !path[dir_length]);
}

// Whether this is a file or folder of the data directory, and which.
static int ours(int fd, struct stat *found) {
    if (journal < 0) return 0;
    if (syscall(SYS_fstat, fd, found) != 0 || !(S_ISREG(found->st_mode) || S_ISDIR(found->st_mode))) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return inside(path);
}

static void note_write(uint64_t object, uint64_t offset, const char *data, uint64_t length) {
    if (!length) return;
    int zeros = data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
    if (zeros) {
        put(ZEROS, object, offset, &length, sizeof length);
    } else {
        put(WRITE, object, offset, data, length);
    }
}

#define KEEP_ERRNO(statement) do { int kept = errno; statement; errno = kept; } while (0)

// ---- opening

static int open_at(int at, const char *path, int flags, mode_t mode) {
    char whole[8192];
    int tracked = 0;
    if (journal >= 0 && (flags & (O_CREAT | O_TRUNC))) {
        if (path[0] == '/') {
            tracked = inside(path);
        } else if (at != AT_FDCWD) {
            struct stat found;
            tracked = ours(at, &found);
        } else if (getcwd(whole, 4096)) {
            tracked = inside(whole) || inside(path);
        }
    }
    if (!tracked) return syscall(SYS_openat, at, path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat before;
    int existed = syscall(SYS_newfstatat, at, path, &before, 0) == 0;
    int fd = syscall(SYS_openat, at, path, flags, mode);
    if (fd >= 0) {
        struct stat found;
        syscall(SYS_fstat, fd, &found);
        if (S_ISREG(found.st_mode)) {
            // The inode may be that of a file that is gone.
            if (!existed) put(FRESH, found.st_ino, 0, NULL, 0);
            else if (flags & O_TRUNC) put(LENGTH, found.st_ino, 0, NULL, 0);
        }
    }
    KEEP_ERRNO(pthread_mutex_unlock(&lock));
    return fd;
}

#define OPEN(name)                                     \
    int name(const char *path, int flags, ...) {       \
        va_list more;                                  \
        va_start(more, flags);                         \
        mode_t mode = va_arg(more, int);               \
        va_end(more);                                  \
        return open_at(AT_FDCWD, path, flags, mode);   \
    }
#define OPENAT(name)                                   \
    int name(int at, const char *path, int flags, ...) { \
        va_list more;                                  \
        va_start(more, flags);                         \
        mode_t mode = va_arg(more, int);               \
        va_end(more);                                  \
        return open_at(at, path, flags, mode);         \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int mkdir(const char *path, mode_t mode) {
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    struct stat found;
    if (result == 0 && inside(path) && syscall(SYS_newfstatat, AT_FDCWD, path, &found, 0) == 0)
        put(FRESH, found.st_ino, 0, NULL, 0);
    KEEP_ERRNO(pthread_mutex_unlock(&lock));
    return result;
}

// ---- writing

ssize_t write(int fd, const void *data, size_t length) {
    struct stat found;
    if (!ours(fd, &found)) return syscall(SYS_write, fd, data, length);
    pthread_mutex_lock(&lock);
    ssize_t done = syscall(SYS_write, fd, data, length);
    if (done > 0) note_write(found.st_ino, syscall(SYS_lseek, fd, 0, SEEK_CUR) - done, data, done);
    KEEP_ERRNO(pthread_mutex_unlock(&lock));
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    struct stat found;
    if (!ours(fd, &found)) return syscall(SYS_pwrite64, fd, data, length, offset);
    pthread_mutex_lock(&lock);
    ssize_t done = syscall(SYS_pwrite64, fd, data, length, offset);
    if (done > 0) note_write(found.st_ino, offset, data, done);
    KEEP_ERRNO(pthread_mutex_unlock(&lock));
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    return pwrite64(fd, data, length, offset);
}

// One part is enough: a short write is allowed, and the caller goes on.
ssize_t writev(int fd, const struct iovec *parts, int count) {
    struct stat found;
    if (!ours(fd, &found)) return syscall(SYS_writev, fd, parts, count);
    while (count > 1 && parts->iov_len == 0) parts++, count--;
    return count ? write(fd, parts->iov_base, parts->iov_len) : 0;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    while (count > 1 && parts->iov_len == 0) parts++, count--;
    return count ? pwrite64(fd, parts->iov_base, parts->iov_len, offset) : 0;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    return pwritev(fd, parts, count, offset);
}

int ftruncate64(int fd, off64_t length) {
    struct stat found;
    if (!ours(fd, &found)) return syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_ftruncate, fd, length);
    if (result == 0) put(LENGTH, found.st_ino, length, NULL, 0);
    KEEP_ERRNO(pthread_mutex_unlock(&lock));
    return result;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

// ---- what is not followed is not offered; callers fall back to the above

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    struct stat found;
    if (!ours(fd, &found)) return syscall(SYS_fallocate, fd, mode, offset, length);
    errno = EOPNOTSUPP;
    return -1;
}

int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t length, unsigned flags) {
    struct stat found;
    if (!ours(out, &found)) return syscall(SYS_copy_file_range, in, from, out, to, length, flags);
    errno = ENOSYS;
    return -1;
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t length) {
    struct stat found;
    if (!ours(out, &found)) return syscall(SYS_sendfile, out, in, offset, length);
    errno = ENOSYS;
    return -1;
}

ssize_t sendfile(int out, int in, off_t *offset, size_t length) { return sendfile64(out, in, offset, length); }

// ---- making durable

// The names in a folder, with their objects: kind (1), object (8), length (8), name.
static void note_listing(int fd, uint64_t object, uint64_t number) {
    char again[64];
    snprintf(again, sizeof again, "/proc/self/fd/%d", fd);
    int copy = syscall(SYS_openat, AT_FDCWD, again, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *folder = copy < 0 ? NULL : fdopendir(copy);
    if (!folder) abort();
    size_t room = 1 << 16, used = 0;
    char *all = malloc(room);
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        uint64_t inode = entry->d_ino, length = strlen(entry->d_name);
        if (used + 17 + length > room) all = realloc(all, room *= 2);
        all[used] = entry->d_type == DT_DIR ? 'd' : 'f';
        memcpy(all + used + 1, &inode, 8);
        memcpy(all + used + 9, &length, 8);
        memcpy(all + used + 17, entry->d_name, length);
        used += 17 + length;
    }
    closedir(folder);
    put(LISTING, object, number, all, used);
    free(all);
}

static int sync_with(long how, int fd) {
    struct stat found;
    if (!ours(fd, &found) || lies) return syscall(how, fd);
    pthread_mutex_lock(&lock);
    uint64_t number = ++syncs;
    if (S_ISDIR(found.st_mode)) note_listing(fd, found.st_ino, number);
    else put(BEGIN, found.st_ino, number, NULL, 0);
    pthread_mutex_unlock(&lock);
    if (slow && how == SYS_fdatasync) usleep(slow);
    int result = syscall(how, fd);
    if (result == 0) {
        pthread_mutex_lock(&lock);
        put(END, found.st_ino, number, NULL, 0);
        pthread_mutex_unlock(&lock);
    }
    return result;
}

int fsync(int fd) { return sync_with(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_with(SYS_fdatasync, fd); }

// Called by faults.c when it lets an fsync fail. The system then takes the pages for clean: what was written is still
// read, but no later fsync brings it to the disk.
void powercut_sync_failed(int fd) {
    struct stat found;
    if (!ours(fd, &found) || !S_ISREG(found.st_mode)) return;
    pthread_mutex_lock(&lock);
    put(FAILED, found.st_ino, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
}

// Promises nothing about durability, so nothing is written down.
int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags) {
    return syscall(SYS_sync_file_range, fd, offset, length, flags);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
    struct stat found;
    if (fd >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE) && ours(fd, &found)) {
        fprintf(stderr, "powercut: writes through mmap cannot be followed\n");
        abort();
    }
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap64(address, length, protection, flags, fd, offset);
}
