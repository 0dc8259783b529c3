"""Arms failpoints: only in a process that was told to be a test, and never in silence."""

import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from kannon.core import failpoints
from kannon.core.failpoints import Failpoint
from kannon.runtime.clock import step_clock
from kannon.runtime.settings import TEST_FAILPOINTS, Settings

log = logging.getLogger(__name__)


def arm_failpoints(settings: Settings) -> None:
    """Break this process at the points that `test.failpoints` names; for after logging has started.

    Raises:
        SettingsError: the setting is malformed.
    """
    armed = settings[TEST_FAILPOINTS]
    if armed:
        log.critical(
            "FAILPOINTS ARE ARMED: this process will break", extra={"points": sorted(map(str, armed))}
        )
        failpoints.arm(_Armed(armed).passing)


class _Armed:
    def __init__(self, armed: Sequence[Failpoint]) -> None:
        self._armed = armed
        self._passed: Counter[str] = Counter()
        self._lock = threading.Lock()  # some points are passed in threads

    def passing(self, point: str) -> None:
        with self._lock:
            self._passed[point] += 1
            due = [one for one in self._armed if (one.point, one.passing) == (point, self._passed[point])]
        for one in due:
            log.critical("failpoint", extra={"point": point, "passing": one.passing, "step": one.step})
            if one.step is None:
                os.kill(os.getpid(), signal.SIGKILL)
            else:
                step_clock(timedelta(seconds=one.step))
