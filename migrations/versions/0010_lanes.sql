-- One row per callback host that has webhooks due, now or later: first tries and retries apart.
-- A claim looks at the lanes that are due, so that neither hosts that wait for later nor a long
-- backlog of one host cost it anything (docs/decisions/0012).
--
-- `due_at` is never later than the earliest next_at of the lane's webhooks. Whoever makes one due
-- lowers it and leaves its transaction in `touched`. A claim raises it, or removes the row, only
-- where `touched` is what its snapshot saw: then it has seen all webhooks of the lane.
CREATE TABLE lanes (
    host    text        NOT NULL,
    again   boolean     NOT NULL,
    due_at  timestamptz NOT NULL,
    touched xid8        NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (host, again)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX lanes_due ON lanes (again, due_at);

-- In order, so that two who make webhooks of the same hosts due do not wait for each other.
CREATE FUNCTION open_lanes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO lanes AS l (host, again, due_at)
    SELECT host, attempt > 0, min(next_at) FROM changed WHERE state = 'due'
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (host, again) DO UPDATE
        SET due_at = least(l.due_at, excluded.due_at), touched = excluded.touched;
    RETURN NULL;
END $$;
CREATE TRIGGER deliveries_open_lanes_added AFTER INSERT ON deliveries
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION open_lanes();
CREATE TRIGGER deliveries_open_lanes_changed AFTER UPDATE ON deliveries
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION open_lanes();

INSERT INTO lanes (host, again, due_at)
SELECT host, attempt > 0, min(next_at) FROM deliveries WHERE state = 'due' GROUP BY 1, 2;
