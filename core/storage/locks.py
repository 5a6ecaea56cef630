"""The numbers of PostgreSQL's advisory locks: one list, since all of them share one space."""

#: The session's: two processes that migrate at once take turns (migrations/env.py).
MIGRATIONS = 7300
#: Shared by whoever offers images to the best-images table, alone by whoever repairs it.
OFFERS = 7301
#: Taken by whoever changes rows of the best-images table.
ROWS = 7302
#: Taken by whoever adds labels: ids are max + 1. `add_labels` of the schema takes it too.
LABELS = 7303
#: One pruner at a time.
PRUNING = 7304
#: The session's, with a database's name: one restore into it at a time.
RESTORING = 7305
