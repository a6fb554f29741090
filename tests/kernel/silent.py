"""A FUSE mount whose server takes every request but INIT without an answer, in a mount namespace of its own; and what
supervisor/visits.py says of it. The server lives until standard input ends.
"""

import os
import select
import struct
import sys

from secretfs.linux import mountinfo, namespaces
from secretfs.linux.mount import MS_PRIVATE, MS_REC, mount
from secretfs.supervisor.visits import Visits

INIT_OUT = struct.Struct("<IIIIHHIIHH32x")
OUT = struct.Struct("<IiQ")


def initialised() -> int:
    fd = os.open("/dev/fuse", os.O_RDWR)
    mount("silent", place, "fuse", 0, f"fd={fd},rootmode=40000,user_id=0,group_id=0")
    _, _, unique = struct.unpack_from("<IIQ", os.read(fd, 1 << 17))
    os.write(fd, OUT.pack(OUT.size + INIT_OUT.size, 0, unique) + INIT_OUT.pack(7, 31, 0, 0, 1, 1, 4096, 1, 1, 0))
    return fd


def serve(fd: int) -> None:
    os.close(1)
    while select.select([fd, 0], [], [])[0] == [fd]:
        os.read(fd, 1 << 17)
    os._exit(0)


[_, place] = sys.argv
namespaces.unshare(namespaces.CLONE_NEWNS)
mount(None, "/", flags=MS_REC | MS_PRIVATE)
device = initialised()
if os.fork() == 0:
    serve(device)
os.close(device)
[found] = [each for each in mountinfo.mounts() if each.path == place]
visits = Visits()
with visits.topmost(found) as target:
    sys.stdout.write(f"dead: {visits.dead(found, target)}\n")
