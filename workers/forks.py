"""Whether this is a child that user code has forked: the sockets that it finds are not its own.

A handler may fork, and both come back from it. Python says so to whoever has asked for it once;
to ask the kernel after each request who we are takes several microseconds where nothing is warm.
"""

import os

is_child = False


def _note_child() -> None:
    global is_child
    is_child = True


os.register_at_fork(after_in_child=_note_child)
