"""fs or control that tries, once it serves, what it should not be able to do, and says in its log how that went.

``prying.py -m MODULE ARGUMENTS...``, see scripted_supervisor.py.
"""

import ctypes
import errno
import importlib
import mmap
import os
import pwd
import socket
import sys
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
PTRACE_TRACEME = 0
CLONE_NEWUSER = 0x10000000
SYS_IO_URING_SETUP, SYS_PIDFD_OPEN = 425, 434  # asm-generic/unistd.h, the same on every machine


def called(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def thread() -> None:
    started = threading.Thread(target=time.time)
    started.start()
    started.join()


def connect() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as end:
        end.connect(("127.0.0.1", 9))


def state() -> None:
    with open("/tmp/tried", "w") as file:
        file.write("x")
    os.unlink("/tmp/tried")


def users() -> None:
    try:
        pwd.getpwnam("nobody")
    except KeyError:
        raise PermissionError(errno.EPERM, "passwd") from None


ACTS = {
    "open": lambda: os.open(__file__, os.O_RDONLY),
    "list": lambda: os.listdir("/"),
    "make": lambda: os.mkdir("/var/tmp/secretfs-tried"),
    "device": lambda: os.open("/dev/zero", os.O_RDONLY),
    "state": state,
    "users": users,
    "unix socket": lambda: socket.socket(socket.AF_UNIX).close(),
    "internet socket": lambda: socket.socket(socket.AF_INET).close(),
    "connect": connect,
    "execute": lambda: os.execv("/bin/true", ["true"]),
    "fork": fork,
    "thread": thread,
    "memory": lambda: mmap.mmap(-1, 1 << 20).close(),
    "code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close(),
    "time of day": time.time,
    "signal": lambda: os.kill(1, 0),
    "trace": lambda: called(LIBC.ptrace(PTRACE_TRACEME, 0, None, None)),
    "namespace": lambda: called(LIBC.unshare(CLONE_NEWUSER)),
    "mount": lambda: called(LIBC.mount(None, b"/", None, 0, None)),
    "watch": lambda: called(LIBC.syscall(SYS_PIDFD_OPEN, os.getpid(), 0)),
    "io_uring": lambda: called(LIBC.syscall(SYS_IO_URING_SETUP, 1, ctypes.create_string_buffer(256))),
}


def outcome(act) -> str:
    try:
        act()
    except OSError as exc:
        return errno.errorcode[exc.errno]
    return "done"


def confined(module) -> None:
    """fs tries when it is confined."""
    real = module.confine

    def confine() -> None:
        real()
        module.log.info("tried", **{name: outcome(act) for name, act in ACTS.items()})

    module.confine = confine


def served(module) -> None:
    """control tries when it is about to serve."""
    real = module._serve

    async def serve(*args):
        module.log.info("tried", **{name: outcome(act) for name, act in ACTS.items()})
        return await real(*args)

    module._serve = serve


sys.argv = [sys.argv[2], *sys.argv[3:]]
program = importlib.import_module(f"{sys.argv[0]}.main")
{"secretfs.fs": confined, "secretfs.control": served}[sys.argv[0]](program)
sys.exit(program.main())
