"""What can stop a standalone. Each text is written for the person who started it.

StandaloneError           a KannonError
├── DataFolderError       the data folder cannot be used, or another standalone uses it
├── EmbeddedServerError   PostgreSQL or NATS cannot be run here
├── PartFailed            a part died, or was not ready in time, when it was started
├── PortUnavailable       a configured port is taken, or not ours to take
└── Interrupted           a signal asked to stop while parts were being started
"""

from kannon.core.errors import KannonError


class StandaloneError(KannonError):
    """A standalone cannot start or go on; its text says what to do."""


class DataFolderError(StandaloneError):
    """The data folder cannot be used, or another standalone uses it."""


class EmbeddedServerError(StandaloneError):
    """An embedded server cannot be run here."""


class PartFailed(StandaloneError):
    """A part died, or was not ready in time, when it was started."""


class PortUnavailable(StandaloneError):
    """A configured port is taken by another program, or needs rights we lack."""


class Interrupted(StandaloneError):
    """A signal asked to stop while parts were being started."""
