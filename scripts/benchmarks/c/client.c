/* One operation on a file system, over and over, from one or more threads at once.
 *
 *     client DIRECTORY OPERATION THREADS SECONDS
 *
 * prints two numbers: operations per second of all threads together, and the median of one operation in microseconds,
 * as the first thread saw it. DIRECTORY holds s0 .. s99 of 64 bytes, big of 511,999, and d1k/f0 .. f999.
 *
 * Paths are made before the clock starts, and every name was looked up once: what is timed is the system call.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    SMALL_FILES = 100,
    MISSING_NAMES = 10,
    SMALL_BYTES = 64,
    LARGE_BYTES = 511999,
    LISTED = 1000,
    BUFFER_BYTES = 131072,
    PATH_BYTES = 512,
    MAX_THREADS = 64,
    MAX_SAMPLES = 400000,
};

extern char **environ;

static char small[SMALL_FILES][PATH_BYTES];
static char missing[MISSING_NAMES][PATH_BYTES];
static char large[PATH_BYTES];
static char listed[PATH_BYTES];

struct client {
    pthread_t thread;
    int number;
    char *buffer;
    int opened; /* for pread */
    long done;
    double seconds;
    double *samples; /* of the first client only */
    long sampled;
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void refuse(const char *what)
{
    fprintf(stderr, "client: %s\n", what);
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static int opened(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        die(path);
    return fd;
}

/* --- the operations ---------------------------------------------------------------------------------------------------- */

static void open_read_close(struct client *client, long turn)
{
    int fd = opened(small[turn % SMALL_FILES]);
    if (read(fd, client->buffer, 4096) != SMALL_BYTES)
        die("read");
    close(fd);
}

static void open_close(struct client *client, long turn)
{
    (void)client;
    close(opened(small[turn % SMALL_FILES]));
}

static void stat_file(struct client *client, long turn)
{
    (void)client;
    struct stat found;
    if (stat(small[turn % SMALL_FILES], &found) || found.st_size != SMALL_BYTES)
        die("stat");
}

static void stat_missing(struct client *client, long turn)
{
    (void)client;
    struct stat found;
    if (stat(missing[turn % MISSING_NAMES], &found) == 0 || errno != ENOENT)
        refuse("a missing name is there");
}

static void pread_opened(struct client *client, long turn)
{
    (void)turn;
    if (pread(client->opened, client->buffer, SMALL_BYTES, 0) != SMALL_BYTES)
        die("pread");
}

static void read_large(struct client *client, long turn)
{
    (void)turn;
    int fd = opened(large);
    long total = 0;
    ssize_t got;
    while ((got = read(fd, client->buffer, BUFFER_BYTES)) > 0)
        total += got;
    if (total != LARGE_BYTES)
        refuse("the large file is short");
    close(fd);
}

static void list_directory(struct client *client, long turn)
{
    (void)client, (void)turn;
    DIR *directory = opendir(listed);
    if (!directory)
        die("opendir");
    int found = 0;
    while (readdir(directory))
        found++;
    closedir(directory);
    if (found < LISTED) /* some have . and .. as well */
        refuse("the directory is short");
}

static void cat_all(struct client *client, long turn)
{
    (void)client, (void)turn;
    char *words[SMALL_FILES + 2] = {"cat"};
    for (int i = 0; i < SMALL_FILES; i++)
        words[i + 1] = small[i];
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t pid;
    int failure = posix_spawn(&pid, "/bin/cat", &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    int status;
    if (failure || waitpid(pid, &status, 0) < 0 || status)
        refuse("cat failed");
}

static const struct {
    const char *name;
    void (*once)(struct client *, long turn);
    int warm_up; /* so many turns use every name */
} OPERATIONS[] = {
    {"open-read-close", open_read_close, SMALL_FILES},
    {"open-close", open_close, SMALL_FILES},
    {"stat", stat_file, SMALL_FILES},
    {"missing", stat_missing, MISSING_NAMES},
    {"pread", pread_opened, 1},
    {"read-500k", read_large, 1},
    {"readdir-1000", list_directory, 1},
    {"cat-100", cat_all, 1},
};

/* --- the clock --------------------------------------------------------------------------------------------------------- */

static int chosen = -1;
static double asked_seconds;
static pthread_barrier_t begin;

static void *run(void *argument)
{
    struct client *client = argument;
    client->buffer = malloc(BUFFER_BYTES);
    client->opened = opened(small[client->number]);
    for (int turn = 0; turn < OPERATIONS[chosen].warm_up; turn++)
        OPERATIONS[chosen].once(client, turn);
    pthread_barrier_wait(&begin);
    double began = now(), last = began, end = began + asked_seconds;
    for (long turn = client->number * 13; last < end; turn++) {
        OPERATIONS[chosen].once(client, turn);
        double time = now();
        if (client->samples && client->sampled < MAX_SAMPLES)
            client->samples[client->sampled++] = time - last;
        last = time;
        client->done++;
    }
    client->seconds = last - began;
    return NULL;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static void name_files(const char *directory)
{
    for (int i = 0; i < SMALL_FILES; i++)
        snprintf(small[i], PATH_BYTES, "%s/s%d", directory, i);
    for (int i = 0; i < MISSING_NAMES; i++)
        snprintf(missing[i], PATH_BYTES, "%s/missing%d", directory, i);
    snprintf(large, PATH_BYTES, "%s/big", directory);
    snprintf(listed, PATH_BYTES, "%s/d1k", directory);
}

int main(int count, char **words)
{
    if (count != 5)
        refuse("usage: client DIRECTORY OPERATION THREADS SECONDS");
    name_files(words[1]);
    for (size_t i = 0; i < sizeof OPERATIONS / sizeof *OPERATIONS; i++)
        if (!strcmp(words[2], OPERATIONS[i].name))
            chosen = i;
    int threads = atoi(words[3]);
    asked_seconds = atof(words[4]);
    if (chosen < 0 || threads < 1 || threads > MAX_THREADS || asked_seconds <= 0)
        refuse("an argument is wrong");

    static struct client clients[MAX_THREADS];
    clients[0].samples = malloc(MAX_SAMPLES * sizeof(double));
    pthread_barrier_init(&begin, NULL, threads);
    for (int i = 0; i < threads; i++) {
        clients[i].number = i;
        pthread_create(&clients[i].thread, NULL, run, &clients[i]);
    }
    double rate = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(clients[i].thread, NULL);
        rate += clients[i].done / clients[i].seconds;
    }
    qsort(clients[0].samples, clients[0].sampled, sizeof(double), compare);
    printf("%.1f %.3f\n", rate, clients[0].samples[clients[0].sampled / 2] * 1e6);
    return 0;
}
