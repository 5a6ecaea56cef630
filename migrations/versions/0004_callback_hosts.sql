-- Callback hosts that are out of the ordinary: a row is written when one is first disabled.
CREATE TABLE hosts (
    host        text PRIMARY KEY,
    disabled_at timestamptz,  -- NULL: resumed. Its webhooks stay due, and are not claimed
    actor       text        NOT NULL,  -- who did the last change: an owner, `operator`, `breaker`
    reason      text        NOT NULL DEFAULT '',
    changed_at  timestamptz NOT NULL DEFAULT now()
);

-- What operators did, and breakers on their behalf.
CREATE TABLE host_events (
    id     int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host   text        NOT NULL,
    event  text        NOT NULL CHECK (event IN ('disabled', 'resumed')),
    actor  text        NOT NULL,
    reason text        NOT NULL DEFAULT '',
    at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX host_events_host ON host_events (host, id DESC);
CREATE INDEX host_events_at ON host_events (at);

-- Redelivery: `attempt` counts on, so that attempts keep their numbers; the schedule begins anew
-- after `attempts_before` at `asked_at`. A delivered answer that a person asks for again is a new
-- row, of the next round (docs/decisions/0012).
ALTER TABLE deliveries ADD COLUMN round           int4 NOT NULL DEFAULT 0,
                       ADD COLUMN attempts_before int4 NOT NULL DEFAULT 0,
                       ADD COLUMN asked_at        timestamptz;
CREATE INDEX deliveries_finished ON deliveries (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX deliveries_dead ON deliveries (host, finished_at) WHERE state = 'dead';
