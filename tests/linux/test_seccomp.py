import ctypes
import errno
import mmap
import os
import socket
import threading
from pathlib import Path

import pytest

from secretfs.linux import seccomp
from secretfs.linux.seccomp import Where

CLONE_THREAD = 0x10000
PLAIN = (
    "read",
    "write",
    "close",
    "exit_group",
    "exit",
    "brk",
    "munmap",
    "mremap",
    "madvise",
    "futex",
    "rt_sigprocmask",
)
STARTING = ("set_robust_list", "rseq", "gettid", "getpid", "rt_sigaction", "fstat", "sched_yield", "clock_gettime")
RULES: seccomp.Rules = {
    **dict.fromkeys((*PLAIN, *STARTING), True),
    "clone": Where(0, (CLONE_THREAD,), CLONE_THREAD),
    "mmap": Where(2, (0,), mmap.PROT_EXEC),
    "mprotect": Where(2, (0,), mmap.PROT_EXEC),
    "socketpair": Where(0, (socket.AF_UNIX,)),
}


def outcome(act) -> str:
    try:
        act()
    except OSError as exc:
        return errno.errorcode[exc.errno]
    return "done"


def forked() -> None:
    if os.fork() == 0:
        os._exit(0)


def test_the_test_machine_can_have_a_filter():
    assert seccomp.available()


def test_what_is_not_listed_is_refused_and_ends_nothing(child):
    def act():
        opened = os.open("/dev/null", os.O_WRONLY)
        installed = seccomp.restrict(RULES, missing=["clone3"])
        return [
            installed,
            os.write(opened, b"x"),
            outcome(lambda: os.open("/dev/null", os.O_RDONLY)),
            outcome(lambda: socket.socket(socket.AF_INET)),
            outcome(lambda: os.execv("/bin/true", ["true"])),
            outcome(forked),
        ]

    assert child(act) == [True, 1, "EPERM", "EPERM", "EPERM", "EPERM"]


def test_a_condition_is_on_one_argument(child):
    def act():
        seccomp.restrict(RULES, missing=["clone3"])
        return [
            outcome(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE)),
            outcome(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)),
            outcome(lambda: [end.close() for end in socket.socketpair(socket.AF_UNIX)]),
            outcome(lambda: socket.socketpair(socket.AF_INET)),
        ]

    assert child(act) == ["done", "EPERM", "done", "EPERM"]


def test_a_call_that_is_missing_makes_the_c_library_take_another(child):
    def act():
        seccomp.restrict(RULES, missing=["clone3"])
        seen = []
        thread = threading.Thread(target=lambda: seen.append(outcome(lambda: os.open("/", os.O_RDONLY))))
        thread.start()
        thread.join()
        return seen

    assert child(act) == ["EPERM"], "a thread can be started, and is filtered"


def test_threads_that_were_there_before_are_filtered_as_well(child):
    def act():
        go, seen = threading.Event(), []

        def late() -> None:
            go.wait()
            seen.append(outcome(lambda: os.open("/", os.O_RDONLY)))

        thread = threading.Thread(target=late)
        thread.start()
        seccomp.restrict(RULES, missing=["clone3"])
        go.set()
        thread.join()
        return seen

    assert child(act) == ["EPERM"]


def test_it_is_there_to_stay(child):
    def act():
        status = os.open("/proc/self/status", os.O_RDONLY)
        seccomp.restrict(RULES)
        text = os.read(status, 1 << 16).decode()
        return [line for line in text.splitlines() if line.startswith(("Seccomp:", "NoNewPrivs:"))]

    assert child(act) == ["NoNewPrivs:\t1", "Seccomp:\t2"]


def test_calls_of_other_architectures_are_refused(child):
    """x32 has the same calls under other numbers."""

    def act():
        seccomp.restrict({}, otherwise=True)
        libc = ctypes.CDLL(None, use_errno=True)
        refused = libc.syscall((1 << 30) + 3, 99)
        return [refused, errno.errorcode[ctypes.get_errno()]]

    assert child(act) == [-1, "EPERM"]


def test_some_calls_are_refused_and_all_others_allowed(child):
    def act():
        rules = {"ptrace": False, "execve": False, "socket": Where(0, (socket.AF_UNIX,))}
        return [
            seccomp.restrict(rules, otherwise=True),
            outcome(lambda: os.execv("/bin/true", ["true"])),
            outcome(lambda: socket.socket(socket.AF_UNIX).close()),
            outcome(lambda: socket.socket(socket.AF_INET)),
            outcome(lambda: os.listdir("/")),
        ]

    assert child(act) == [True, "EPERM", "done", "EPERM", "done"]


@pytest.mark.parametrize("machine", ["riscv64", "i686", ""])
def test_another_machine_has_none_and_is_told_so(child, machine):
    def act():
        seccomp._machine = lambda: machine
        status = Path("/proc/self/status").read_text
        return [seccomp.available(), seccomp.restrict(RULES), "NoNewPrivs:\t1" in status()]

    assert child(act) == [False, False, True]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_program_fits_its_machine(machine):
    """Jumps are at most 255 instructions long, a program at most 4096 (linux/bpf_common.h, BPF_MAXINSNS)."""
    program = b"".join(seccomp._program(machine, RULES, ["clone3"], otherwise=True))
    instructions = list(seccomp._INSTRUCTION.iter_unpack(program))
    assert 10 < len(instructions) < 4096
    for at, (code, if_true, if_false, _) in enumerate(instructions):
        if code == seccomp._JUMP_EQUAL:
            assert at + 1 + max(if_true, if_false) < len(instructions)
    assert instructions[-1][0] == seccomp._RETURN


def test_every_call_has_a_number_of_its_own():
    for column in (0, 1):
        numbers = [both[column] for both in seccomp._NUMBERS.values() if both[column] is not None]
        assert len(set(numbers)) == len(numbers)
