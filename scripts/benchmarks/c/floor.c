/* What FUSE costs when the file system itself costs nothing: libfuse's low-level interface, one thread, all in memory.
 *
 *     floor MOUNTPOINT direct|cached
 *
 * direct: every read is asked of us (FOPEN_DIRECT_IO), as secretfs wants it, so that a revocation holds at once; cached:
 * the kernel keeps the pages. Ends when it is unmounted, or by a signal.
 *
 *     inode  1 the root, 2 .. 101 s0 .. s99, 102 big, 103 d1k, 1000 .. 1999 d1k/f0 .. f999
 */
#define FUSE_USE_VERSION 34
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMALL_FILES = 100,
    SMALL_BYTES = 64,
    LARGE_BYTES = 511999,
    LISTED = 1000,
    ROOT = 1,
    FIRST_SMALL = 2,
    LARGE = FIRST_SMALL + SMALL_FILES,
    DIRECTORY = LARGE + 1,
    FIRST_LISTED = 1000,
};

static const double KEPT_SECONDS = 3600; /* entries and attributes, missing names too */

static char small[SMALL_BYTES];
static char large[LARGE_BYTES];
static int direct;

static int is_file(fuse_ino_t inode)
{
    return (inode >= FIRST_SMALL && inode < LARGE) || (inode >= FIRST_LISTED && inode < FIRST_LISTED + LISTED);
}

static int attributes(fuse_ino_t inode, struct stat *found)
{
    memset(found, 0, sizeof *found);
    found->st_ino = inode;
    found->st_nlink = 1;
    if (inode == ROOT || inode == DIRECTORY) {
        found->st_mode = S_IFDIR | 0755;
        found->st_nlink = 2;
    } else if (inode == LARGE || is_file(inode)) {
        found->st_mode = S_IFREG | 0444;
        found->st_size = inode == LARGE ? LARGE_BYTES : SMALL_BYTES;
    } else {
        return -1;
    }
    return 0;
}

/* The number after the letter, or -1. */
static int numbered(const char *name, char letter, int count)
{
    char *end;
    if (name[0] != letter || name[1] < '0' || name[1] > '9')
        return -1;
    long number = strtol(name + 1, &end, 10);
    return *end || number >= count ? -1 : number;
}

static fuse_ino_t child(fuse_ino_t parent, const char *name)
{
    int number;
    if (parent == DIRECTORY)
        return (number = numbered(name, 'f', LISTED)) < 0 ? 0 : FIRST_LISTED + number;
    if (parent != ROOT)
        return 0;
    if (!strcmp(name, "big"))
        return LARGE;
    if (!strcmp(name, "d1k"))
        return DIRECTORY;
    return (number = numbered(name, 's', SMALL_FILES)) < 0 ? 0 : FIRST_SMALL + number;
}

static struct fuse_entry_param entry(fuse_ino_t inode)
{
    struct fuse_entry_param found = {.ino = inode, .entry_timeout = KEPT_SECONDS, .attr_timeout = KEPT_SECONDS};
    if (inode)
        attributes(inode, &found.attr);
    return found;
}

static void on_init(void *data, struct fuse_conn_info *connection)
{
    (void)data;
    connection->want &= ~FUSE_CAP_READDIRPLUS_AUTO;
}

static void on_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param found = entry(child(parent, name));
    fuse_reply_entry(request, &found);
}

static void on_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
    (void)file;
    struct stat found;
    if (attributes(inode, &found))
        fuse_reply_err(request, ENOENT);
    else
        fuse_reply_attr(request, &found, KEPT_SECONDS);
}

static void on_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
    file->fh = inode;
    file->direct_io = direct;
    file->keep_cache = !direct;
    fuse_reply_open(request, file);
}

static void on_release(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
    (void)inode, (void)file;
    fuse_reply_err(request, 0);
}

static void on_flush(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
    (void)inode, (void)file;
    fuse_reply_err(request, ENOSYS); /* the kernel does not ask again */
}

static void on_read(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *file)
{
    (void)file;
    const char *content = inode == LARGE ? large : small;
    size_t total = inode == LARGE ? LARGE_BYTES : SMALL_BYTES;
    size_t begin = (size_t)offset < total ? (size_t)offset : total;
    fuse_reply_buf(request, content + begin, size < total - begin ? size : total - begin);
}

static void on_opendir(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *file)
{
    file->fh = inode;
    fuse_reply_open(request, file);
}

/* The name and inode at a place of a directory; 0 at its end. */
static fuse_ino_t listed(fuse_ino_t directory, off_t place, char name[32])
{
    if (directory == DIRECTORY) {
        snprintf(name, 32, "f%d", (int)place);
        return place < LISTED ? FIRST_LISTED + place : 0;
    }
    if (place < SMALL_FILES)
        snprintf(name, 32, "s%d", (int)place);
    else
        snprintf(name, 32, "%s", place == SMALL_FILES ? "big" : "d1k");
    return place < SMALL_FILES + 2 ? FIRST_SMALL + place : 0;
}

static void on_readdirplus(fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *file)
{
    (void)file;
    char *reply = malloc(size);
    char name[32];
    size_t used = 0;
    fuse_ino_t next;
    for (off_t place = offset; (next = listed(inode, place, name)); place++) {
        struct fuse_entry_param found = entry(next);
        size_t more = fuse_add_direntry_plus(request, reply + used, size - used, name, &found, place + 1);
        if (more > size - used)
            break;
        used += more;
    }
    fuse_reply_buf(request, reply, used);
    free(reply);
}

static const struct fuse_lowlevel_ops OPERATIONS = {
    .init = on_init,
    .lookup = on_lookup,
    .getattr = on_getattr,
    .open = on_open,
    .release = on_release,
    .flush = on_flush,
    .read = on_read,
    .opendir = on_opendir,
    .readdirplus = on_readdirplus,
};

int main(int count, char **words)
{
    if (count != 3 || (strcmp(words[2], "direct") && strcmp(words[2], "cached"))) {
        fprintf(stderr, "usage: floor MOUNTPOINT direct|cached\n");
        return 2;
    }
    direct = !strcmp(words[2], "direct");
    memset(small, 'x', sizeof small);
    memset(large, 'y', sizeof large);

    char *options[] = {words[0], "-o", "ro,allow_other,default_permissions,fsname=floor"};
    struct fuse_args arguments = FUSE_ARGS_INIT(3, options);
    struct fuse_session *session = fuse_session_new(&arguments, &OPERATIONS, sizeof OPERATIONS, NULL);
    if (!session || fuse_set_signal_handlers(session) || fuse_session_mount(session, words[1]))
        return 1;
    int failure = fuse_session_loop(session);
    fuse_session_unmount(session);
    fuse_session_destroy(session);
    return failure < 0;
}
