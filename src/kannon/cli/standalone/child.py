"""Child processes that never outlive their parent, however it dies."""

import asyncio
import ctypes
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from signal import Signals
from typing import IO

_Stream = int | IO[bytes] | None

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_prctl = ctypes.CDLL(None, use_errno=True).prctl
_prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
_prctl.restype = ctypes.c_int


class Child:
    """A process made by `spawn`, and whatever it leaves in its process group.

    Holds no event loop: it may be started in one and waited for in another, as long as all of them run in the
    main thread.
    """

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """The process id, which is its process group's id too."""
        return self._process.pid

    @property
    def output(self) -> IO[bytes] | None:
        """The reading end of standard output, when it was made with `subprocess.PIPE`."""
        return self._process.stdout

    @property
    def exit_code(self) -> int | None:
        """How it ended (a negative number is the signal that ended it); None while it runs."""
        if self._process.returncode is None:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None:
                # Until it is reaped its id cannot be given to another, so this is the moment to end its
                # group.
                self._signal_group(signal.SIGKILL)
                self._process.wait()
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until it ends.

        Returns:
            The exit code, or the negated number of the signal that ended it.
        """
        if self.exit_code is None:
            loop = asyncio.get_running_loop()
            ended = asyncio.Event()
            pidfd = os.pidfd_open(self.pid)
            try:
                loop.add_reader(pidfd, ended.set)
                await ended.wait()
            finally:
                loop.remove_reader(pidfd)
                os.close(pidfd)
        code = self.exit_code
        assert code is not None
        return code

    def send_signal(self, number: Signals) -> None:
        """Send a signal to the process alone; nothing happens if it has ended."""
        if self.exit_code is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process and its group at once; nothing happens if it has ended."""
        if self.exit_code is None:
            self._signal_group(signal.SIGKILL)

    async def stop(self, *steps: tuple[Signals, float]) -> int:
        """Ask it to end, ever more firmly, and kill it if nothing helps.

        Args:
            steps: signals, each with the seconds it is given to work.

        Returns:
            The exit code, as `wait` gives it.
        """
        for number, seconds in steps:
            self.send_signal(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    return await self.wait()
        self.kill()
        return await self.wait()

    def _signal_group(self, number: Signals) -> None:
        # PermissionError: all that is left of the group became another user.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def spawn(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdout: _Stream = None,
    stderr: _Stream = None,
    user: tuple[int, int] | None = None,
    death_signal: Signals = signal.SIGKILL,
    keep_open: Sequence[int] = (),
) -> Child:
    """Start a program as a child that the kernel signals when this process dies, by `kill -9` too.

    It gets a session of its own, so Ctrl-C in a terminal reaches only us, no standard input, and a umask that
    keeps what it creates from other users. Only the child itself is signalled when we die: a program that
    forks further must see to its own children.

    Args:
        argv: the program and its arguments; nothing secret, as every user can read them.
        env: the whole environment; nothing of ours is added.
        cwd: the folder to start in; ours when None.
        stdout: a file, a descriptor or a constant of `subprocess`; ours when None.
        stderr: likewise.
        user: user and group id to become, without further groups; needs root.
        death_signal: what the child gets when we die.
        keep_open: descriptors that the child keeps open.

    Raises:
        OSError: the program cannot be started, or the user not be taken.
        RuntimeError: called in a thread other than the main one.
    """
    # The kernel sends the signal when the *thread* that forked ends, not the process: prctl(2).
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("children are spawned from the main thread, whose end is the process's end")
    uid, gid = user if user is not None else (None, None)
    # S603: argv is ours, and no shell reads it.
    process = subprocess.Popen(  # noqa: S603
        [str(argument) for argument in argv],
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        user=uid,
        group=gid,
        extra_groups=None if gid is None else [gid],
        umask=0o077,
        start_new_session=True,
        pass_fds=tuple(keep_open),
        preexec_fn=_tie_to_parent(death_signal, os.getpid()),
    )
    return Child(process)


def _tie_to_parent(death_signal: Signals, parent: int) -> Callable[[], None]:
    # Why a preexec_fn and not a small program that execs the real one: an interpreter's start costs each part
    # some 20 ms, and the user we become may be unable to read the interpreter at all. What speaks against
    # preexec_fn is a lock that another thread held at the fork; nothing below takes one. It runs after
    # subprocess has changed user and group, as it must: that change clears the death signal, and so does
    # executing a program that has file capabilities (prctl(2)).
    def before_exec() -> None:
        if _prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:  # died before it could be watched
            os.kill(os.getpid(), signal.SIGKILL)

    return before_exec
