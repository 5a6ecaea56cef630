-- What other labels would change. The HTTP face writes a row and waits for it; a tagging process
-- leases it, since only that has the model. Nothing else is changed by a preview.
CREATE TABLE label_previews (
    preview_id  uuid PRIMARY KEY,
    owner       text        NOT NULL,
    labels      jsonb       NOT NULL,  -- [{"name", "aliases", "templates", "threshold"}, ...]
    sample      int4        NOT NULL,  -- so many images are looked at
    state       text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done', 'failed')),
    attempts    int4        NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    outcome     jsonb,                 -- where it is done
    error       text,                  -- where it failed
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX label_previews_waiting ON label_previews (created_at) WHERE state = 'waiting';
