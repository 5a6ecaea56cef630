"""What can go wrong with the machine under the standalone mode.

ConfigurationError
  DirectoryLocked   another process works in this directory
  DiskFull          no room left where the data lies
  PortTaken         no free port near the wanted one
  NotSupported      this machine cannot run the embedded servers, and why
TransientError
  ServerFailed      a server ended or did not answer; a second try may work
"""

from core.errors import ConfigurationError, TransientError


class DirectoryLocked(ConfigurationError):
    """Another process works in this directory; the message names it."""


class DiskFull(ConfigurationError):
    """No room left where the data lies. Trying again changes nothing."""


class PortTaken(ConfigurationError):
    """No free port near the wanted one."""


class NotSupported(ConfigurationError):
    """This machine cannot run the embedded servers; the message says why."""


class ServerFailed(TransientError):
    """A server ended or did not answer in time; the message has its last lines."""
