import ctypes
import errno

import pytest

from secretfs.linux import libc


def test_a_failed_call_is_an_os_error_with_the_name_of_its_object():
    ctypes.set_errno(errno.ENOENT)
    with pytest.raises(FileNotFoundError) as caught:
        libc.checked(-1, "/the/object")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, "/the/object")


def test_a_failed_call_about_nothing_in_particular_has_no_name():
    ctypes.set_errno(errno.EPERM)
    with pytest.raises(PermissionError) as caught:
        libc.checked(-1)
    assert caught.value.filename is None


@pytest.mark.parametrize("result", [0, 1, 4096])
def test_what_a_call_yields_is_passed_on(result):
    assert libc.checked(result, "x") == result


def test_a_call_that_the_kernel_does_not_have_is_enosys():
    with pytest.raises(OSError, match="Function not implemented: 'future'") as caught:
        libc.syscall(100_000, name="future")
    assert caught.value.errno == errno.ENOSYS


def test_a_path_with_a_zero_byte_is_not_cut_short():
    with pytest.raises(ValueError, match="a zero byte in the path '/a"):
        libc.path_bytes("/a\0/b")


def test_a_path_that_is_not_utf8_survives():
    assert libc.path_bytes("/\udcff") == b"/\xff"
