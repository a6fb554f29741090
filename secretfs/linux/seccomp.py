"""A filter of system calls, see seccomp(2): what is refused answers EPERM, in every thread of the process, without a
way back.

A program of classic BPF (linux/filter.h) that only compares numbers: of the call, and of one argument where that makes
the difference between a thread and a process, or between data and code. The kernel remembers which calls are allowed
whatever their arguments are, and asks the program for the others only (Linux 5.11). It is there for x86_64 and aarch64.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from secretfs.linux.libc import syscall
from secretfs.linux.process import set_no_new_privs

# linux/seccomp.h
_SET_MODE_FILTER: Final = 1
_GET_ACTION_AVAIL: Final = 2
_TSYNC, _SPEC_ALLOW = 1 << 0, 1 << 2  # all threads; and no slow-down against Spectre, which older kernels add unasked
_RET_ALLOW: Final = 0x7FFF0000
_RET_ERRNO: Final = 0x00050000
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; an argument has 8 bytes, the low half first

# linux/bpf_common.h
_LOAD, _AND, _JUMP_EQUAL, _JUMP_NOT_LESS, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_FOREIGN: Final = 1 << 30  # numbers from here on are those of x32 (asm/unistd.h), the same calls once more
_INSTRUCTION: Final = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, jump if false, operand

_MACHINES: Final = {"x86_64": (0xC000003E, 0, 317), "aarch64": (0xC00000B7, 1, 277)}  # AUDIT_ARCH, column, seccomp(2)
_NUMBERS: Final[dict[str, tuple[int | None, int | None]]] = {  # asm/unistd_64.h, asm-generic/unistd.h
    "accept4": (288, 242),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "brk": (12, 214),
    "chroot": (161, 51),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "clone": (56, 220),
    "clone3": (435, 435),
    "close": (3, 57),
    "epoll_ctl": (233, 21),
    "epoll_pwait": (281, 22),
    "epoll_wait": (232, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "fcntl": (72, 25),
    "fork": (57, None),
    "fsopen": (430, 430),
    "fstat": (5, 80),
    "futex": (202, 98),
    "getpid": (39, 172),
    "getrandom": (318, 278),
    "getsockname": (51, 204),
    "getsockopt": (55, 209),
    "gettid": (186, 178),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "kcmp": (312, 272),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "madvise": (28, 233),
    "mlock": (149, 228),
    "mmap": (9, 222),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "newfstatat": (262, 79),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "pause": (34, None),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pipe2": (293, 59),
    "pivot_root": (155, 41),
    "poll": (7, None),
    "ppoll": (271, 73),
    "prctl": (157, 167),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "read": (0, 63),
    "recvfrom": (45, 207),
    "recvmsg": (47, 212),
    "request_key": (249, 218),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "sendmsg": (46, 211),
    "sendto": (44, 206),
    "set_robust_list": (273, 99),
    "setns": (308, 268),
    "setsockopt": (54, 208),
    "sigaltstack": (131, 132),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "tgkill": (234, 131),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vfork": (58, None),
    "write": (1, 64),
    "writev": (20, 66),
}


@dataclass(frozen=True, slots=True)
class Where:
    """The low half of an argument (counted from 0), under the mask, is one of these values."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF


Rules = Mapping[str, bool | Where]  # a call is allowed, is not, or is there


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def available() -> bool:
    """Whether this machine can have a filter."""
    machine = _MACHINES.get(_machine())
    if machine is None:
        return False
    action = ctypes.c_uint32(_RET_ERRNO)
    try:
        _seccomp(machine[2], _GET_ACTION_AVAIL, 0, ctypes.pointer(action))
    except OSError:
        return False
    return True


def restrict(rules: Rules, missing: Iterable[str] = (), *, otherwise: bool = False) -> bool:
    """Allow or refuse system calls by these rules, and all that have none as ``otherwise`` says. Those that are
    ``missing`` answer ENOSYS, upon which the C library takes another way. Sets no_new_privs. False, with nothing
    changed but that, where there can be no filter.
    """
    set_no_new_privs()
    if not available():
        return False
    _, _, number = _MACHINES[_machine()]
    program = b"".join(_program(_machine(), rules, missing, otherwise=otherwise))
    fprog = _Program(len(program) // _INSTRUCTION.size, program)
    stubborn = _seccomp(number, _SET_MODE_FILTER, _TSYNC | _SPEC_ALLOW, ctypes.pointer(fprog))
    if stubborn:  # a thread with a filter of its own
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), f"thread {stubborn}")
    return True


def _machine() -> str:
    """What it calls itself; nothing for a program of 32 bits, whose calls have other numbers."""
    return os.uname().machine if struct.calcsize("P") == 8 else ""


def _program(machine: str, rules: Rules, missing: Iterable[str], *, otherwise: bool) -> Iterator[bytes]:
    """Instructions. Rules without a condition come first, in the order in which they were given."""
    architecture, column, _ = _MACHINES[machine]
    yield _instruction(_LOAD, _ARCH)
    yield _instruction(_JUMP_EQUAL, architecture, 1, 0)
    yield _answer(allowed=False)
    yield _instruction(_LOAD, _NUMBER)
    yield _instruction(_JUMP_NOT_LESS, _FOREIGN, 0, 1)
    yield _answer(allowed=False)
    for name, rule in sorted(rules.items(), key=lambda item: isinstance(item[1], Where)):
        number = _NUMBERS[name][column]
        if number is not None:
            yield from _block(number, [*_condition(rule)] if isinstance(rule, Where) else [_answer(allowed=rule)])
    for name in missing:
        number = _NUMBERS[name][column]
        if number is not None:
            yield from _block(number, [_return(_RET_ERRNO | errno.ENOSYS)])
    yield _answer(allowed=otherwise)


def _block(number: int, instructions: list[bytes]) -> Iterator[bytes]:
    """What is done for one call: it ends with an answer in any case, as a condition loads something else."""
    yield _instruction(_JUMP_EQUAL, number, 0, len(instructions))
    yield from instructions


def _condition(where: Where) -> Iterator[bytes]:
    yield _instruction(_LOAD, _ARGUMENTS + 8 * where.argument)
    yield _instruction(_AND, where.mask)
    for value in where.values:
        yield _instruction(_JUMP_EQUAL, value, 0, 1)
        yield _answer(allowed=True)
    yield _answer(allowed=False)


def _answer(*, allowed: bool) -> bytes:
    return _return(_RET_ALLOW if allowed else _RET_ERRNO | errno.EPERM)


def _return(action: int) -> bytes:
    return _instruction(_RETURN, action)


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, if_true, if_false, operand)


def _seccomp(number: int, operation: int, flags: int, argument: "ctypes._Pointer[ctypes._CData]") -> int:
    return syscall(number, ctypes.c_uint(operation), ctypes.c_uint(flags), argument, name="seccomp filter")
