"""The list of jars."""

import pytest

from standalone.failures import NotSupported
from standalone.kafka.jars import Jar, check_names, endpoint, kafka_version, parse_lock

HASH = "a" * 64
KAFKA = Jar("org.apache.kafka", "kafka-clients", "4.3.0", HASH)


def test_a_list_keeps_its_order_and_skips_comments() -> None:
    text = f"# why\n\norg.apache.kafka:kafka-clients:4.3.0 {HASH}\na:b:1 {HASH}\n"
    assert parse_lock(text) == (KAFKA, Jar("a", "b", "1", HASH))


@pytest.mark.parametrize(
    "line",
    [
        "org.apache.kafka:kafka-clients:4.3.0",
        f"org.apache.kafka:kafka-clients {HASH}",
        f"org.apache.kafka:kafka-clients:4.3.0 {HASH[1:]}",
        f"../../etc:passwd:1 {HASH} ",
        f"a:b/../../c:1 {HASH}",
    ],
)
def test_a_line_that_is_not_a_jar_is_refused_by_its_number(line: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse_lock(f"# first\n{line}\n")


def test_two_versions_of_one_jar_are_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        parse_lock(f"a:b:1 {HASH}\na:b:2 {HASH}\n")


def test_the_version_that_the_log_binding_would_swap_in_is_named() -> None:
    found = frozenset({"org.apache.kafka:kafka-clients:3.9.1"})
    with pytest.raises(NotSupported, match=r"missing .*4\.3\.0; not in the list .*3\.9\.1"):
        check_names([KAFKA], found)


def test_what_is_asked_for_is_named_by_the_list_and_pinned() -> None:
    text = f"o:kafka_2.13:4.3.1 {HASH}\nl:log4j-slf4j-impl:2.25.4 {HASH}\na:b:1 {HASH}\n"

    assert endpoint(parse_lock(text)) == "o:kafka_2.13:4.3.1+l:log4j-slf4j-impl:2.25.4!"
    assert kafka_version(parse_lock(text)) == "4.3.1"


def test_the_very_set_passes() -> None:
    check_names([KAFKA], frozenset({KAFKA.name}))
