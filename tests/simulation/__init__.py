"""The loop on a simulated broker and database: virtual time, seeded schedules, kills anywhere.

    clock      an event loop whose time is virtual, and lives in it that are stopped and killed
    wire       calls between a life and a server: each way takes a seeded time and may be lost
    database   progress, effects, outbox, dead letters: rows, locks, sessions, lost answers
    broker     logs and a group coordinator of the eager protocol
    client     a member with the manners of aiokafka
    records    what lies in the log, and the role that works on it
    world      all of them with members, and what must hold at the end
    chaos      what goes wrong, drawn from the seed
    mutations  what holds the guarantees, taken out piece by piece

One seed is one run: the same schedule, the same faults, the same end (`SEED=… pytest
tests/simulation`). Nothing of `core` is replaced: its ports are.
"""
