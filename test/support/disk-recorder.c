/* LD_PRELOAD shim: writes down, in order, what a process does to the files of one folder.
 *
 * SKALD_RECORD_ROOT   the folder, absolute and without symbolic links
 * SKALD_RECORD_TRACE  the file that takes the trace; see disk-trace.ts for its form
 * SKALD_RECORD_MARKS  a file outside of the folder: what is written to it becomes a mark in the trace
 *
 * Each call is made and written down under one lock, so the trace is the order in which they happened, on
 * whatever thread. Shared-memory files (-shm) are left out: SQLite makes them anew after a crash.
 */
#define _GNU_SOURCE
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
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, WRITE, TRUNCATE, SYNC, SYNC_FOLDER, UNLINK, MKDIR, RMDIR, RENAME, MARK, UNKNOWN };
enum { CREATED = 1, EMPTIED = 2 };
enum { FDS = 4096, FILES = 65536 };

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

#define REAL(name) \
  static __typeof__(name) *real; \
  if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* What an fd was opened as. libuv closes with a bare system call, so an entry may be stale: it counts
 * only while the fd still has the inode that it was opened with. */
static struct {
  int kind; /* 0 none, 1 file, 2 folder, 3 marks */
  dev_t dev;
  ino_t ino;
  uint32_t file;
  char *path;
} fds[FDS];

static struct {
  dev_t dev;
  ino_t ino;
  uint32_t file;
} files[FILES];
static uint32_t file_count;

static int under_root(const char *path) {
  const char *root = getenv("SKALD_RECORD_ROOT");
  if (!root || !path) return 0;
  size_t length = strlen(root), size = strlen(path);
  if (strncmp(path, root, length) != 0 || (path[length] != '/' && path[length] != 0)) return 0;
  return size < 4 || strcmp(path + size - 4, "-shm") != 0;
}

static void put(uint8_t kind, uint8_t flags, uint32_t file, uint64_t at, const char *path, const void *data, uint32_t size) {
  static int trace = -1;
  if (trace < 0) {
    const char *name = getenv("SKALD_RECORD_TRACE");
    if (!name) return;
    trace = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (trace < 0) abort();
  }
  uint16_t named = path ? strlen(path) : 0;
  struct __attribute__((packed)) {
    uint8_t kind, flags;
    uint16_t named;
    uint32_t file;
    uint64_t at;
    uint32_t size;
  } head = {kind, flags, named, file, at, size};
  struct iovec parts[3] = {{&head, sizeof head}, {(void *)path, named}, {(void *)data, size}};
  if (syscall(SYS_writev, trace, parts, 3) != (long)(sizeof head + named + size)) abort();
}

/* Something that changes files in a way that the trace cannot tell. */
static void unknown(const char *call, const char *path) {
  if (under_root(path)) put(UNKNOWN, 0, 0, 0, call, NULL, 0);
}

static int kind_of(int fd) {
  struct stat now;
  if (fd < 0 || fd >= FDS || !fds[fd].kind) return 0;
  if (syscall(SYS_newfstatat, fd, "", &now, AT_EMPTY_PATH) != 0 || now.st_ino != fds[fd].ino || now.st_dev != fds[fd].dev) {
    fds[fd].kind = 0;
    return 0;
  }
  return fds[fd].kind;
}

static uint32_t file_of(const struct stat *now, int created) {
  uint32_t i = 0;
  while (i < file_count && !(files[i].ino == now->st_ino && files[i].dev == now->st_dev)) i += 1;
  if (i == file_count) {
    if (file_count == FILES) abort();
    files[file_count++].file = i;
  } else if (created) {
    /* The inode's number belonged to a file that is gone. */
    static uint32_t again = FILES;
    files[i].file = again++;
  }
  files[i].ino = now->st_ino;
  files[i].dev = now->st_dev;
  return files[i].file;
}

static void opened(int fd, const char *path, int flags, int existed) {
  const char *marks = getenv("SKALD_RECORD_MARKS");
  int is_marks = marks && strcmp(path, marks) == 0;
  if (fd < 0) return;
  if (fd < FDS) fds[fd].kind = 0;
  if (!is_marks && !under_root(path)) return;
  struct stat now;
  if (fd >= FDS || syscall(SYS_newfstatat, fd, "", &now, AT_EMPTY_PATH) != 0) abort();
  fds[fd].dev = now.st_dev;
  fds[fd].ino = now.st_ino;
  free(fds[fd].path);
  fds[fd].path = strdup(path);
  fds[fd].kind = is_marks ? 3 : S_ISDIR(now.st_mode) ? 2 : 1;
  if (fds[fd].kind != 1) return;
  fds[fd].file = file_of(&now, !existed);
  int emptied = existed && (flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY;
  put(OPEN, (existed ? 0 : CREATED) | (emptied ? EMPTIED : 0), fds[fd].file, 0, path, NULL, 0);
}

static int open_at(int dir, const char *path, int flags, mode_t mode) {
  struct stat before;
  pthread_mutex_lock(&lock);
  int existed = syscall(SYS_newfstatat, dir, path, &before, AT_SYMLINK_NOFOLLOW) == 0;
  int fd = syscall(SYS_openat, dir, path, flags, mode);
  int kept = errno;
  if (dir == AT_FDCWD || path[0] == '/') opened(fd, path, flags, existed);
  pthread_mutex_unlock(&lock);
  errno = kept;
  return fd;
}

#define MODE(flags) \
  mode_t mode = 0; \
  if ((flags) & (O_CREAT | __O_TMPFILE)) { \
    va_list args; \
    va_start(args, flags); \
    mode = va_arg(args, mode_t); \
    va_end(args); \
  }

int open(const char *path, int flags, ...) {
  MODE(flags)
  return open_at(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  MODE(flags)
  return open_at(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int openat(int dir, const char *path, int flags, ...) {
  MODE(flags)
  return open_at(dir, path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...) {
  MODE(flags)
  return open_at(dir, path, flags | O_LARGEFILE, mode);
}

int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

static void written(int fd, const void *data, ssize_t size, off64_t at) {
  int kept = errno, kind = size > 0 ? kind_of(fd) : 0;
  if (kind == 3) put(MARK, 0, 0, 0, NULL, data, size);
  if (kind == 1) put(WRITE, 0, fds[fd].file, at < 0 ? lseek64(fd, 0, SEEK_CUR) - size : at, NULL, data, size);
  errno = kept;
}

static void written_parts(int fd, const struct iovec *parts, int count, ssize_t size, off64_t at) {
  if (size > 0 && at < 0 && kind_of(fd) == 1) at = lseek64(fd, 0, SEEK_CUR) - size;
  for (int i = 0; i < count && size > 0; i += 1) {
    ssize_t own = parts[i].iov_len < (size_t)size ? (ssize_t)parts[i].iov_len : size;
    written(fd, parts[i].iov_base, own, at);
    size -= own;
    at += own;
  }
}

#define NOTED(type, call, note) \
  pthread_mutex_lock(&lock); \
  type result = (call); \
  note; \
  pthread_mutex_unlock(&lock); \
  return result;

ssize_t write(int fd, const void *data, size_t size) {
  REAL(write);
  NOTED(ssize_t, real(fd, data, size), written(fd, data, result, -1))
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  REAL(pwrite);
  NOTED(ssize_t, real(fd, data, size, at), written(fd, data, result, at))
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  REAL(pwrite64);
  NOTED(ssize_t, real(fd, data, size, at), written(fd, data, result, at))
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  REAL(writev);
  NOTED(ssize_t, real(fd, parts, count), written_parts(fd, parts, count, result, -1))
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
  REAL(pwritev);
  NOTED(ssize_t, real(fd, parts, count, at), written_parts(fd, parts, count, result, at))
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
  REAL(pwritev64);
  NOTED(ssize_t, real(fd, parts, count, at), written_parts(fd, parts, count, result, at))
}

static void cut(int fd, int result, off64_t size) {
  if (result == 0 && kind_of(fd) == 1) put(TRUNCATE, 0, fds[fd].file, size, NULL, NULL, 0);
}

int ftruncate(int fd, off_t size) {
  REAL(ftruncate);
  NOTED(int, real(fd, size), cut(fd, result, size))
}

int ftruncate64(int fd, off64_t size) {
  REAL(ftruncate64);
  NOTED(int, real(fd, size), cut(fd, result, size))
}

static void synced(int fd, int result) {
  int kind = result == 0 ? kind_of(fd) : 0;
  if (kind == 1) put(SYNC, 0, fds[fd].file, 0, NULL, NULL, 0);
  if (kind == 2) put(SYNC_FOLDER, 0, 0, 0, fds[fd].path, NULL, 0);
}

int fsync(int fd) {
  REAL(fsync);
  NOTED(int, real(fd), synced(fd, result))
}

int fdatasync(int fd) {
  REAL(fdatasync);
  NOTED(int, real(fd), synced(fd, result))
}

static void named(uint8_t kind, int result, const char *path) {
  if (result == 0 && under_root(path)) put(kind, 0, 0, 0, path, NULL, 0);
}

int unlink(const char *path) {
  REAL(unlink);
  NOTED(int, real(path), named(UNLINK, result, path))
}

int rmdir(const char *path) {
  REAL(rmdir);
  NOTED(int, real(path), named(RMDIR, result, path))
}

int mkdir(const char *path, mode_t mode) {
  REAL(mkdir);
  NOTED(int, real(path, mode), named(MKDIR, result, path))
}

int rename(const char *from, const char *to) {
  REAL(rename);
  NOTED(int, real(from, to), if (result == 0 && (under_root(from) || under_root(to))) put(RENAME, 0, 0, 0, from, to, strlen(to)))
}

int link(const char *from, const char *to) {
  REAL(link);
  NOTED(int, real(from, to), unknown("link", to))
}

int symlink(const char *from, const char *to) {
  REAL(symlink);
  NOTED(int, real(from, to), unknown("symlink", to))
}

int unlinkat(int dir, const char *path, int flags) {
  REAL(unlinkat);
  NOTED(int, real(dir, path, flags), unknown("unlinkat", path))
}

static void unknown_fd(const char *call, int fd) {
  if (kind_of(fd) == 1) put(UNKNOWN, 0, 0, 0, call, NULL, 0);
}

int fallocate64(int fd, int mode, off64_t at, off64_t size) {
  REAL(fallocate64);
  NOTED(int, real(fd, mode, at, size), unknown_fd("fallocate", fd))
}

int posix_fallocate64(int fd, off64_t at, off64_t size) {
  REAL(posix_fallocate64);
  NOTED(int, real(fd, at, size), unknown_fd("posix_fallocate", fd))
}

void *mmap64(void *where, size_t size, int protection, int flags, int fd, off64_t at) {
  if (fd >= 0 && (flags & MAP_SHARED) && (protection & PROT_WRITE)) {
    pthread_mutex_lock(&lock);
    unknown_fd("mmap", fd);
    pthread_mutex_unlock(&lock);
  }
  return (void *)syscall(SYS_mmap, where, size, protection, flags, fd, at);
}
