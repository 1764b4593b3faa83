"""The board: shared memory where every supervised probe stamps its birth and its end (c/board.h)."""
import ctypes
import mmap
import os
import platform
import struct
import time

HEADER, SLOT = 64, struct.Struct("<QQII40x")
FUTEX = {"x86_64": 202, "aarch64": 98}[platform.machine()]
LIBC = ctypes.CDLL(None, use_errno=True)
now = time.monotonic_ns  # CLOCK_MONOTONIC, which the probe reads


class Board:
    """`slots` services; the stamps are theirs, so no figure holds our own wake-up."""

    def __init__(self, path, slots):
        self.path, self.slots = str(path), slots
        size = HEADER + slots * SLOT.size
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        os.ftruncate(fd, size)
        self.memory = mmap.mmap(fd, size)
        os.close(fd)
        struct.pack_into("<II", self.memory, 0, 0, slots)
        self.events = ctypes.c_uint32.from_buffer(self.memory)

    def read(self, index):
        """(born, ended, pid, births) of one service."""
        return SLOT.unpack_from(self.memory, HEADER + index * SLOT.size)

    def all(self):
        return [self.read(index) for index in range(self.slots)]

    def up(self):
        return sum(births > 0 for _, _, _, births in self.all())

    def wait(self, done, seconds, pause=None):
        """Until done() or the time is over: woken by each event, or, for many events, looking every `pause` seconds."""
        end = now() + int(seconds * 1e9)
        while True:
            seen = self.events.value
            if done():
                return True
            left = (end - now()) / 1e9
            if left <= 0:
                return False
            if pause:
                time.sleep(min(pause, left))
            else:
                span = (ctypes.c_long * 2)(0, int(min(left, 0.2) * 1e9))
                LIBC.syscall(FUTEX, ctypes.byref(self.events), 0, ctypes.c_uint32(seen), span, None, 0)

    def close(self):
        del self.events
        self.memory.close()
        os.unlink(self.path)
