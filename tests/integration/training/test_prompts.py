"""Prompts and wordings."""

import torch
from open_clip import SimpleTokenizer

from training.network import CONTEXT_LENGTH, tokenizer
from training.words.prompts import (
    BACKGROUND,
    LABELS,
    PER_LABEL,
    PICTURED,
    PROMPTS,
    WITHOUT_PICTURES,
    TextBank,
    wordings,
)


def test_the_label_is_not_among_the_words_that_the_context_cuts_off() -> None:
    words = SimpleTokenizer(context_length=CONTEXT_LENGTH)
    for label, prompts in PROMPTS.items():
        own = [token for token in words([label])[0].tolist() if token][1:-1]
        for prompt in prompts:
            tokens = words([prompt])[0].tolist()

            assert all(token in tokens for token in own), prompt


def test_the_labels_are_the_projects_own() -> None:
    assert len(LABELS) == 14
    assert set(WITHOUT_PICTURES) == set(LABELS) - set(PICTURED)
    assert all(len(PROMPTS[label]) == PER_LABEL for label in LABELS)


def test_the_bank_draws_names_in_changing_words_behind_the_fixed_texts() -> None:
    names = ("bird", "boat", "bridge")
    bank = TextBank(names, tokenizer())
    fixed = PER_LABEL * len(LABELS) + len(BACKGROUND)

    drawn = [bank.draw(2, torch.Generator().manual_seed(seed)) for seed in range(20)]

    seen = set()
    for tokens, chosen in drawn:
        assert len(tokens) == fixed + 2
        assert torch.equal(tokens[:fixed], drawn[0][0][:fixed])
        own = tokenizer()(list(wordings(names[int(chosen[0])])))
        assert (own == tokens[fixed]).all(dim=1).any()
        seen.add((int(chosen[0]), tuple(tokens[fixed].tolist())))
    assert len(seen) > 6
