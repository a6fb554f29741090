"""What faulty_fs.py and faulty_supervisor.py can be armed with, in the bytes of a file that all of them share."""

import struct
import sys
from pathlib import Path

ARMED, FIRED, OLD_KERNEL, STUCK_SECONDS = range(4)  # bytes: a fault, how often it came, switches
VICTIM = struct.Struct("<I")  # the thread that POISON and TRAP are for
VICTIM_AT = 8

KINDS = (
    "notify_store",
    "invalidate_inode",
    "invalidate_entry",
)  # armed by their number, from 1 on: killed inside, once
POISON = 101  # fs is killed by each open of the victim
TRAP = 102  # fs hangs in each open of the victim
CRASH = 103  # fs ends right after each Ready
BROKEN = 104  # fs ends before it serves

_FAULTY = str(Path(__file__).with_name("faulty_supervisor.py"))


def faulty(path) -> tuple[str, ...]:
    """What to start in the place of ``secretfs daemon``."""
    return sys.executable, _FAULTY, str(path)
