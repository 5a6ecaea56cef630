"""What `python -m consumers` takes."""

import sys

import pytest

from consumers import __main__ as command


@pytest.mark.parametrize(
    "words", [["query", "--lane", "bulk"], ["tagging", "--lane", "quick"], ["nothing"]]
)
def test_a_lane_is_an_option_of_tagging_and_one_of_two(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["consumers", *words])

    with pytest.raises(SystemExit) as ended:
        command.main()

    assert ended.value.code == 2
    assert words[-1] in capsys.readouterr().err or "--lane" in words
