CREATE EXTENSION IF NOT EXISTS vector;

-- Runtime ------------------------------------------------------------------------------------

-- Where each consumer group stands, and who may move it. `owner` is '' while released cleanly.
-- `claimed_offset` is next_offset at the last claim: an unclean death without progress shows.
-- `crashes` counts those; then records up to `isolate_until` are taken one by one, and
-- `attempted_offset` names the one at work, so that a death is blamed on that record alone.
CREATE TABLE progress (
    grp            text        NOT NULL,
    topic          text        NOT NULL,
    part           int4        NOT NULL,
    next_offset    int8        NOT NULL,
    epoch          int8        NOT NULL DEFAULT 1,
    owner          text        NOT NULL DEFAULT '',
    cluster_id     text        NOT NULL DEFAULT '',
    topic_id       text        NOT NULL DEFAULT '',
    claimed_offset int8        NOT NULL DEFAULT -1,
    attempted_offset int8      NOT NULL DEFAULT -1,
    isolate_until  int8        NOT NULL DEFAULT -1,
    crashes        int4        NOT NULL DEFAULT 0,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (grp, topic, part)
) WITH (fillfactor = 50);

-- The Kafka member id of each running instance, so that its next incarnation can evict it.
CREATE TABLE members (
    grp        text        NOT NULL,
    instance   text        NOT NULL,
    member_id  text        NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (grp, instance)
);

CREATE TABLE outbox (
    id         int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic      text        NOT NULL,
    key        bytea,
    headers    jsonb       NOT NULL,  -- [[name, base64 of the value], ...]
    value      bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outbox_age ON outbox (created_at, id);

-- Where the sweeper put an arrival whose token could only name its outbox id.
CREATE TABLE outbox_places (
    outbox_id    int8 PRIMARY KEY,
    topic        text        NOT NULL,
    part         int4        NOT NULL,
    log_offset   int8        NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE dead_letters (
    id          int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    grp         text        NOT NULL,
    topic       text        NOT NULL,
    part        int4        NOT NULL,
    log_offset  int8        NOT NULL,
    cluster_id  text        NOT NULL DEFAULT '',
    key         bytea,
    headers     jsonb       NOT NULL,
    value       bytea       NOT NULL,
    reason      text        NOT NULL,
    detail      text        NOT NULL DEFAULT '',
    record_at   timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    replayed_at timestamptz,
    quarantined boolean     NOT NULL DEFAULT false,  -- Kafka refuses the copy for good
    UNIQUE (grp, topic, part, log_offset, cluster_id)
);
CREATE INDEX dead_letters_open ON dead_letters (topic, id) WHERE replayed_at IS NULL;

-- Archive ------------------------------------------------------------------------------------

CREATE TABLE blobs (
    sha256     bytea PRIMARY KEY,
    size_bytes int8        NOT NULL,
    content    bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE blobs ALTER COLUMN content SET STORAGE EXTERNAL;  -- photos do not compress

-- What is known of an image from the moment it is accepted.
CREATE TABLE images (
    image_id    uuid PRIMARY KEY,
    uri         text        NOT NULL,
    path        varchar(1000) NOT NULL,
    owner       text,
    media_type  text,
    size_bytes  int8,
    sha256      bytea,
    status      text        NOT NULL CHECK (status IN ('accepted', 'tagged', 'failed', 'missing', 'deleted')),
    reason      text,
    detail      text,
    job_id      uuid,
    arrived_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz
);
CREATE INDEX images_job ON images (job_id, status) WHERE job_id IS NOT NULL;
CREATE INDEX images_sha256 ON images (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX images_arrived ON images (arrived_at DESC, image_id DESC);

CREATE TABLE tagged_images (
    id             serial PRIMARY KEY,
    image_path     varchar(1000) NOT NULL,
    tags           jsonb       NOT NULL,
    exif_datetime  timestamp,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    image_id       uuid        NOT NULL UNIQUE REFERENCES images (image_id) ON DELETE CASCADE,
    sha256         bytea       NOT NULL,
    width          int4        NOT NULL,
    height         int4        NOT NULL,
    model          text        NOT NULL,
    preprocessing  text        NOT NULL,
    label_version  int4,       -- NULL: the image has its own labels, re-scoring leaves it alone
    top_k          int4        NOT NULL
);
CREATE INDEX tagged_images_tags ON tagged_images USING gin (tags jsonb_path_ops);
CREATE INDEX tagged_images_newest ON tagged_images (coalesce(exif_datetime, created_at AT TIME ZONE 'UTC') DESC, id DESC);
CREATE INDEX tagged_images_sha256 ON tagged_images (sha256);

-- Labels: the default set has a position; labels that only single images brought have none.
CREATE TABLE labels (
    id        int2 PRIMARY KEY,  -- max + 1 under a lock: a sequence would burn its 32,767 values
    name      text  NOT NULL UNIQUE,
    position  int4,
    aliases   jsonb NOT NULL DEFAULT '[]',
    templates jsonb NOT NULL DEFAULT '[]',
    threshold real
);
CREATE TABLE label_set (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version int4        NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO label_set (version) VALUES (0);

CREATE TABLE image_tags (
    image_id int4 NOT NULL REFERENCES tagged_images (id) ON DELETE CASCADE,
    score    int4 NOT NULL,  -- millionths
    ts       int4 NOT NULL,  -- seconds from 2000-01-01: what "newest" compares
    label_id int2 NOT NULL REFERENCES labels (id),
    PRIMARY KEY (image_id, label_id) INCLUDE (score)
);
CREATE INDEX image_tags_list ON image_tags (label_id, score, ts, image_id);

-- An image that is gone is no answer any more, whoever marks it so.
CREATE FUNCTION drop_tags_of_gone_image() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM image_tags USING tagged_images t
    WHERE image_tags.image_id = t.id AND t.image_id = NEW.image_id;
    RETURN NULL;
END $$;
CREATE TRIGGER images_gone AFTER UPDATE OF status ON images FOR EACH ROW
    WHEN (NEW.status IN ('missing', 'deleted') AND OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION drop_tags_of_gone_image();

CREATE TABLE embeddings (
    sha256        bytea NOT NULL,
    model         text  NOT NULL,
    preprocessing text  NOT NULL,
    embedding     halfvec NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sha256, model, preprocessing)
);

-- The failure ledger: one row per image and reason, the newest attempt.
CREATE TABLE failures (
    image_id   uuid        NOT NULL REFERENCES images (image_id) ON DELETE CASCADE,
    reason     text        NOT NULL,
    detail     text        NOT NULL,
    attempts   int4        NOT NULL DEFAULT 1,
    first_at   timestamptz NOT NULL DEFAULT now(),
    last_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (image_id, reason)
);
CREATE INDEX failures_last ON failures (last_at);

-- Queries and deliveries ---------------------------------------------------------------------

CREATE TABLE queries (
    query_id     uuid PRIMARY KEY,
    owner        text,
    text         text        NOT NULL,
    callback_url text        NOT NULL,
    options      jsonb       NOT NULL DEFAULT '{}',
    fingerprint  bytea,
    status       text        NOT NULL CHECK (status IN ('accepted', 'waiting', 'answered')),
    answer       jsonb,      -- the CallbackRequested event, once answered: the first answer wins
    accepted_at  timestamptz NOT NULL DEFAULT now(),
    answered_at  timestamptz
);
CREATE INDEX queries_accepted ON queries (accepted_at DESC, query_id DESC);

-- Queries that wait for an upload to be tagged (option `after`).
CREATE TABLE parked_queries (
    query_id   uuid PRIMARY KEY REFERENCES queries (query_id) ON DELETE CASCADE,
    topic      text,
    part       int4,
    log_offset int8,
    outbox_id  int8,
    event      jsonb       NOT NULL,
    parked_at  timestamptz NOT NULL DEFAULT now(),
    deadline   timestamptz NOT NULL
);
CREATE INDEX parked_queries_deadline ON parked_queries (deadline);

CREATE TABLE deliveries (
    delivery_id uuid PRIMARY KEY,  -- id of the callback event; the webhook's id on the wire
    query_id    uuid        NOT NULL,
    owner       text,
    host        text        NOT NULL,
    url         text        NOT NULL,
    event       jsonb       NOT NULL,
    state       text        NOT NULL CHECK (state IN ('due', 'leased', 'delivered', 'dead')),
    attempt     int4        NOT NULL DEFAULT 0,
    next_at     timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz,
    token       uuid,
    reason      text,
    created_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX deliveries_due ON deliveries (host, (attempt > 0), next_at) WHERE state = 'due';
CREATE INDEX deliveries_leased ON deliveries (lease_until) WHERE state = 'leased';
CREATE INDEX deliveries_query ON deliveries (query_id);

CREATE TABLE attempts (
    delivery_id uuid        NOT NULL REFERENCES deliveries (delivery_id) ON DELETE CASCADE,
    attempt     int4        NOT NULL,
    started_at  timestamptz NOT NULL,
    took_ms     int4,
    status      int4,
    error       text,       -- class: dns, refused, reset, unreachable, timeout, tls, protocol, ...
    detail      text,
    PRIMARY KEY (delivery_id, attempt)
);

-- Control ------------------------------------------------------------------------------------

CREATE TABLE api_keys (
    key_id       text PRIMARY KEY,
    owner        text        NOT NULL,
    name         text        NOT NULL DEFAULT '',
    digest       bytea       NOT NULL,  -- SHA-256 of the whole key; the key itself is shown once
    scopes       text[]      NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz
);
CREATE INDEX api_keys_owner ON api_keys (owner);

-- Signing secrets of webhooks, one or more per owner; '' is the instance's own.
CREATE TABLE signing_secrets (
    id         int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner      text        NOT NULL,
    secret     bytea       NOT NULL,  -- encrypted with the key from settings
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz
);
CREATE INDEX signing_secrets_owner ON signing_secrets (owner, id DESC);

CREATE TABLE jobs (
    job_id      uuid PRIMARY KEY,
    kind        text        NOT NULL CHECK (kind IN ('directory')),
    owner       text,
    root        text        NOT NULL,
    directory   text        NOT NULL,  -- relative to the root
    options     jsonb       NOT NULL DEFAULT '{}',
    state       text        NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
    total       int8,
    announced   int8        NOT NULL DEFAULT 0,
    skipped     int8        NOT NULL DEFAULT 0,
    skips       jsonb       NOT NULL DEFAULT '{}',  -- reason -> count
    position    bytea       NOT NULL DEFAULT '',  -- the last relative path announced: resume after it
    error       text,
    lease_until timestamptz,
    token       uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX jobs_open ON jobs (created_at) WHERE state IN ('waiting', 'running');

-- What the filesystem bridge has seen: the watcher is a hint, this and a rescan are the truth.
CREATE TABLE watched_files (
    root         text        NOT NULL,
    relative_path bytea      NOT NULL,  -- bytes: names need not be UTF-8
    size_bytes   int8        NOT NULL,
    mtime_ns     int8        NOT NULL,
    inode        numeric(20) NOT NULL,  -- unsigned 64 bits
    device       numeric(20) NOT NULL,  -- of its directory: tells unmounted from gone
    sha256       bytea,
    image_id     uuid        NOT NULL,
    state        text        NOT NULL CHECK (state IN ('announced', 'failing', 'quarantined', 'missing')),
    attempts     int4        NOT NULL DEFAULT 0,
    reason       text,
    seen_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (root, relative_path)
);
CREATE INDEX watched_files_sha256 ON watched_files (sha256) WHERE sha256 IS NOT NULL;
