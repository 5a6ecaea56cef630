"""The environment of child processes."""

from standalone.environment import inherited


def test_what_redirects_java_kafka_or_postgresql_is_left_out() -> None:
    source = {
        "PATH": "/bin",
        "JAVA_TOOL_OPTIONS": "-Xmx1m",
        "_JAVA_OPTIONS": "-Xmx1m",
        "CLASSPATH": "/evil",
        "KAFKA_HEAP_OPTS": "-Xmx1m",
        "PGHOST": "elsewhere",
    }
    assert inherited(source) == {"PATH": "/bin"}
