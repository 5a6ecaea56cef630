"""What an operator writes to `python -m consumers deliveries`."""

import argparse

import pytest

from consumers.delivery.commands import add_commands


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_commands(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("host", ["bücher.example", "Bücher.Example.", "xn--bcher-kva.example"])
def test_a_host_is_named_in_any_spelling_and_found_as_its_lane(host: str) -> None:
    assert parsed("hosts", "disable", host).host == "xn--bcher-kva.example"
    assert parsed("redeliver", "--host", host).host == "xn--bcher-kva.example"


def test_what_is_no_host_is_refused_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("hosts", "resume", "xn--a.example")

    assert "not an international host name" in capsys.readouterr().err
