/* What a running task sees, and when: one line, the time by CLOCK_MONOTONIC in nanoseconds, which all processes of the
 * machine share.
 *
 *     watch visible PATH       the time of the first open that succeeds, and what it read
 *     watch refused PATH       opens the file; the time of the first read that fails
 *     watch changed PATH       the time of the first open that reads something else than at first
 *
 * It says "looking" before, when it has looked once, and stays afterwards until it is killed: the end of a task is
 * another thing to measure. It looks every 20 microseconds, and sleeps between: a watcher that spins would take the
 * processor from those who do the work.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_NS = 20000, CONTENT_BYTES = 4096 };

static char first[CONTENT_BYTES], later[CONTENT_BYTES];

/* The number of bytes read, or -1 when it cannot be opened or read. */
static ssize_t content(const char *path, char *into)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t got = read(fd, into, CONTENT_BYTES);
    close(fd);
    return got;
}

static void pause_a_little(void)
{
    struct timespec time = {0, LOOK_NS};
    nanosleep(&time, NULL);
}

static void say_time(const char *more, int bytes)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    printf("%lld %.*s\n", time.tv_sec * 1000000000LL + time.tv_nsec, bytes, more);
    fflush(stdout);
}

static void say_looking(void)
{
    puts("looking");
    fflush(stdout);
}

int main(int count, char **words)
{
    if (count != 3)
        return 2;
    const char *what = words[1], *path = words[2];
    prctl(PR_SET_TIMERSLACK, 1000);
    int held = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t had = content(path, first), got = had;
    say_looking();
    if (!strcmp(what, "visible")) {
        for (; got < 0; got = content(path, first))
            pause_a_little();
        say_time(first, (int)got);
    } else if (!strcmp(what, "changed")) {
        while ((got = content(path, later)) == had && !memcmp(first, later, had))
            pause_a_little();
        say_time(later, got < 0 ? 0 : (int)got);
    } else if (!strcmp(what, "refused")) {
        while (pread(held, first, 1, 0) == 1)
            pause_a_little();
        say_time("", 0);
    } else {
        return 2;
    }
    for (;;)
        pause();
}
