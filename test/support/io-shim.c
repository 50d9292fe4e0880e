/* LD_PRELOAD shim: makes chosen calls on chosen files fail, and notes what was done to them.
 *
 * SKALD_SHIM_FILE  what the file's path must hold, such as log.sqlite-wal; with a $ behind it, what it must end with
 * SKALD_SHIM_ERRNO what they fail with, EIO (5) unless told
 * SKALD_SHIM_CALL  fsync (fdatasync too) or write (pwrite too)
 * SKALD_SHIM_ARM   a file: while it exists the calls fail, from the one on whose number it holds
 * SKALD_SHIM_LOG   a file that gets a line for every write to or sync of a *.sqlite or *-wal file
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int path_of(int fd, char *out, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, out, size - 1);
  if (length < 0) return 0;
  out[length] = 0;
  return 1;
}

static int ends_with(const char *text, const char *end) {
  size_t a = strlen(text), b = strlen(end);
  return a >= b && strcmp(text + a - b, end) == 0;
}

static int calls_left = -1;

static int fits(const char *path, const char *file) {
  size_t wanted = strlen(file), length = strlen(path);
  if (wanted == 0 || file[wanted - 1] != '$') return strstr(path, file) != NULL;
  return length >= wanted - 1 && strncmp(path + length - (wanted - 1), file, wanted - 1) == 0;
}

static int fails(const char *path, const char *call) {
  const char *arm = getenv("SKALD_SHIM_ARM"), *file = getenv("SKALD_SHIM_FILE"), *wanted = getenv("SKALD_SHIM_CALL");
  if (!arm || !file || !wanted || strcmp(call, wanted) != 0 || !fits(path, file)) return 0;
  int fd = syscall(SYS_openat, AT_FDCWD, arm, O_RDONLY);
  if (fd < 0) {
    calls_left = -1;
    return 0;
  }
  char text[16] = {0};
  ssize_t got = syscall(SYS_read, fd, text, sizeof text - 1);
  syscall(SYS_close, fd);
  if (calls_left < 0) calls_left = got > 0 ? atoi(text) : 0;
  if (calls_left > 0) {
    calls_left -= 1;
    return 0;
  }
  return 1;
}

static void note(const char *path, const char *call, int failed) {
  const char *log = getenv("SKALD_SHIM_LOG");
  if (!log || !(ends_with(path, ".sqlite") || ends_with(path, "-wal"))) return;
  const char *name = strrchr(path, '/');
  char line[256];
  int length = snprintf(line, sizeof line, "%s %s%s\n", call, name ? name + 1 : path, failed ? " failed" : "");
  int fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (fd < 0) return;
  syscall(SYS_write, fd, line, length);
  syscall(SYS_close, fd);
}

static int spoil(int fd, const char *call) {
  char path[4096];
  int kept = errno;
  if (!path_of(fd, path, sizeof path)) return 0;
  int failed = fails(path, call);
  note(path, call, failed);
  const char *number = getenv("SKALD_SHIM_ERRNO");
  errno = failed ? (number ? atoi(number) : EIO) : kept;
  return failed;
}

int fsync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  return spoil(fd, "fsync") ? -1 : real(fd);
}

int fdatasync(int fd) {
  static int (*real)(int);
  if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
  return spoil(fd, "fsync") ? -1 : real(fd);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  static ssize_t (*real)(int, const void *, size_t, off64_t);
  if (!real) real = (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
  return spoil(fd, "write") ? -1 : real(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  static ssize_t (*real)(int, const void *, size_t, off_t);
  if (!real) real = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
  return spoil(fd, "write") ? -1 : real(fd, data, size, at);
}

ssize_t write(int fd, const void *data, size_t size) {
  static ssize_t (*real)(int, const void *, size_t);
  if (!real) real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  return spoil(fd, "write") ? -1 : real(fd, data, size);
}
