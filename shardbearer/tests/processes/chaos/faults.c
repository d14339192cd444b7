// Loaded into a radiant before libc: makes its disk, its clock and its connections fail when the harness says so.
// Everything else goes on to whoever is next, so that powercut.c can be loaded behind it.
//
// FAULTS_DIR     the data directory; calls on other files are left alone
// FAULTS_CONTROL a file of 64-bit words that the harness writes at any time, see shim.rs
// FAULTS_PORTS   "port:instead,port:instead": connections to 127.0.0.1:port go to the other port

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

// The words, in the order of shim.rs.
struct control {
    int64_t clock_ns;  // by which the time of day is wrong
    int64_t calls;     // which calls fail: bits of enum call
    int64_t classes;   // of which files: bits of enum class
    int64_t error;     // with what; or BEFORE, AFTER: the process is killed right before such a call, or right after it
    int64_t skip;      // so many of them succeed before
    int64_t times;     // and so many fail then
    int64_t injected;  // counted here: calls that failed
    int64_t small;     // whether the file system is small
    int64_t space;     // bytes by which its files may still grow
    int64_t no_space;  // counted here: calls that found no room
    int64_t seen[20];  // counted here: calls by kind and class, so that the harness knows what there is to fail
};

#define BEFORE -1
#define AFTER -2

// DATASYNC: those of SYNC that are fdatasync. Counted as SYNC.
enum call { WRITE = 1, SYNC = 2, RENAME = 4, TRUNCATE = 8, CREATE = 16, DATASYNC = 32 };
enum class { LOG = 1, DATA = 2, IMAGES = 4, OTHER = 8 };

static struct control *control;
static char dir[4096];
static size_t dir_length;
static struct { uint16_t from, to; } ports[64];
static int ports_count;

// Whoever would have been called without this library.
#define NEXT(name)                    \
    static __typeof__(name) *next;    \
    if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void start(void) {
    const char *d = getenv("FAULTS_DIR"), *c = getenv("FAULTS_CONTROL"), *p = getenv("FAULTS_PORTS");
    if (!d || !c) return;
    snprintf(dir, sizeof dir, "%s", d);
    dir_length = strlen(dir);
    for (unsigned from, to, used; p && sscanf(p, "%u:%u%n", &from, &to, &used) == 2 && ports_count < 64;) {
        ports[ports_count].from = from;
        ports[ports_count++].to = to;
        p += used;
        if (*p++ != ',') break;
    }
    int fd = syscall(SYS_openat, AT_FDCWD, c, O_RDWR | O_CLOEXEC, 0);
    void *found = fd < 0 ? MAP_FAILED
                         : (void *)syscall(SYS_mmap, NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (found == MAP_FAILED) {
        fprintf(stderr, "faults: no control file\n");
        abort();
    }
    syscall(SYS_close, fd);
    control = found;
}

// ---- what fails

static int class_of(const char *path) {
    if (strncmp(path, dir, dir_length)) return 0;
    if (!path[dir_length]) return OTHER;
    if (path[dir_length] != '/') return 0;
    const char *rest = path + dir_length + 1;
    if (!strncmp(rest, "log/", 4)) return LOG;
    if (!strncmp(rest, "data", 4)) return DATA;
    if (!strncmp(rest, "images", 6)) return IMAGES;
    return OTHER;
}

static int class_of_fd(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return class_of(path);
}

static int64_t load(int64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static int64_t add(int64_t *word, int64_t more) { return __atomic_add_fetch(word, more, __ATOMIC_ACQ_REL); }

// Whether this thread's call is the last thing that the process does.
static __thread int last;

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

// What a call came to.
#define CAME(call) ({ __typeof__(call) came = call; if (last) die(); came; })

// Whether this call is to fail; then errno is set.
static int fails(int call, int class) {
    if (!control || !class) return 0;
    add(&control->seen[4 * __builtin_ctz(call) + __builtin_ctz(class)], 1);
    if (!(load(&control->calls) & call) || !(load(&control->classes) & class)) return 0;
    if (add(&control->skip, -1) >= 0) return 0;
    if (add(&control->times, -1) < 0) return 0;
    add(&control->injected, 1);
    int64_t error = load(&control->error);
    if (error == BEFORE) die();
    if (error == AFTER) {
        last = 1;
        return 0;
    }
    errno = (int)error;
    return 1;
}

// Whether a file may grow to this length; takes the room from the small file system.
static int fits(int fd, int64_t length) {
    struct stat found;
    if (!load(&control->small) || syscall(SYS_fstat, fd, &found) != 0 || !S_ISREG(found.st_mode)) return 1;
    int64_t growth = length - found.st_size;
    if (growth <= 0) return 1;
    if (add(&control->space, -growth) >= 0) return 1;
    add(&control->space, growth);
    add(&control->no_space, 1);
    errno = ENOSPC;
    return 0;
}

static void freed(const char *path) {
    struct stat found;
    if (!control || !load(&control->small) || !class_of(path)) return;
    if (syscall(SYS_newfstatat, AT_FDCWD, path, &found, AT_SYMLINK_NOFOLLOW) == 0 && found.st_nlink == 1)
        add(&control->space, found.st_size);
}

// ---- writing

static int64_t end_of_write(int fd, int64_t length) {
    struct stat found;
    int flags = syscall(SYS_fcntl, fd, F_GETFL);
    if (flags >= 0 && (flags & O_APPEND) && syscall(SYS_fstat, fd, &found) == 0) return found.st_size + length;
    return syscall(SYS_lseek, fd, 0, SEEK_CUR) + length;
}

static int refused(int fd, int64_t end) {
    int class = control ? class_of_fd(fd) : 0;
    return class && (fails(WRITE, class) || !fits(fd, end));
}

ssize_t write(int fd, const void *data, size_t length) {
    NEXT(write);
    if (control && refused(fd, end_of_write(fd, length))) return -1;
    return CAME(next(fd, data, length));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    NEXT(writev);
    int64_t length = 0;
    for (int part = 0; part < count; part++) length += parts[part].iov_len;
    if (control && refused(fd, end_of_write(fd, length))) return -1;
    return CAME(next(fd, parts, count));
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    NEXT(pwrite64);
    if (refused(fd, offset + (int64_t)length)) return -1;
    return CAME(next(fd, data, length, offset));
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) {
    return pwrite64(fd, data, length, offset);
}

int ftruncate64(int fd, off64_t length) {
    NEXT(ftruncate64);
    if (control) {
        int class = class_of_fd(fd);
        if (class && (fails(TRUNCATE, class) || !fits(fd, length))) return -1;
    }
    return CAME(next(fd, length));
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

// Whether this fsync is to fail. Then powercut.c, if it is there, is told.
static int sync_fails(int call, int fd) {
    if (!control || !fails(call, class_of_fd(fd))) return 0;
    int kept = errno;
    void (*told)(int) = (void (*)(int))dlsym(RTLD_NEXT, "powercut_sync_failed");
    if (told) told(fd);
    errno = kept;
    return 1;
}

int fsync(int fd) {
    NEXT(fsync);
    return sync_fails(SYNC, fd) ? -1 : CAME(next(fd));
}

int fdatasync(int fd) {
    NEXT(fdatasync);
    return sync_fails(SYNC | DATASYNC, fd) ? -1 : CAME(next(fd));
}

// ---- names

int rename(const char *from, const char *to) {
    NEXT(rename);
    if (control && fails(RENAME, class_of(to))) return -1;
    return CAME(next(from, to));
}

int unlink(const char *path) {
    NEXT(unlink);
    freed(path);
    return next(path);
}

#define OPEN(name)                                                            \
    int name(const char *path, int flags, ...) {                              \
        NEXT(name);                                                           \
        va_list more;                                                         \
        va_start(more, flags);                                                \
        mode_t mode = va_arg(more, int);                                      \
        va_end(more);                                                         \
        if ((flags & O_CREAT) && control && fails(CREATE, class_of(path))) return -1; \
        return CAME(next(path, flags, mode));                                       \
    }
OPEN(open)
OPEN(open64)

// ---- the time of day

int clock_gettime(clockid_t which, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, which, now);
    int64_t wrong = control && which == CLOCK_REALTIME ? load(&control->clock_ns) : 0;
    if (result == 0 && wrong) {
        int64_t ns = now->tv_sec * 1000000000ll + now->tv_nsec + wrong;
        now->tv_sec = ns / 1000000000;
        now->tv_nsec = ns % 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec found;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return result;
}

time_t time(time_t *there) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (there) *there = found.tv_sec;
    return found.tv_sec;
}

// ---- connections

int connect(int fd, const struct sockaddr *to, socklen_t length) {
    NEXT(connect);
    struct sockaddr_in instead;
    if (ports_count && to->sa_family == AF_INET && length >= sizeof instead) {
        memcpy(&instead, to, sizeof instead);
        for (int port = 0; port < ports_count; port++) {
            if (ntohs(instead.sin_port) != ports[port].from) continue;
            instead.sin_port = htons(ports[port].to);
            return next(fd, (struct sockaddr *)&instead, sizeof instead);
        }
    }
    return next(fd, to, length);
}
