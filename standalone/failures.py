"""Errors of the standalone mode.

ConfigurationError
  DirectoryLocked   another process uses this directory
  DiskFull          the disk that holds the data is full
  DownloadFailed    what a first start needs could not be downloaded
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


class DownloadFailed(ConfigurationError):
    """What a first start needs could not be downloaded: no way out, or a proxy in between.

    That is the first one at all, or the first after an update that brings another Kafka. Whoever
    waits hears of it at once. To try for ever is right for what worked before; a first start has a
    person in front of it, and its servers do not exist yet.
    """

    def __init__(self, what: str, error: Exception) -> None:
        super().__init__(
            f"{what} could not be downloaded: {error}. Behind a proxy set HTTPS_PROXY; where it "
            "signs with a root of its own also REQUESTS_CA_BUNDLE. The data is untouched. Without"
            " a network carry over the cache of a machine that has started this version"
            ' (~/.cache/photo-archive; "Downloads" in docs/operations.md)'
        )


class PortTaken(ConfigurationError):
    """No port near the wanted one is free."""


class NotSupported(ConfigurationError):
    """This machine cannot run the embedded servers; the message says why."""


class ServerFailed(TransientError):
    """A server ended or did not answer in time; the message has the last lines of its output."""
