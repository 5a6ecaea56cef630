"""Environment variables that look like settings and are none: misspelt, foreign, or of old.

Pure: `core.settings` gives it the environment. Decision 0020 says why it refuses some of them.
"""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches

#: Variables of earlier versions that are constants now, beside the code that uses them.
_CONSTANTS = """
ARCHIVE_FETCH_CONCURRENCY
CONSUMER_ADVISORY_COMMIT_INTERVAL_S CONSUMER_BATCH_MAX_BYTES CONSUMER_CRASH_ISOLATE_AFTER
CONSUMER_CRASH_REJECT_AFTER CONSUMER_DEAD_LETTER_MAX_SHARE CONSUMER_DEAD_LETTER_WINDOW
CONSUMER_PIPELINE_DEPTH CONSUMER_QUEUE_MAX_RECORDS CONSUMER_TRANSACTION_DEADLINE_S
DATABASE_CONNECT_TIMEOUT_S DATABASE_IDLE_IN_TRANSACTION_TIMEOUT_S DATABASE_LOCK_TIMEOUT_S
DATABASE_TRANSACTION_TIMEOUT_S
DELIVERY_BREAKER_OPEN_S DELIVERY_CLAIM_INTERVAL_S DELIVERY_CONNECT_TIMEOUT_S
DELIVERY_COPIES_MAX_BYTES DELIVERY_JITTER DELIVERY_RESOLVE_TIMEOUT_S DELIVERY_RESPONSE_MAX_BYTES
DELIVERY_SLOW_S
INGRESS_COUNT_FILES_S INGRESS_DRAIN_TIMEOUT_S INGRESS_MAX_JSON_BYTES INGRESS_MIN_BYTES_PER_S
KAFKA_PUBLISH_TIMEOUT_S KAFKA_REBALANCE_TIMEOUT_MS KAFKA_REQUEST_TIMEOUT_MS
OUTBOX_SWEEP_BATCH_ROWS OUTBOX_SWEEP_INTERVAL_S
QUERY_MAX_LABELS
STANDALONE_KAFKA_HEAP_MIB
TAGGING_BATCH_MAX_PIXELS TAGGING_MAX_IMAGE_SIDE
"""
#: What became of variables of earlier versions.
SUCCESSORS = {
    "DELIVERY_ALLOWED_HOSTS": "EGRESS_ALLOWED_HOSTS",
    "DELIVERY_ALLOWED_PORTS": "EGRESS_ALLOWED_PORTS",
    "DELIVERY_ALLOW_HTTP": "EGRESS_ALLOW_HTTP",
    "DELIVERY_CA_FILE": "EGRESS_CA_FILE",
    "DELIVERY_DENIED_HOSTS": "EGRESS_DENIED_HOSTS",
    "DELIVERY_EGRESS_PROXY": "EGRESS_PROXY",
    "DELIVERY_LEASE_S": "twice DELIVERY_EXCHANGE_TIMEOUT_S",
    "DELIVERY_PER_HOST_IN_FLIGHT": "EGRESS_PER_HOST_CONNECTIONS",
    "INGRESS_BURST": "twice INGRESS_REQUESTS_PER_SECOND",
    "INGRESS_MAX_IMAGE_PIXELS": "DECODE_MAX_PIXELS",
    "INGRESS_MAX_QUERY_CHARS": "QUERY_MAX_CHARS",
    "INGRESS_PUBLIC_URL": "ARCHIVE_PUBLIC_URL",
    "INGRESS_PUBLISHED_PORT": "PUBLISHED_PORT",
    "KAFKA_HEARTBEAT_INTERVAL_MS": "a quarter of KAFKA_SESSION_TIMEOUT_MS",
    "RETENTION_HOST_EVENTS_DAYS": "RETENTION_FAILURES_DAYS",
    "STANDALONE_KAFKA_CONTROLLER_PORT": "the next free port above STANDALONE_KAFKA_PORT",
    "TAGGING_DECODE_MEMORY_BYTES": "DECODE_MEMORY_BYTES",
    "TAGGING_DECODE_TIMEOUT_S": "DECODE_TIMEOUT_S",
    "TAGGING_DECODE_WORKERS": "DECODE_WORKERS",
    "TAGGING_MAX_IMAGE_PIXELS": "DECODE_MAX_PIXELS",
} | dict.fromkeys(_CONSTANTS.split(), "a constant")
#: Prefixes under which other software has variables of its own (KAFKA_OPTS, DATABASE_HOST,
#: CONSUMER_KEY, QUERY_STRING, TELEMETRY_DISABLED): here only what was surely meant for us counts.
SHARED = frozenset({"CONSUMER", "DATABASE", "KAFKA", "QUERY", "TELEMETRY"})
SURELY_OURS = 0.9  # one or two letters wrong; KAFKA_HEAP_OPTS and DATABASE_HOST are far below
#: What Kubernetes and Docker set for services that are named like one of our prefixes.
_SERVICE = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$")
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")


def is_service_link(value: str) -> bool:
    """Return whether a value is the address of a service, as Kubernetes and Docker set it."""
    return _SERVICE_URL.match(value) is not None


def find_unknown(environment: Mapping[str, str], known: Collection[str]) -> list[str]:
    """Return a sentence for each variable that looks like a setting and is none.

    Empty variables count as not set.

    Args:
        environment: variable -> value.
        known: the variables that are settings, in capitals.
    """
    prefixes = {name.partition("_")[0] for name in known}
    sentences = []
    for name, value in sorted((name.upper(), value) for name, value in environment.items()):
        prefix, separator, _ = name.partition("_")
        if not value or name in known or prefix not in prefixes or not separator:
            continue
        if successor := SUCCESSORS.get(name):
            sentences.append(f"{name} is {successor} now")
        elif not _SERVICE.search(name) and not is_service_link(value):
            sentences += _misspelt(name, known, is_shared=prefix in SHARED)
    return sentences


def _misspelt(name: str, known: Collection[str], *, is_shared: bool) -> list[str]:
    nearest = get_close_matches(name, known, n=1, cutoff=SURELY_OURS if is_shared else 0.6)
    if nearest:
        return [f"{name} is no setting: is {nearest[0]} meant? Otherwise remove it"]
    return [] if is_shared else [f"{name} is no setting: remove it"]
