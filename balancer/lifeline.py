"""Die with the launcher, however it dies: nothing that it started may outlive it.

Three layers, because each has a hole. The kernel's parent-death signal reaches a process that is
frozen or holds the GIL, but is only Linux's and leaves alone what the process itself started. The
kernel's hang-up signal takes the whole group, is Linux's too, and is for processes whose socket
carries nothing from the launcher. A thread that waits for the end of the socket works everywhere,
but needs the GIL.
"""

import contextlib
import os
import select
import signal
import sys
import threading

CLONE_FILES = 0x400
PR_SET_PDEATHSIG = 1
F_SETSIG = 10


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when the process ``parent_pid`` dies; Linux only.

    The signal follows the *thread* that started us: a launcher must start its processes from a
    thread that lives as long as itself.
    """
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # It may have died before we asked; then nobody sends the signal any more.
    if os.getppid() != parent_pid:
        os._exit(1)


def watch(fd: int) -> None:
    """Kill this process, and its group if it leads one, when the other end of ``fd`` is closed.

    ``fd`` is a stream socket on which the launcher sends nothing: whatever comes is dropped.
    """
    thread = threading.Thread(target=_wait_for_end, args=(fd,), name="lifeline", daemon=True)
    thread.start()


def _wait_for_end(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    try:
        # Not a blocking read: while one waits, the kernel holds back the signal of
        # kill_group_on_hangup.
        while poll.poll() and os.read(fd, 4096):
            pass
    except OSError:
        pass  # Reset, not closed: the launcher died with something of ours unread.
    _die()


def _die() -> None:
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def own_descriptors() -> None:
    """Give the calling thread a table of descriptors of its own; Linux only.

    For a second thread of the launcher, before the first process is started. With a shared table
    the sockets would be closed by whichever thread dies last, perhaps after the kernel has sent
    the parent-death signals: workers killed by those take nobody of their group along.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).unshare(CLONE_FILES)


def kill_group_on_hangup(fd: int) -> None:
    """Have the kernel kill our whole group when the other end of ``fd`` is closed; Linux only.

    For a process that leads its group. The launcher must never write to ``fd``: that kills too.
    """
    if sys.platform != "linux":
        return
    import fcntl

    if os.getpgrp() != os.getpid():
        return
    # The parent-death signal would win every race with a thread that kills the group, and what
    # the handler started, a subprocess or a pool of its own, would live on without anybody.
    # A sandbox whose kernel does not know all of it is left with the other layers.
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(fd, F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
