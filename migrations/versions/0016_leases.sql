-- Work that one process does at a time.

CREATE TABLE leases (
    name        text PRIMARY KEY,
    keeper      text        NOT NULL,
    lease_until timestamptz NOT NULL
);
COMMENT ON TABLE leases IS 'Work that one process does at a time: who, and until when.';

ALTER TABLE combo_state DROP COLUMN keeper, DROP COLUMN lease_until;
