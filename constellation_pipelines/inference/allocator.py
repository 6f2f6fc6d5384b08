"""How the C library's allocator treats large tensors that come and go."""

import ctypes

# From <malloc.h>: numbers of the parameters.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8

KEPT_BYTES = 256 * 2**20  # freed memory up to this stays with the process
MAPPED_BYTES = 32 * 2**20  # the largest threshold glibc takes; what is below is used again
ARENAS = 1  # shared by all threads; each of its own would keep what it has freed


def tune_allocator() -> None:
    """Use freed memory again rather than give it back to the kernel batch by batch.

    By default glibc maps each large tensor anew, and the kernel clears every page of it: a U-Net
    was 17 to 20 % slower for that. Does nothing where the C library has no such function.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(M_ARENA_MAX, ARENAS)
    mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
