/* What a disk and an operator may do to a process, at its n-th change of a file: preloaded by writers.py.

   cc -shared -fPIC -O1 -o faults.so faults.c -ldl;  SEQSAL_FAULTS names a file of six 64-bit integers, shared with the
   harness: mode (0 count, 5 count writes, 1 kill the process group, 2 fail from the n-th write on, 3 fail the n-th alone, 4 send a
   signal), n, errno or signal, count so far, whether it has happened, processes that wait at the gate. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static volatile int64_t *control;

__attribute__((constructor)) static void attach(void) {
    const char *name = getenv("SEQSAL_FAULTS");
    int fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *at = mmap(NULL, 48, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) control = at;
    close(fd);
}

static int is_file(int fd) {
    struct stat info;
    int before = errno, is = fd > 2 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    errno = before;
    return is;
}

/* Returns whether this change must fail. */
static int at_fault(int can_fail) {
    if (!control || control[0] < 0) return 0;
    int64_t mode = control[0], of_writes = mode == 2 || mode == 3 || mode == 5;
    if (of_writes && !can_fail) return 0;
    int64_t now = __sync_add_and_fetch(&control[3], 1);
    if (mode == 0 || mode == 5 || now < control[1] || (mode != 2 && now > control[1])) return 0;
    control[4] = 1;
    if (mode == 1) {
        kill(0, SIGKILL);
        pause();
    }
    if (mode == 4) {
        kill(getpid(), control[2]);
        return 0;
    }
    errno = control[2];
    return 1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define WRITER(name, declared, given)                                                                                  \
    ssize_t name declared {                                                                                            \
        REAL(name);                                                                                                    \
        return is_file(fd) && at_fault(1) ? -1 : real given;                                                           \
    }
WRITER(write, (int fd, const void *data, size_t n), (fd, data, n))
WRITER(pwrite, (int fd, const void *data, size_t n, off_t at), (fd, data, n, at))
WRITER(pwrite64, (int fd, const void *data, size_t n, off64_t at), (fd, data, n, at))
WRITER(writev, (int fd, const struct iovec *data, int n), (fd, data, n))
WRITER(pwritev, (int fd, const struct iovec *data, int n, off_t at), (fd, data, n, at))

#define CHANGE(name, declared, given, can_fail)                                                                        \
    int name declared {                                                                                                \
        REAL(name);                                                                                                    \
        return at_fault(can_fail) ? -1 : real given;                                                                   \
    }
CHANGE(rename, (const char *a, const char *b), (a, b), 0)
CHANGE(unlink, (const char *a), (a), 0)
CHANGE(link, (const char *a, const char *b), (a, b), 0)
CHANGE(mkdir, (const char *a, mode_t m), (a, m), 0)
CHANGE(rmdir, (const char *a), (a), 0)
CHANGE(fsync, (int fd), (fd), 1)
CHANGE(ftruncate, (int fd, off_t n), (fd, n), 0)
CHANGE(ftruncate64, (int fd, off64_t n), (fd, n), 0)

int posix_fallocate(int fd, off_t at, off_t n) {
    REAL(posix_fallocate);
    return at_fault(1) ? errno : real(fd, at, n);
}
int posix_fallocate64(int fd, off64_t at, off64_t n) {
    REAL(posix_fallocate64);
    return at_fault(1) ? errno : real(fd, at, n);
}
ssize_t sendfile64(int out, int in, off64_t *at, size_t n) {
    static ssize_t (*real)(int, int, off64_t *, size_t);
    if (!real) real = (ssize_t(*)(int, int, off64_t *, size_t))dlsym(RTLD_NEXT, "sendfile64");
    return is_file(out) && at_fault(1) ? -1 : real(out, in, at, n);
}
ssize_t sendfile(int out, int in, off_t *at, size_t n) {
    static ssize_t (*real)(int, int, off_t *, size_t);
    if (!real) real = (ssize_t(*)(int, int, off_t *, size_t))dlsym(RTLD_NEXT, "sendfile");
    return is_file(out) && at_fault(1) ? -1 : real(out, in, at, n);
}
