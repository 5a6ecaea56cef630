"""Errors of the standalone mode.

ConfigurationError
  DirectoryLocked   another process uses this directory
  DiskFull          the disk that holds the data is full
  PortTaken         no free port near the wanted one
  NotSupported      this machine cannot run the embedded servers, and why
TransientError
  ServerFailed      a server ended or did not answer; another try may work
"""

from core.errors import ConfigurationError, TransientError


class DirectoryLocked(ConfigurationError):
    """Another process uses this directory; the message names it."""


class DiskFull(ConfigurationError):
    """The disk that holds the data is full. Trying again changes nothing."""


class PortTaken(ConfigurationError):
    """No port near the wanted one is free."""


class NotSupported(ConfigurationError):
    """This machine cannot run the embedded servers; the message says why."""


class ServerFailed(TransientError):
    """A server ended or did not answer in time; the message has the last lines of its output."""
