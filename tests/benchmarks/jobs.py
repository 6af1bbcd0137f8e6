"""What the workers of all contestants run: a job returns its request, so that all is checked."""

import time
from typing import Any


def echo(request: Any) -> Any:
    return request


def work(request: Any) -> Any:
    """Burn and then sleep for as long as the request says: ``[number, cpu_s, sleep_s]``."""
    _, cpu_s, sleep_s = request
    if cpu_s:
        burn(cpu_s)
    if sleep_s:
        time.sleep(sleep_s)
    return request


def burn(cpu_s: float) -> None:
    """Use up processor time, however long it takes to get it: wall time would be work for free."""
    until = time.thread_time() + cpu_s
    while time.thread_time() < until:
        pass
