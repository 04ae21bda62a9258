"""Locks that die with their process: two jobs never write the same output."""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from xec_deploy.errors import OutputBusy, OutputError, UsageError

__all__ = ["FileLock"]

ATTEMPTS: Final = 100
"""How often others may finish, and remove the folder, between two system calls."""


class FileLock:
    """An exclusive lock on a file, which is made if absent.

    The kernel releases it with the process, however that ends, so there are no stale locks.  The
    lock is one of the open file (``flock``), hence also holds between threads of one process; NFS
    and Lustre pass it on between nodes.

    Parameters
    ----------
    path
        The file to lock; its content is this process and host, for the message of the other one.
    output
        What is protected, for messages.

    Raises
    ------
    OutputBusy
        If another job holds the lock.
    OutputError
        If the file cannot be made.
    """

    def __init__(self, path: Path, output: Path) -> None:
        self.path = path
        self._descriptor = self._acquire(output)

    def release(self) -> None:
        """Let others have it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _acquire(self, output: Path) -> int:
        for attempt in range(ATTEMPTS):
            try:
                self.path.parent.mkdir(exist_ok=True)
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                if isinstance(error, FileNotFoundError) and attempt + 1 < ATTEMPTS:
                    # A job that has just finished removed the folder in between.
                    continue
                raise UsageError(
                    f"the results cannot be written here ({error.strerror})",
                    where=str(self.path.parent),
                    fix="Choose a place where you may write, with room on the disk.",
                ) from error
            try:
                if self._locked(descriptor):
                    return descriptor
            except BlockingIOError:
                holder = _read(descriptor)
                os.close(descriptor)
                raise OutputBusy(
                    f"another job is writing this output ({holder or 'elsewhere'})",
                    where=str(output),
                    fix="Wait for it, or choose another output.",
                ) from None
            except BaseException as error:
                os.close(descriptor)
                if isinstance(error, OSError):
                    raise OutputError(
                        f"the output cannot be locked ({error.strerror})",
                        where=str(self.path),
                        fix="Write to a file system that has locks.",
                    ) from error
                raise
            os.close(descriptor)
        raise OutputError(
            "the output is being finished by other jobs, one after the other", where=str(output)
        )

    def _locked(self, descriptor: int) -> bool:
        """Lock the file; tell whether it is still the one with that name."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            if not os.path.samestat(os.fstat(descriptor), self.path.stat()):
                return False
        except FileNotFoundError:
            return False
        # On a full disk the name of the holder is not worth an error.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        return True


def _read(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace")
