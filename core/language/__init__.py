"""Text to lemmas, without context, semantics or a downloaded model (spaCy, pymorphy3).

A language is one module with one class that satisfies `core.language.lemmatizer.Language`: which
words it covers (by script), their lemmas, its function words. To add one, Greek for instance:

1. write `greek.py`; spaCy's tables come by `spacy.lookups.load_lookups("el", ["lemma_lookup"])`,
   imported under `core.language.tokenizer.torch_hidden`;
2. put an instance into `core.language.lemmatizer.default_languages`;
3. add a list of words that you have not tuned it on to `tests/unit/language/`.

Two languages of one script cannot be told apart by script: a class for both should give the lemmas
of both, since a label matches where the sets of lemmas intersect.
"""
