"""A supervisor with roles of the test, in a process of its own that the test kills.

`python -m tests.integration.standalone.driver HOME PORT ROLES`: prints one JSON line per second
with all process states, and messages as they come. ROLES is JSON: name -> Python source.
"""

import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from core.errors import ConfigurationError
from core.settings import StandaloneSettings
from standalone.environment import cache_directory
from standalone.signals import run_until_told
from standalone.supervision.model_choice import ModelChoice
from standalone.supervision.plan import StandalonePlan
from standalone.supervision.roles import ProcessSpec
from standalone.supervision.supervisor import Supervisor

STATES_EVERY_S = 0.2
BROKERS = "TESTS_BROKERS"  # of how many brokers Kafka is
IS_NAMED = "TESTS_MODEL_IS_NAMED"  # where this variable is set, no other model may replace it


def write(kind: str, content: object) -> None:
    """One JSON line."""
    sys.stdout.write(json.dumps({kind: content}) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run until a signal; exit codes as of `photo-archive up`."""
    home, port, sources = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
    plan = StandalonePlan(
        settings=StandaloneSettings(
            home=home,
            kafka_port=port,
            postgres_port=port + 2,
            ingress_port=port + 3,
            metrics_port=port + 4,
        ),
        cache=cache_directory(home),
        model=ModelChoice("ViT-B-32", "for a test", may_fail=IS_NAMED not in os.environ),
        secrets_key="key",
        archive_roots="",
        inherited=dict(os.environ),
        # The last argument tells the supervisor what kind of role it is, as in `all_roles`.
        roles=tuple(
            ProcessSpec(name, ("-c", source, name.partition("-")[0]))
            for name, source in sources.items()
        ),
        brokers=int(os.environ.get(BROKERS, "1")),
    )
    try:
        with Supervisor(plan, say=lambda message: write("said", message)) as supervisor:
            return run_until_told(
                lambda: work(supervisor),
                stop=supervisor.stop,
                kill=supervisor.kill,
                say=lambda message: write("said", message),
            )
    except ConfigurationError as error:
        write("refused", str(error))
        return 2


def work(supervisor: Supervisor) -> int:
    """Start what the test wants; report until the end."""
    write("begun", os.getpid())
    supervisor.start_servers()
    supervisor.start_roles()
    write("up", {"url": supervisor.postgres.url, "kafka": supervisor.kafka.bootstrap})
    threading.Thread(target=report, args=(supervisor,), daemon=True).start()
    supervisor.wait()
    return 0


def report(supervisor: Supervisor) -> None:
    """Print the states repeatedly."""
    while not supervisor.wait(STATES_EVERY_S):
        write("states", [asdict(state) for state in supervisor.states()])


if __name__ == "__main__":
    sys.exit(main())
