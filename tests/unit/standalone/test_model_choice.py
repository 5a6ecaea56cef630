"""The choice of the model, and the message about it."""

from collections.abc import Callable

from standalone.supervision.model_choice import DEMO_MODEL, REAL_MODEL, choose_model


def forbidden() -> bool:
    raise AssertionError("nothing should be asked")


def no() -> bool:
    return False


def hub(size: int | None) -> Callable[[], int | None]:
    return lambda: size


def test_what_was_asked_for_is_taken_without_a_look_at_the_net() -> None:
    choice = choose_model("demo", is_cached=forbidden, is_offline=forbidden, ask_hub=forbidden)
    assert (choice.model, choice.may_fail) == ("demo", False)


def test_weights_on_this_machine_need_no_hub() -> None:
    choice = choose_model("", is_cached=lambda: True, is_offline=forbidden, ask_hub=forbidden)
    assert (choice.model, choice.may_fail) == (REAL_MODEL, False)


def test_a_hub_that_answers_means_a_download_whose_size_is_told() -> None:
    choice = choose_model("", is_cached=no, is_offline=no, ask_hub=hub(605_000_000))
    assert (choice.model, choice.may_fail) == (REAL_MODEL, True)
    assert "577 MiB" in choice.reason


def test_without_a_hub_the_bundled_model_is_taken_and_says_so() -> None:
    choice = choose_model("", is_cached=no, is_offline=no, ask_hub=hub(None))
    assert choice.model == DEMO_MODEL
    assert "bundled" in choice.reason
    assert "no hub answered within 3 s" in choice.reason


def test_a_hub_that_must_not_be_asked_is_not_said_to_have_been_silent() -> None:
    choice = choose_model("", is_cached=no, is_offline=lambda: True, ask_hub=forbidden)
    assert choice.model == DEMO_MODEL
    assert "HF_HUB_OFFLINE forbids asking a hub" in choice.reason
    assert "answered" not in choice.reason
