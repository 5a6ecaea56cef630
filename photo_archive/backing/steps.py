"""The steps of a restore after which a kill leaves a different state; in production only names.

A test kills a restore at each (tests/integration/photo_archive/test_killed_restore.py).
"""

#: Name of a step -> the state at that step, in their order.
STEPS: dict[str, str] = {
    "restore.noted": "the home says that a restore is under way; nothing else is done",
    "restore.made": "the database beside is there, empty",
    "restore.filled": "its rows are there, checked and put right",
    "restore.copied": "the photos' bytes are there",
    "restore.ready": "the home's files lie beside their places; the note says what came of it",
    "restore.swapped": "the database is in its place; the home's files are not",
    "restore.placed": "one of the home's files is in its place",
    "restore.settled": "all are; the note is still there",
}
