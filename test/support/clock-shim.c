/* LD_PRELOAD shim: moves the wall clock by the seconds that the file SKALD_CLOCK_FILE holds, read anew
 * at most every few milliseconds of the monotonic clock. Monotonic clocks are left alone, as when an
 * operator or a time server sets the clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long long offset_now(void) {
  static __thread long long kept;
  static __thread long long read_at = -1;
  struct timespec mono;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC_COARSE, &mono);
  long long now = mono.tv_sec * 1000LL + mono.tv_nsec / 1000000;
  if (read_at >= 0 && now - read_at < 20) return kept;
  read_at = now;
  const char *name = getenv("SKALD_CLOCK_FILE");
  if (!name) return kept = 0;
  int fd = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return kept;
  char text[32] = {0};
  long got = syscall(SYS_read, fd, text, sizeof text - 1);
  syscall(SYS_close, fd);
  if (got > 0) kept = atoll(text);
  return kept;
}

static int is_wall(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

int clock_gettime(clockid_t clock, struct timespec *out) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int done = real(clock, out);
  if (done == 0 && is_wall(clock)) out->tv_sec += offset_now();
  return done;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
  struct timespec wall;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &wall);
  out->tv_sec = wall.tv_sec;
  out->tv_usec = wall.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec wall;
  clock_gettime(CLOCK_REALTIME, &wall);
  if (out) *out = wall.tv_sec;
  return wall.tv_sec;
}
