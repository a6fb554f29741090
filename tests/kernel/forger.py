"""An ordinary user with a FUSE mount of his own that says of itself what a task's tree says: ``forger.py TASK``.

In a user namespace he mounts with any name and type he likes; the root of a bind is what his server names it. With
that killed, it is as dead as a tree of secretfs. Says ``[DEVICE, ERROR]`` then, and at each line what he finds there.
"""

import errno
import json
import os
import signal
import struct
import sys

from secretfs.linux import mount, mountinfo, namespaces

TASK = sys.argv[1]
WHOLE, TREE = "/mnt/whole", "/mnt/secrets"
CHILDREN = {(1, TASK.encode()): 2, (2, b"secrets"): 3}
FORGETS = (2, 42)


def attributes(inode: int) -> bytes:
    return struct.pack("<QQQQQQ10I", inode, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)


def answer(op: int, node: int, body: bytes) -> bytes | int:
    """The body of a reply, or an errno; see fuse(4) and linux/fuse.h."""
    match op:
        case 26:
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, 65536, 0, 12, 10, 65536, 1, 0, 0, 0)
        case 1:
            child = CHILDREN.get((node, body.rstrip(b"\0")))
            return struct.pack("<QQQQII", child, 0, 3600, 3600, 0, 0) + attributes(child) if child else errno.ENOENT
        case 3:
            return struct.pack("<QII", 3600, 0, 0) + attributes(node)
        case _:
            return errno.ENOSYS


def serve(device: int) -> None:
    while True:
        packet = os.read(device, 1 << 17)
        length, op, unique, node = struct.unpack_from("<IIQQ", packet)
        if op in FORGETS:
            continue
        said = answer(op, node, packet[40:length])
        body, error = (b"", said) if isinstance(said, int) else (said, 0)
        os.write(device, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)


def become_root_of_nothing() -> None:
    uid, gid = os.getuid(), os.getgid()
    namespaces.unshare(namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNS)
    for name, words in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(words)
    mount.mount(None, "/", flags=mount.MS_REC | mount.MS_PRIVATE)


def found() -> object:
    try:
        return os.listdir(TREE)
    except OSError as refusal:
        return errno.errorcode[refusal.errno]


def main() -> None:
    become_root_of_nothing()
    mount.mount("none", "/mnt", "tmpfs")
    for place in (WHOLE, TREE):
        os.mkdir(place)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    mount.mount("secretfs", WHOLE, "fuse.secretfs", data=options)
    server = os.fork()
    if server == 0:
        serve(device)
    os.close(device)
    mount.mount(f"{WHOLE}/{TASK}/secrets", TREE, flags=mount.MS_BIND)
    mount.umount2(WHOLE, mount.MNT_DETACH)
    os.kill(server, signal.SIGKILL)
    os.waitpid(server, 0)
    forged = next(each for each in mountinfo.mounts() if each.path == TREE)
    assert forged.root == f"/{TASK}/secrets"
    sys.stdout.write(json.dumps([forged.device, found()]) + "\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        sys.stdout.write(json.dumps(found()) + "\n")
        sys.stdout.flush()


main()
