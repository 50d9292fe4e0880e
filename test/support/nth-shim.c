/* LD_PRELOAD shim: the Nth call that changes files below a folder fails, once or from there on.
 *
 * SKALD_NTH_CONTROL names a file that both sides map or write; test/support/nth-disk.mjs has its layout.
 * Counted are the calls of write, fsync, ftruncate, open, unlink, mkdir, rename and rmdir whose path starts
 * with the prefix in the control file. A struck call does nothing, but for a short write, which writes half.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { WRITE, FSYNC, FTRUNCATE, OPEN, CREATE, UNLINK, MKDIR, RENAME };
enum { FAIL, SHORT, SWALLOW };
#define TRACE_MAX 16384

struct entry {
  uint8_t kind, phase, struck, spare;
  char name[44];
};
struct control {
  int32_t armed, nth, forever, error, mode, mask, count, hits, phase, spare[7];
  char prefix[512];
  char only[64];
  struct entry trace[TRACE_MAX];
};

static struct control *control;

static void start(void) {
  static int tried;
  if (tried) return;
  tried = 1;
  const char *file = getenv("SKALD_NTH_CONTROL");
  if (!file) return;
  int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDWR);
  if (fd < 0) return;
  void *map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  syscall(SYS_close, fd);
  if (map != MAP_FAILED) control = map;
}

static int strike(const char *path, int kind) {
  start();
  if (!control || !control->armed || !path || control->prefix[0] == 0) return 0;
  size_t length = strlen(control->prefix);
  if (strncmp(path, control->prefix, length) != 0) return 0;
  if (control->only[0] && !strstr(path, control->only)) return 0;
  int at = __sync_add_and_fetch(&control->count, 1);
  int struck = control->nth > 0 && (at == control->nth || (control->forever && at > control->nth)) &&
               (control->mask & (1 << kind));
  if (at <= TRACE_MAX) {
    struct entry *entry = &control->trace[at - 1];
    const char *name = path + length;
    size_t size = strlen(name);
    if (size >= sizeof entry->name) name += size - sizeof entry->name + 1;
    entry->kind = kind;
    entry->phase = control->phase;
    entry->struck = struck;
    strncpy(entry->name, name, sizeof entry->name - 1);
  }
  if (struck) {
    __sync_add_and_fetch(&control->hits, 1);
    errno = control->error;
  }
  return struck;
}

static int strike_fd(int fd, int kind) {
  if (!control || !control->armed) {
    start();
    if (!control || !control->armed) return 0;
  }
  char link[64], path[4096];
  int kept = errno;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  errno = kept;
  if (length < 0) return 0;
  path[length] = 0;
  return strike(path, kind);
}

#define REAL(name, type)                 \
  static __typeof__(type) real;                  \
  if (!real) real = (__typeof__(type))dlsym(RTLD_NEXT, name)

/* Length of each file at its last sync that was one, for a disk that lies about the next. */
static off_t synced[4096];

static int sync_of(int fd, const char *name) {
  REAL(name, int (*)(int));
  if (strike_fd(fd, FSYNC)) {
    if (control->mode != SWALLOW) return -1;
    int cut = ftruncate(fd, fd < 4096 ? synced[fd] : 0);
    (void)cut;
    return 0;
  }
  int done = real(fd);
  struct stat stat;
  if (control && control->armed && done == 0 && fd < 4096 && fstat(fd, &stat) == 0) synced[fd] = stat.st_size;
  return done;
}
int fsync(int fd) { return sync_of(fd, "fsync"); }
int fdatasync(int fd) { return sync_of(fd, "fdatasync"); }

/* How much of a write is done: all of it, half, or what -1 stands for. */
static ssize_t part(int fd, size_t size) {
  if (!strike_fd(fd, WRITE)) return size;
  if (control->mode == SWALLOW) return -2;
  if (control->mode == SHORT) return size > 1 ? size / 2 : size;
  return -1;
}

ssize_t write(int fd, const void *data, size_t size) {
  REAL("write", ssize_t(*)(int, const void *, size_t));
  ssize_t some = part(fd, size);
  return some == -2 ? (ssize_t)size : some < 0 ? -1 : real(fd, data, some);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  REAL("pwrite", ssize_t(*)(int, const void *, size_t, off_t));
  ssize_t some = part(fd, size);
  return some == -2 ? (ssize_t)size : some < 0 ? -1 : real(fd, data, some, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  REAL("pwrite64", ssize_t(*)(int, const void *, size_t, off64_t));
  ssize_t some = part(fd, size);
  return some == -2 ? (ssize_t)size : some < 0 ? -1 : real(fd, data, some, at);
}

int ftruncate(int fd, off_t length) {
  REAL("ftruncate", int (*)(int, off_t));
  return strike_fd(fd, FTRUNCATE) ? -1 : real(fd, length);
}
int ftruncate64(int fd, off64_t length) {
  REAL("ftruncate64", int (*)(int, off64_t));
  return strike_fd(fd, FTRUNCATE) ? -1 : real(fd, length);
}

static mode_t mode_of(int flags, va_list list) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0; }

/* Opening with O_CREAT what is there makes nothing: a full disk does not mind. */
static int opening(const char *path, int flags) {
  struct stat stat;
  if (!control || !control->armed) start();
  if (!control || !control->armed) return OPEN;
  int kept = errno;
  int there = fstatat(AT_FDCWD, path, &stat, 0) == 0;
  errno = kept;
  return (flags & O_CREAT) && !there ? CREATE : OPEN;
}

int open(const char *path, int flags, ...) {
  REAL("open", int (*)(const char *, int, ...));
  va_list list;
  va_start(list, flags);
  mode_t mode = mode_of(flags, list);
  va_end(list);
  int fd = strike(path, opening(path, flags)) ? -1 : real(path, flags, mode);
  if (fd >= 0 && fd < 4096) synced[fd] = 0;
  return fd;
}
int open64(const char *path, int flags, ...) {
  REAL("open64", int (*)(const char *, int, ...));
  va_list list;
  va_start(list, flags);
  mode_t mode = mode_of(flags, list);
  va_end(list);
  int fd = strike(path, opening(path, flags)) ? -1 : real(path, flags, mode);
  if (fd >= 0 && fd < 4096) synced[fd] = 0;
  return fd;
}

int unlink(const char *path) {
  REAL("unlink", int (*)(const char *));
  return strike(path, UNLINK) ? -1 : real(path);
}
int rmdir(const char *path) {
  REAL("rmdir", int (*)(const char *));
  return strike(path, UNLINK) ? -1 : real(path);
}
int mkdir(const char *path, mode_t mode) {
  REAL("mkdir", int (*)(const char *, mode_t));
  return strike(path, MKDIR) ? -1 : real(path, mode);
}
int rename(const char *from, const char *to) {
  REAL("rename", int (*)(const char *, const char *));
  return strike(from, RENAME) ? -1 : real(from, to);
}
