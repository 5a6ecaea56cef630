-- Callback addresses that are registered: their webhooks are signed with a secret of their own
-- (`signing_secrets`, owner E'\tendpoint/<id>', which no owner of an API key can be called).
CREATE TABLE endpoints (
    endpoint_id uuid PRIMARY KEY,
    owner       text        NOT NULL,
    url         text        NOT NULL,  -- as a query's callback_url has it, letter by letter
    name        text        NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (owner, url)
);
