-- Every table, as the migrations leave it. Made by `make docs`: read it, do not edit it.

-- Where each consumer group stands in each partition, and who may move it.
CREATE TABLE progress (
    grp text NOT NULL,
    topic text NOT NULL,
    part integer NOT NULL,
    next_offset bigint NOT NULL,
    epoch bigint NOT NULL DEFAULT 1,
    owner text NOT NULL DEFAULT ''::text,
    cluster_id text NOT NULL DEFAULT ''::text,
    topic_id text NOT NULL DEFAULT ''::text,
    claimed_offset bigint NOT NULL DEFAULT '-1'::integer,
    attempted_offset bigint NOT NULL DEFAULT '-1'::integer,
    isolate_until bigint NOT NULL DEFAULT '-1'::integer,
    crashes integer NOT NULL DEFAULT 0,
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (grp, topic, part)
) WITH (fillfactor=50);

-- Kafka's member id of each running instance, so that its next incarnation can evict it.
CREATE TABLE members (
    grp text NOT NULL,
    instance text NOT NULL,
    member_id text NOT NULL,
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (grp, instance)
);

-- Events that are to leave: written with what they tell of, published after the commit.
CREATE TABLE outbox (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    topic text NOT NULL,
    key bytea,
    headers jsonb NOT NULL,
    value bytea NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (id)
);
CREATE INDEX outbox_age ON outbox USING btree (created_at, id);

-- Where the sweeper put an arrival whose token could only name its outbox id.
CREATE TABLE outbox_places (
    outbox_id bigint NOT NULL,
    topic text NOT NULL,
    part integer NOT NULL,
    log_offset bigint NOT NULL,
    published_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (outbox_id)
);
CREATE INDEX outbox_places_published ON outbox_places USING btree (published_at);

-- The servers that this archive has lived on, and what each had forgotten (docs/decisions/0048).
CREATE TABLE promotions (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    system_id bigint NOT NULL,
    timeline bigint NOT NULL,
    noted_at timestamp with time zone NOT NULL DEFAULT now(),
    missing_since timestamp with time zone,
    settled_at timestamp with time zone,
    answers_kept bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (id),
    UNIQUE (system_id, timeline)
);

-- What Kafka testifies and a promoted server has no row of: done again, without what only the row knew.
CREATE TABLE forgotten (
    promotion bigint NOT NULL,
    kind text NOT NULL,
    id uuid NOT NULL,
    detail text NOT NULL,
    PRIMARY KEY (promotion, kind, id),
    FOREIGN KEY (promotion) REFERENCES promotions(id) ON DELETE CASCADE,
    CHECK ((kind = ANY (ARRAY['image'::text, 'query'::text])))
);

-- Records that could not be decoded or processed, as they were.
CREATE TABLE dead_letters (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    grp text NOT NULL,
    topic text NOT NULL,
    part integer NOT NULL,
    log_offset bigint NOT NULL,
    cluster_id text NOT NULL DEFAULT ''::text,
    key bytea,
    headers jsonb NOT NULL,
    value bytea NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL DEFAULT ''::text,
    record_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    replayed_at timestamp with time zone,
    quarantined boolean NOT NULL DEFAULT false,
    same bytea,
    PRIMARY KEY (id),
    UNIQUE (grp, topic, part, log_offset, cluster_id)
);
CREATE INDEX dead_letters_created ON dead_letters USING btree (created_at);
CREATE INDEX dead_letters_newest ON dead_letters USING btree (id) WHERE (replayed_at IS NULL);
CREATE INDEX dead_letters_of_reason ON dead_letters USING btree (reason, id) WHERE (replayed_at IS NULL);
CREATE INDEX dead_letters_open ON dead_letters USING btree (topic, id) WHERE (replayed_at IS NULL);
CREATE INDEX dead_letters_same ON dead_letters USING btree (same) WHERE ((same IS NOT NULL) AND (replayed_at IS NULL));

-- What each part of each process says of itself every 5 s: for /health, /stats/pipeline and alarms.
CREATE TABLE heartbeats (
    role text NOT NULL,
    instance text NOT NULL,
    started_at timestamp with time zone NOT NULL DEFAULT now(),
    seen_at timestamp with time zone NOT NULL DEFAULT now(),
    progressed_at timestamp with time zone,
    oldest_waiting timestamp with time zone,
    waiting bigint,
    still_s real NOT NULL DEFAULT 0,
    rates jsonb NOT NULL DEFAULT '{}'::jsonb,
    about jsonb NOT NULL DEFAULT '{}'::jsonb,
    stopped_at timestamp with time zone,
    PRIMARY KEY (role, instance)
) WITH (fillfactor=50);

-- How long the oldest piece of work of each stage waited, for the last 15 min.
CREATE TABLE stage_trends (
    stage text NOT NULL,
    slot smallint NOT NULL,
    at timestamp with time zone NOT NULL,
    oldest_s real NOT NULL,
    PRIMARY KEY (stage, slot)
) WITH (fillfactor=50);

-- Which images and queries a transaction changed, for those who watch: two minutes of them (docs/decisions/0032).
CREATE TABLE changes (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    kind text NOT NULL,
    ids uuid[] NOT NULL,
    gone_for text,
    noted_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CHECK ((kind = ANY (ARRAY['image'::text, 'query'::text])))
);
CREATE INDEX changes_xid ON changes USING btree (xid);

-- Work that one process does at a time: who, and until when.
CREATE TABLE leases (
    name text NOT NULL,
    keeper text NOT NULL,
    lease_until timestamp with time zone NOT NULL,
    PRIMARY KEY (name)
);

-- Bytes kept in PostgreSQL, under their SHA-256.
CREATE TABLE blobs (
    sha256 bytea NOT NULL,
    size_bytes bigint NOT NULL,
    content bytea NOT NULL STORAGE EXTERNAL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (sha256)
);

-- Thumbnails, where bytes are kept in PostgreSQL: in no backup (docs/decisions/0033).
CREATE TABLE thumbs (
    sha256 bytea NOT NULL,
    size text NOT NULL,
    content bytea NOT NULL STORAGE EXTERNAL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (sha256, size),
    CHECK ((size = ANY (ARRAY['small'::text, 'large'::text])))
);
CREATE INDEX thumbs_large ON thumbs USING btree (created_at) WHERE (size = 'large'::text);

-- What is known of an image from the moment it is accepted.
CREATE TABLE images (
    image_id uuid NOT NULL,
    uri text NOT NULL,
    path text NOT NULL,
    media_type text,
    size_bytes bigint,
    sha256 bytea,
    status text NOT NULL,
    reason text,
    detail text,
    job_id uuid,
    event_time timestamp with time zone,  -- Of two arrivals of one image the one made later wins; of equal times the one not in bulk.
    event_is_bulk boolean NOT NULL DEFAULT false,
    arrived_at timestamp with time zone NOT NULL DEFAULT now(),
    taken_at timestamp with time zone NOT NULL DEFAULT now(),
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    deleted_at timestamp with time zone,
    deleted_content bytea,
    excluded boolean NOT NULL DEFAULT false,
    hand_tags jsonb,
    rejected_tags text[] NOT NULL DEFAULT '{}'::text[],
    added_tags text[] NOT NULL DEFAULT '{}'::text[],
    decided_by text,
    decided_at timestamp with time zone,
    open_to_all boolean NOT NULL DEFAULT true,
    ratio integer NOT NULL DEFAULT 0,
    colour integer,
    by_hand boolean DEFAULT ((hand_tags IS NOT NULL) OR (added_tags <> '{}'::text[])),
    moved_to uuid,
    PRIMARY KEY (image_id),
    CHECK ((status = ANY (ARRAY['accepted'::text, 'tagged'::text, 'failed'::text, 'missing'::text, 'deleted'::text])))
);
CREATE INDEX images_arrived ON images USING btree (open_to_all, arrived_at DESC, image_id DESC);
CREATE INDEX images_excluded ON images USING btree (image_id) WHERE excluded;
CREATE INDEX images_folder ON images USING btree (open_to_all, folder_of(path) COLLATE "C");
CREATE INDEX images_job ON images USING btree (job_id, status, updated_at, image_id) WHERE (job_id IS NOT NULL);
CREATE INDEX images_sha256 ON images USING btree (sha256) WHERE (sha256 IS NOT NULL);
CREATE INDEX images_tagged_by_hand ON images USING btree (image_id) WHERE ((hand_tags IS NOT NULL) OR (added_tags <> '{}'::text[]));
CREATE INDEX images_taken ON images USING btree (open_to_all, taken_at DESC, image_id DESC) INCLUDE (status, excluded, by_hand, ratio, colour);
CREATE INDEX images_tombstones ON images USING btree (deleted_at) WHERE (status = 'deleted'::text);
CREATE INDEX images_unfinished ON images USING btree (status, arrived_at DESC, image_id DESC) WHERE (status = ANY (ARRAY['accepted'::text, 'failed'::text, 'missing'::text]));
CREATE TRIGGER images_noted AFTER INSERT OR DELETE OR UPDATE ON images FOR EACH ROW WHEN ((current_setting('photo_archive.keeps'::text, true) IS DISTINCT FROM 'on'::text)) EXECUTE FUNCTION note_image();
CREATE TRIGGER images_take_along BEFORE DELETE ON images FOR EACH ROW EXECUTE FUNCTION take_along();

-- Whose an image is: its owners see and change it, and it goes with the last of them (docs/decisions/0029).
CREATE TABLE image_owners (
    image_id uuid NOT NULL,
    owner text NOT NULL,
    arrived_at timestamp with time zone NOT NULL,
    taken_at timestamp with time zone NOT NULL,
    added_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (image_id, owner),
    FOREIGN KEY (image_id) REFERENCES images(image_id) ON DELETE CASCADE
);
CREATE INDEX image_owners_of ON image_owners USING btree (owner, arrived_at DESC, image_id DESC);
CREATE INDEX image_owners_taken ON image_owners USING btree (owner, taken_at DESC, image_id DESC);
CREATE TRIGGER image_owners_noted AFTER INSERT OR DELETE OR UPDATE OF image_id, owner ON image_owners FOR EACH ROW EXECUTE FUNCTION note_owner();

-- Decisions about all images that a filter finds: made in small steps by upkeep, resumable after each.
CREATE TABLE image_changes (
    change_id uuid NOT NULL,
    owner text NOT NULL,
    acts_on_all boolean NOT NULL,
    asked jsonb NOT NULL,
    filter jsonb NOT NULL,
    change jsonb NOT NULL,
    state text NOT NULL,
    matches bigint NOT NULL,
    is_exact boolean NOT NULL,
    changed bigint NOT NULL DEFAULT 0,
    restored bigint NOT NULL DEFAULT 0,
    position uuid,
    error text,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    begins_at timestamp with time zone NOT NULL DEFAULT now(),
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    finished_at timestamp with time zone,
    PRIMARY KEY (change_id),
    CHECK ((state = ANY (ARRAY['waiting'::text, 'running'::text, 'done'::text, 'failed'::text, 'undoing'::text, 'undone'::text])))
);
CREATE INDEX image_changes_created ON image_changes USING btree (created_at DESC, change_id DESC);
CREATE INDEX image_changes_of_owner ON image_changes USING btree (owner, created_at DESC, change_id DESC);
CREATE INDEX image_changes_open ON image_changes USING btree (updated_at) WHERE (state = ANY (ARRAY['waiting'::text, 'running'::text, 'undoing'::text]));

-- What images were like before a change to many: for a week, to undo it.
CREATE TABLE image_change_rows (
    change_id uuid NOT NULL,
    image_id uuid NOT NULL,
    arrived_at timestamp with time zone NOT NULL,
    hand_tags jsonb,
    rejected_tags text[] NOT NULL,
    added_tags text[] NOT NULL,
    decided_by text,
    decided_at timestamp with time zone,
    changed_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (change_id, image_id),
    FOREIGN KEY (change_id) REFERENCES image_changes(change_id) ON DELETE CASCADE
);
CREATE INDEX image_change_rows_changed ON image_change_rows USING btree (changed_at);
CREATE INDEX image_change_rows_image ON image_change_rows USING btree (image_id);

-- Filters that people keep under a name: at most 100 of an owner.
CREATE TABLE saved_filters (
    owner text NOT NULL,
    name text NOT NULL,
    filter jsonb NOT NULL,
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, name)
);

-- The tags of images: the public table, readable by anybody's SQL.
CREATE TABLE tagged_images (
    id bigint NOT NULL DEFAULT nextval('tagged_images_id_seq'::regclass),
    image_path character varying(1000) NOT NULL,
    tags jsonb NOT NULL,
    exif_datetime timestamp without time zone,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    image_id uuid NOT NULL,
    sha256 bytea NOT NULL,
    width integer NOT NULL,
    height integer NOT NULL,
    model text NOT NULL,
    preprocessing text NOT NULL,
    label_version integer,
    top_k integer NOT NULL,
    model_tags jsonb,
    camera text,
    exif_source text,
    truncated boolean NOT NULL DEFAULT false,
    perceptual_hash bigint,
    text_lines bytea,
    PRIMARY KEY (id) INCLUDE (image_id),
    UNIQUE (image_id),
    FOREIGN KEY (image_id) REFERENCES images(image_id) ON DELETE CASCADE
);
CREATE INDEX tagged_images_camera ON tagged_images USING btree (camera) WHERE (camera IS NOT NULL);
CREATE INDEX tagged_images_newest ON tagged_images USING btree (COALESCE(exif_datetime, (created_at AT TIME ZONE 'UTC'::text)) DESC, id DESC);
CREATE INDEX tagged_images_sha256 ON tagged_images USING btree (sha256);
CREATE INDEX tagged_images_stale ON tagged_images USING btree (model, label_version, id) WHERE (label_version IS NOT NULL);
CREATE INDEX tagged_images_tags ON tagged_images USING gin (tags jsonb_path_ops);
CREATE TRIGGER tagged_images_noted AFTER INSERT OR DELETE OR UPDATE ON tagged_images FOR EACH ROW WHEN ((current_setting('photo_archive.keeps'::text, true) IS DISTINCT FROM 'on'::text)) EXECUTE FUNCTION note_tagged_image();
CREATE TRIGGER tagged_images_take_along BEFORE DELETE ON tagged_images FOR EACH ROW EXECUTE FUNCTION take_along();

-- What the model made of contents: tags are scored again from these.
CREATE TABLE embeddings (
    sha256 bytea NOT NULL,
    model text NOT NULL,
    preprocessing text NOT NULL,
    embedding halfvec NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (sha256, model, preprocessing)
);

-- The failure ledger: one row per image and reason, the newest attempt.
CREATE TABLE failures (
    image_id uuid NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    attempts integer NOT NULL DEFAULT 1,
    first_at timestamp with time zone NOT NULL DEFAULT now(),
    last_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (image_id, reason),
    FOREIGN KEY (image_id) REFERENCES images(image_id) ON DELETE CASCADE
);
CREATE INDEX failures_last ON failures USING btree (last_at);

-- What people decided about images that are alike.
CREATE TABLE duplicate_decisions (
    one bytea NOT NULL,
    other bytea NOT NULL,
    keep uuid,
    loser uuid,
    did_exclude boolean NOT NULL DEFAULT false,
    decided_by text NOT NULL,
    decided_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (one, other),
    CHECK ((one < other))
);
CREATE INDEX duplicate_decisions_loser ON duplicate_decisions USING btree (loser) WHERE (loser IS NOT NULL);
CREATE INDEX duplicate_decisions_newest ON duplicate_decisions USING btree (decided_at DESC, one DESC);
CREATE INDEX duplicate_decisions_other ON duplicate_decisions USING btree (other);

-- Arrivals of images that others must not wait for, with their records: worked off per owner in turn.
CREATE TABLE parked_images (
    image_id uuid NOT NULL,
    owner text,
    reason text NOT NULL,
    event_time timestamp with time zone NOT NULL,
    event_is_bulk boolean NOT NULL,
    topic text NOT NULL,
    part integer NOT NULL,
    log_offset bigint NOT NULL,
    cluster_id text NOT NULL,
    record_ms bigint NOT NULL,
    key bytea,
    headers jsonb NOT NULL,
    value bytea NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    parked_at timestamp with time zone NOT NULL DEFAULT now(),
    due_at timestamp with time zone NOT NULL DEFAULT now(),
    token uuid,
    PRIMARY KEY (image_id),
    FOREIGN KEY (image_id) REFERENCES images(image_id) ON DELETE CASCADE,
    CHECK ((reason = ANY (ARRAY['slow_picture'::text, 'large_picture'::text, 'slow_source'::text])))
);
CREATE INDEX parked_images_suspects ON parked_images USING btree (COALESCE(owner, ''::text), attempts, parked_at) WHERE (attempts > 0);
CREATE INDEX parked_images_turn ON parked_images USING btree (reason, COALESCE(owner, ''::text), event_is_bulk, parked_at) WHERE (attempts = 0);

-- Where the arrivals of parked images lie in the log: a query with the token of one waits for it.
CREATE TABLE parked_places (
    topic text NOT NULL,
    part integer NOT NULL,
    log_offset bigint NOT NULL,
    image_id uuid NOT NULL,
    PRIMARY KEY (topic, part, log_offset),
    FOREIGN KEY (image_id) REFERENCES parked_images(image_id) ON DELETE CASCADE
);
CREATE INDEX parked_places_image ON parked_places USING btree (image_id);

-- Directories whose photos are to be announced: leased, resumable.
CREATE TABLE jobs (
    job_id uuid NOT NULL,
    kind text NOT NULL,
    owner text,
    root text NOT NULL,
    directory text NOT NULL,
    options jsonb NOT NULL DEFAULT '{}'::jsonb,
    state text NOT NULL,
    total bigint,
    announced bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    skips jsonb NOT NULL DEFAULT '{}'::jsonb,
    position bytea NOT NULL DEFAULT '\x'::bytea,
    error text,
    lease_until timestamp with time zone,
    token uuid,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    finished_at timestamp with time zone,
    PRIMARY KEY (job_id),
    CHECK ((kind = ANY (ARRAY['directory'::text, 'records'::text]))),
    CHECK ((state = ANY (ARRAY['waiting'::text, 'running'::text, 'paused'::text, 'done'::text, 'failed'::text, 'cancelled'::text])))
);
CREATE INDEX jobs_created ON jobs USING btree (created_at DESC, job_id DESC);
CREATE INDEX jobs_finished ON jobs USING btree (finished_at) WHERE (finished_at IS NOT NULL);
CREATE INDEX jobs_of_owner ON jobs USING btree (owner, created_at DESC, job_id DESC);
CREATE INDEX jobs_open ON jobs USING btree (created_at) WHERE (state = ANY (ARRAY['waiting'::text, 'running'::text, 'paused'::text]));

-- What the filesystem bridge has seen: the watcher is a hint, this and a rescan are the truth.
CREATE TABLE watched_files (
    root text NOT NULL,
    relative_path bytea NOT NULL,
    size_bytes bigint NOT NULL,
    mtime_ns bigint NOT NULL,
    inode numeric(20,0) NOT NULL,
    device numeric(20,0) NOT NULL,
    sha256 bytea,
    image_id uuid NOT NULL,
    state text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    reason text,
    seen_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (root, relative_path),
    CHECK ((state = ANY (ARRAY['announced'::text, 'failing'::text, 'quarantined'::text, 'missing'::text])))
);
CREATE INDEX watched_files_sha256 ON watched_files USING btree (sha256) WHERE (sha256 IS NOT NULL);

-- Counts of images by tag, day, ratio, hour, camera and status, but for total_changes.
CREATE TABLE totals (
    kind text NOT NULL,
    audience text NOT NULL DEFAULT ''::text,
    key text NOT NULL,
    images bigint NOT NULL,
    amount bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, audience, key)
);

-- What was counted since the last folding: append-only.
CREATE TABLE total_changes (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL,
    audience text NOT NULL DEFAULT ''::text,
    key text NOT NULL,
    images bigint NOT NULL,
    amount bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (id)
);

-- All labels: the default set, and those that single images brought.
CREATE TABLE labels (
    id smallint NOT NULL,
    name text NOT NULL,
    folded text NOT NULL DEFAULT label_key(name),
    position integer,
    aliases jsonb NOT NULL DEFAULT '[]'::jsonb,
    templates jsonb NOT NULL DEFAULT '[]'::jsonb,
    threshold real,
    photos uuid[] NOT NULL DEFAULT '{}'::uuid[],
    by_words boolean NOT NULL DEFAULT true,
    PRIMARY KEY (id),
    UNIQUE (folded),
    UNIQUE (name)
);
CREATE INDEX labels_photos ON labels USING gin (photos) WHERE (photos <> '{}'::uuid[]);

-- What a model has learnt from the photos that teach labels, for one version of the labels (docs/decisions/0040).
CREATE TABLE label_means (
    label_id smallint NOT NULL,
    model text NOT NULL,
    version integer NOT NULL,
    photos integer NOT NULL,
    awaited integer NOT NULL,
    embedding halfvec,
    gain double precision NOT NULL,
    lift double precision NOT NULL,
    computed_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (label_id, model),
    FOREIGN KEY (label_id) REFERENCES labels(id) ON DELETE CASCADE
);

-- The version of the default labels: one row.
CREATE TABLE label_set (
    one boolean NOT NULL DEFAULT true,
    version integer NOT NULL,
    changed_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (one),
    CHECK (one)
);

-- Re-scoring after a label change: one row per model, for the newest version it was begun for.
CREATE TABLE rescoring (
    model text NOT NULL,
    version integer NOT NULL,
    total bigint NOT NULL,
    rescored bigint NOT NULL DEFAULT 0,
    keeper text NOT NULL DEFAULT ''::text,
    lease_until timestamp with time zone NOT NULL DEFAULT '-infinity'::timestamp with time zone,
    started_at timestamp with time zone NOT NULL DEFAULT now(),
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    finished_at timestamp with time zone,
    PRIMARY KEY (model)
);

-- What other labels would change: asked for by the HTTP face, made by a tagging process, which has the model.
CREATE TABLE label_previews (
    preview_id uuid NOT NULL,
    owner text NOT NULL,
    labels jsonb NOT NULL,
    sample integer NOT NULL,
    state text NOT NULL DEFAULT 'waiting'::text,
    attempts integer NOT NULL DEFAULT 0,
    lease_until timestamp with time zone NOT NULL DEFAULT '-infinity'::timestamp with time zone,
    outcome jsonb,
    error text,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    finished_at timestamp with time zone,
    PRIMARY KEY (preview_id),
    CHECK ((state = ANY (ARRAY['waiting'::text, 'done'::text, 'failed'::text])))
);
CREATE INDEX label_previews_waiting ON label_previews USING btree (created_at) WHERE (state = 'waiting'::text);

-- The tags of tagged_images, a row per tag, of images that are answers.
CREATE TABLE image_tags (
    image_id bigint NOT NULL,
    score integer NOT NULL,
    ts integer NOT NULL,
    label_id smallint NOT NULL,
    PRIMARY KEY (image_id, label_id) INCLUDE (score),
    FOREIGN KEY (image_id) REFERENCES tagged_images(id) ON DELETE CASCADE,
    FOREIGN KEY (label_id) REFERENCES labels(id)
);
CREATE INDEX image_tags_list ON image_tags USING btree (label_id, score, ts, image_id);
CREATE TRIGGER image_tags_emptied AFTER TRUNCATE ON image_tags FOR EACH STATEMENT EXECUTE FUNCTION forget_image_tags();
CREATE TRIGGER image_tags_noted AFTER INSERT OR DELETE OR UPDATE ON image_tags FOR EACH ROW WHEN ((current_setting('photo_archive.keeps'::text, true) IS DISTINCT FROM 'on'::text)) EXECUTE FUNCTION note_image_tag();

-- Images that somebody else changed: until upkeep has followed, queries read their tags themselves.
CREATE TABLE noted_images (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    image_id bigint NOT NULL,
    noted_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (id)
);
CREATE INDEX noted_images_image ON noted_images USING btree (image_id);

-- For every set of labels that occurs together, the best image, where no subset's image is better (docs/decisions/0011).
CREATE TABLE combo_best (
    key bytea NOT NULL,
    score integer NOT NULL,
    ts integer NOT NULL,
    image_id bigint,
    PRIMARY KEY (key)
);
CREATE INDEX combo_best_holes ON combo_best USING btree (key) WHERE (image_id IS NULL);
CREATE INDEX combo_best_image ON combo_best USING btree (image_id) WHERE (image_id IS NOT NULL);

-- Whether combo_best is complete, and up to which size of sets: one row.
CREATE TABLE combo_state (
    one boolean NOT NULL DEFAULT true,
    ready boolean NOT NULL DEFAULT true,
    max_size smallint NOT NULL DEFAULT 10,
    rebuilt_to bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (one),
    CHECK (one)
);

-- What is to be offered to combo_best again. Until it is done, the queries that it touches ask the images.
CREATE TABLE combo_work (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    image_id bigint,
    label_ids smallint[] NOT NULL,
    noted_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (id)
);

-- Queries: accepted, perhaps waiting for an upload, answered once.
CREATE TABLE queries (
    query_id uuid NOT NULL,
    owner text,
    text text NOT NULL,
    callback_url text NOT NULL,
    options jsonb NOT NULL DEFAULT '{}'::jsonb,
    fingerprint bytea,
    status text NOT NULL,
    answer jsonb,
    accepted_at timestamp with time zone NOT NULL DEFAULT now(),
    answered_at timestamp with time zone,
    deleted_at timestamp with time zone,
    PRIMARY KEY (query_id),
    CHECK ((status = ANY (ARRAY['accepted'::text, 'waiting'::text, 'answered'::text])))
);
CREATE INDEX queries_accepted ON queries USING btree (accepted_at DESC, query_id DESC);
CREATE INDEX queries_answered ON queries USING btree (answered_at) WHERE (status = 'answered'::text);
CREATE INDEX queries_of_image ON queries USING btree (((answer ->> 'image_id'::text)), owner, accepted_at DESC, query_id DESC) WHERE ((answer ->> 'image_id'::text) IS NOT NULL);
CREATE INDEX queries_of_owner ON queries USING btree (owner, accepted_at DESC, query_id DESC) WHERE (deleted_at IS NULL);
CREATE INDEX queries_tombstones ON queries USING btree (deleted_at) WHERE (deleted_at IS NOT NULL);
CREATE INDEX queries_unanswered ON queries USING btree (accepted_at DESC, query_id DESC) WHERE (status <> 'answered'::text);
CREATE INDEX queries_unusual ON queries USING btree (((answer ->> 'type'::text)), accepted_at DESC, query_id DESC) WHERE ((answer ->> 'type'::text) <> 'query.completed'::text);

-- Queries that wait for an upload to be tagged (option `after`).
CREATE TABLE parked_queries (
    query_id uuid NOT NULL,
    topic text,
    part integer,
    log_offset bigint,
    outbox_id bigint,
    event jsonb NOT NULL,
    parked_at timestamp with time zone NOT NULL DEFAULT now(),
    deadline timestamp with time zone NOT NULL,
    PRIMARY KEY (query_id),
    FOREIGN KEY (query_id) REFERENCES queries(query_id) ON DELETE CASCADE
);
CREATE INDEX parked_queries_deadline ON parked_queries USING btree (deadline);

-- The schedule of webhooks. Written by core/storage/delivery/deliveries.py and interventions.py alone.
CREATE TABLE deliveries (
    delivery_id uuid NOT NULL,
    query_id uuid NOT NULL,
    owner text,
    target text NOT NULL,
    url text NOT NULL,
    event jsonb NOT NULL,
    state text NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    next_at timestamp with time zone NOT NULL DEFAULT now(),
    lease_until timestamp with time zone,
    token uuid,
    reason text,
    waits_for text,  -- What next_at is from, where it is not from the start; whatever else a webhook waits for is known of its target.
    is_manual boolean NOT NULL DEFAULT false,
    planned_at timestamp with time zone,
    stopped_by text,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    finished_at timestamp with time zone,
    round integer NOT NULL DEFAULT 0,
    attempts_before integer NOT NULL DEFAULT 0,
    asked_at timestamp with time zone,
    line smallint NOT NULL DEFAULT ((hashtext(url) & 31))::smallint,
    sender text NOT NULL DEFAULT COALESCE(owner, ('	'::text || ((hashtext(url) & 31))::text)),
    PRIMARY KEY (delivery_id),
    CHECK ((state = ANY (ARRAY['due'::text, 'leased'::text, 'delivered'::text, 'dead'::text]))),
    CHECK ((waits_for = ANY (ARRAY['schedule'::text, 'retry_after'::text])))
);
CREATE INDEX deliveries_dead ON deliveries USING btree (host_of(target), finished_at) WHERE (state = 'dead'::text);
CREATE INDEX deliveries_due ON deliveries USING btree (target, sender, line, ((attempt > 0)), next_at) WHERE (state = 'due'::text);
CREATE INDEX deliveries_finished ON deliveries USING btree (finished_at) WHERE (finished_at IS NOT NULL);
CREATE INDEX deliveries_leased ON deliveries USING btree (lease_until) WHERE (state = 'leased'::text);
CREATE INDEX deliveries_next ON deliveries USING btree (next_at, query_id) WHERE ((state = 'due'::text) AND (round >= 0));
CREATE INDEX deliveries_open ON deliveries USING btree (created_at DESC, query_id DESC) WHERE ((state = ANY (ARRAY['due'::text, 'dead'::text])) AND (round >= 0));
CREATE INDEX deliveries_query ON deliveries USING btree (query_id, round DESC);

-- What came of each try to send a webhook.
CREATE TABLE attempts (
    delivery_id uuid NOT NULL,
    attempt integer NOT NULL,
    started_at timestamp with time zone NOT NULL,
    took_ms integer,
    status integer,
    error text,
    detail text,
    dns_ms integer,  -- Time to resolve the name; NULL, as the next two: there was no need.
    connect_ms integer,  -- Time to connect.
    tls_ms integer,  -- Time of the TLS handshake.
    wait_ms integer,  -- Time from the connection to the answer's status line.
    headers jsonb,
    body bytea,
    body_is_cut boolean,
    is_manual boolean NOT NULL DEFAULT false,
    PRIMARY KEY (delivery_id, attempt),
    FOREIGN KEY (delivery_id) REFERENCES deliveries(delivery_id) ON DELETE CASCADE,
    CHECK ((octet_length(body) <= 16384))
);

-- Whose webhooks are due at which target, now or later: when to look for them, and whose turn it is.
CREATE TABLE lanes (
    target text NOT NULL,
    sender text NOT NULL,
    line smallint NOT NULL,
    again boolean NOT NULL,
    due_at timestamp with time zone NOT NULL,
    served_at timestamp with time zone,
    touched xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (target, sender, line, again)
) WITH (fillfactor=50, autovacuum_vacuum_scale_factor=0.05);
CREATE INDEX lanes_due ON lanes USING btree (again, due_at);

-- Targets (scheme://host:port) that were disabled once, by a breaker or a person.
CREATE TABLE targets (
    target text NOT NULL,
    disabled_at timestamp with time zone,
    actor text NOT NULL,
    reason text NOT NULL DEFAULT ''::text,
    changed_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (target)
);

-- What operators did to targets, and breakers on their behalf.
CREATE TABLE target_events (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    target text NOT NULL,
    event text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL DEFAULT ''::text,
    at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (id),
    CHECK ((event = ANY (ARRAY['disabled'::text, 'resumed'::text])))
);
CREATE INDEX target_events_at ON target_events USING btree (at);
CREATE INDEX target_events_target ON target_events USING btree (target, id DESC);

-- What delivery processes know of targets, for people to see; the processes themselves do not read it.
CREATE TABLE target_health (
    target text NOT NULL,
    instance text NOT NULL,
    cap integer NOT NULL,
    in_flight integer NOT NULL,
    failures integer NOT NULL,
    is_half_open boolean NOT NULL,
    opened_until timestamp with time zone,
    paused_until timestamp with time zone,
    rated_until timestamp with time zone,
    last_ok_at timestamp with time zone,
    last_error text,
    last_error_at timestamp with time zone,
    p99_ms integer,
    updated_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (target, instance)
) WITH (fillfactor=50);
CREATE INDEX target_health_updated ON target_health USING btree (updated_at);

-- Callback addresses that are registered: each with a signing secret of its own, under the owner E'\tendpoint/<id>', which no owner of a key can be called.
CREATE TABLE endpoints (
    endpoint_id uuid NOT NULL,
    owner text NOT NULL,
    url text NOT NULL,
    name text NOT NULL DEFAULT ''::text,
    operator_events boolean NOT NULL DEFAULT false,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (endpoint_id),
    UNIQUE (owner, url)
);
CREATE INDEX endpoints_operator ON endpoints USING btree (endpoint_id) WHERE operator_events;

-- What operators were told of, so that each is told once (docs/decisions/0044).
CREATE TABLE operator_events (
    type text NOT NULL,
    subject text NOT NULL,
    event_id uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL DEFAULT now(),
    told_in xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (type, subject)
);
CREATE INDEX operator_events_seen ON operator_events USING btree (seen_at);

-- Addresses of the receiver in the box, and what each answers.
CREATE TABLE inboxes (
    token text NOT NULL,
    owner text NOT NULL,
    answer jsonb NOT NULL,
    received bigint NOT NULL DEFAULT 0,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (token)
);
CREATE INDEX inboxes_owner ON inboxes USING btree (owner, created_at);

-- What came to inboxes: the newest 100 of each, for a day.
CREATE TABLE inbox_posts (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    token text NOT NULL,
    at timestamp with time zone NOT NULL DEFAULT now(),
    webhook_id text,
    attempt_seen integer NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    body_bytes bigint NOT NULL,
    signature_ok boolean,
    type text,
    query_id uuid,
    image_id uuid,
    answered integer,
    PRIMARY KEY (id),
    FOREIGN KEY (token) REFERENCES inboxes(token) ON DELETE CASCADE,
    CHECK ((octet_length(body) <= 65536))
);
CREATE INDEX inbox_posts_at ON inbox_posts USING btree (at);
CREATE INDEX inbox_posts_of ON inbox_posts USING btree (token, id DESC);

-- Keys of the HTTP face.
CREATE TABLE api_keys (
    key_id text NOT NULL,
    owner text NOT NULL,
    name text NOT NULL DEFAULT ''::text,
    digest bytea NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    expires_at timestamp with time zone,
    last_used_at timestamp with time zone,
    revoked_at timestamp with time zone,
    PRIMARY KEY (key_id)
);
CREATE INDEX api_keys_owner ON api_keys USING btree (owner);

-- Who is signed in to the page, each with the rights of a key.
CREATE TABLE sessions (
    digest bytea NOT NULL,
    key_id text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    PRIMARY KEY (digest),
    FOREIGN KEY (key_id) REFERENCES api_keys(key_id) ON DELETE CASCADE
);
CREATE INDEX sessions_expires ON sessions USING btree (expires_at);
CREATE INDEX sessions_key ON sessions USING btree (key_id, expires_at);

-- Codes of one-time links that sign in to the page; a used one is gone.
CREATE TABLE session_codes (
    digest bytea NOT NULL,
    key_id text NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    PRIMARY KEY (digest),
    FOREIGN KEY (key_id) REFERENCES api_keys(key_id) ON DELETE CASCADE
);
CREATE INDEX session_codes_expires ON session_codes USING btree (expires_at);
CREATE INDEX session_codes_key ON session_codes USING btree (key_id, expires_at);

-- Answers to requests with an Idempotency-Key, for a day: asked again, they act no second time.
CREATE TABLE asked_once (
    owner text NOT NULL,
    operation text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    answer jsonb,
    asked_at timestamp with time zone NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, operation, key)
);
CREATE INDEX asked_once_at ON asked_once USING btree (asked_at);

-- Signing secrets of webhooks, one or more per owner; '' is the instance's own.
CREATE TABLE signing_secrets (
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    owner text NOT NULL,
    secret bytea NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT now(),
    expires_at timestamp with time zone,
    PRIMARY KEY (id)
);
CREATE INDEX signing_secrets_owner ON signing_secrets USING btree (owner, id DESC);

CREATE VIEW answer_tags AS
 SELECT t.id AS image_id,
    (e.tag ->> 'tag'::text) AS name,
    (round((((e.tag ->> 'score'::text))::numeric * (1000000)::numeric)))::integer AS score,
    recency(t.exif_datetime, t.created_at) AS ts
   FROM ((tagged_images t
     JOIN images i ON (((i.image_id = t.image_id) AND (i.status = 'tagged'::text) AND (NOT i.excluded))))
     CROSS JOIN LATERAL jsonb_array_elements(t.tags) e(tag));

CREATE VIEW current_tags AS
 SELECT s.image_id,
    s.score,
    s.ts,
    s.label_id
   FROM image_tags s
  WHERE (NOT (EXISTS ( SELECT
           FROM noted_images n
          WHERE (n.image_id = s.image_id))))
UNION ALL
 SELECT a.image_id,
    a.score,
    a.ts,
    l.id AS label_id
   FROM ((( SELECT DISTINCT noted_images.image_id
           FROM noted_images) n
     JOIN answer_tags a USING (image_id))
     JOIN labels l ON ((l.folded = label_key(a.name))));

CREATE VIEW excluded_tags AS
 SELECT t.id AS image_id,
    (round((((e.tag ->> 'score'::text))::numeric * (1000000)::numeric)))::integer AS score,
    recency(t.exif_datetime, t.created_at) AS ts,
    l.id AS label_id
   FROM (((images i
     JOIN tagged_images t ON ((t.image_id = i.image_id)))
     CROSS JOIN LATERAL jsonb_array_elements(t.tags) e(tag))
     JOIN labels l ON ((l.folded = label_key((e.tag ->> 'tag'::text)))))
  WHERE (i.excluded AND (i.status = 'tagged'::text));

CREATE OR REPLACE FUNCTION add_labels(tags jsonb)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
    IF EXISTS (SELECT FROM jsonb_array_elements(tags) t
               WHERE NOT EXISTS (SELECT FROM labels WHERE folded = label_key(t->>'tag')))
    THEN
        PERFORM pg_advisory_xact_lock(7303);
        INSERT INTO labels (id, name)
        SELECT id, name FROM (
            SELECT (SELECT coalesce(max(id), 0) FROM labels) + row_number() OVER () AS id, t->>'tag' AS name
            FROM jsonb_array_elements(tags) t
            WHERE NOT EXISTS (SELECT FROM labels WHERE folded = label_key(t->>'tag'))) AS new
        WHERE id <= 25000;
    END IF;
END $function$
;

CREATE OR REPLACE FUNCTION audiences_of(which uuid, open_to_all boolean)
 RETURNS text[]
 LANGUAGE sql
 STABLE
RETURN CASE WHEN open_to_all THEN ARRAY[''::text] ELSE ARRAY(SELECT '	closed'::text UNION ALL SELECT image_owners.owner FROM image_owners WHERE (image_owners.image_id = audiences_of.which)) END
;

CREATE OR REPLACE FUNCTION check_tags(id bigint, tags jsonb)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
BEGIN
    IF jsonb_typeof(tags) <> 'array' OR EXISTS (
        SELECT FROM jsonb_array_elements(tags) t
        WHERE CASE WHEN jsonb_typeof(t) = 'object' AND jsonb_typeof(t->'tag') = 'string'
                        AND jsonb_typeof(t->'score') = 'number'
                   THEN (t->>'score')::numeric NOT BETWEEN 0 AND 1
                        OR length(t->>'tag') > 200 OR t->>'tag' !~ '\S'
                   ELSE true END)
    THEN
        RAISE EXCEPTION 'tagged_images.tags of image %: not [{"tag": 1 to 200 characters, "score": 0 to 1}, ...]',
            id USING ERRCODE = 'check_violation';
    END IF;
    IF (SELECT count(*) <> count(DISTINCT label_key(t->>'tag')) FROM jsonb_array_elements(tags) t) THEN
        RAISE EXCEPTION 'tagged_images.tags of image %: a tag stands twice', id
            USING ERRCODE = 'check_violation';
    END IF;
END $function$
;

CREATE OR REPLACE FUNCTION count_tagged(which uuid, audiences text[], n integer)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
    t tagged_images;
BEGIN
    SELECT * INTO t FROM tagged_images WHERE image_id = which FOR SHARE;
    INSERT INTO total_changes (kind, audience, key, images, amount)
    SELECT kind, audience, key, n, n * amount FROM unnest(audiences) AS audience, (
        SELECT 'ratio', month_taken(t.exif_datetime, t.created_at), ratio_of(t.width, t.height)
        WHERE t.id IS NOT NULL
        UNION ALL
        SELECT 'camera', t.camera, 0 WHERE t.camera IS NOT NULL
        UNION ALL
        SELECT 'tag', label_id::text, score FROM image_tags WHERE image_tags.image_id = t.id
    ) AS c (kind, key, amount);
END $function$
;

CREATE OR REPLACE FUNCTION day_of(moment timestamp with time zone)
 RETURNS text
 LANGUAGE sql
 STABLE
RETURN to_char((moment AT TIME ZONE 'UTC'::text), 'YYYY-MM-DD'::text)
;

CREATE OR REPLACE FUNCTION folder_of(path text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN "left"(COALESCE("substring"(path, '^(.*)/'::text), ''::text), 500)
;

CREATE OR REPLACE FUNCTION forget_image_tags()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE
    emptied text[] := ARRAY['tag'];
BEGIN
    IF NOT EXISTS (SELECT FROM tagged_images) THEN
        emptied := emptied || ARRAY['ratio', 'camera'];
    END IF;
    IF NOT EXISTS (SELECT FROM images) THEN
        emptied := emptied || ARRAY['status', 'day'];
    END IF;
    DELETE FROM total_changes WHERE kind = ANY (emptied);
    DELETE FROM totals WHERE kind = ANY (emptied);
    UPDATE combo_state SET ready = false, rebuilt_to = 0;
    INSERT INTO noted_images (image_id) SELECT id FROM tagged_images;
    RETURN NULL;
END $function$
;

CREATE OR REPLACE FUNCTION host_of(target text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE STRICT
RETURN TRIM(BOTH '[]'::text FROM "substring"(target, '^[a-z]+://(.*):[0-9]+$'::text))
;

CREATE OR REPLACE FUNCTION hour_of(moment timestamp with time zone)
 RETURNS text
 LANGUAGE sql
 STABLE
RETURN to_char((moment AT TIME ZONE 'UTC'::text), 'YYYY-MM-DD"T"HH24'::text)
;

CREATE OR REPLACE FUNCTION label_key(name text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN btrim(regexp_replace(NORMALIZE(casefold((NORMALIZE(regexp_replace(name, '[\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]'::text, ''::text, 'g'::text), NFKC) COLLATE pg_unicode_fast)), NFKC), '[\s\u001c-\u001f\u0085]+'::text, ' '::text, 'g'::text))
;

CREATE OR REPLACE FUNCTION moment_taken(exif_datetime timestamp without time zone, arrived_at timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE
RETURN CASE WHEN ((exif_datetime AT TIME ZONE 'UTC'::text) <= now()) THEN (exif_datetime AT TIME ZONE 'UTC'::text) ELSE arrived_at END
;

CREATE OR REPLACE FUNCTION month_taken(exif_datetime timestamp without time zone, created_at timestamp with time zone)
 RETURNS text
 LANGUAGE sql
 STABLE
RETURN to_char(COALESCE(exif_datetime, (created_at AT TIME ZONE 'UTC'::text)), 'YYYY-MM'::text)
;

CREATE OR REPLACE FUNCTION note_image()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    IF (NEW.status, NEW.taken_at, NEW.open_to_all)
       IS DISTINCT FROM (OLD.status, OLD.taken_at, OLD.open_to_all) THEN
        INSERT INTO total_changes (kind, audience, key, images)
        SELECT kind, audience, key, sum(n)
        FROM (VALUES (NEW.image_id, NEW.open_to_all, NEW.status, NEW.taken_at, 1),
                     (OLD.image_id, OLD.open_to_all, OLD.status, OLD.taken_at, -1))
                 AS c (image_id, is_open, status, taken_at, n),
             unnest(audiences_of(image_id, is_open)) AS audience,
             LATERAL (SELECT 'status', status
                      UNION ALL SELECT 'day', day_of(taken_at) WHERE status <> 'deleted') AS k (kind, key)
        WHERE status IS NOT NULL
        GROUP BY kind, audience, key HAVING sum(n) <> 0;
        INSERT INTO changes (kind, ids) VALUES ('image', ARRAY[coalesce(NEW.image_id, OLD.image_id)]);
    END IF;
    IF TG_OP = 'UPDATE' AND NEW.open_to_all <> OLD.open_to_all THEN
        PERFORM count_tagged(OLD.image_id, audiences_of(OLD.image_id, OLD.open_to_all), -1);
        PERFORM count_tagged(NEW.image_id, audiences_of(NEW.image_id, NEW.open_to_all), 1);
    END IF;
    IF TG_OP = 'UPDATE' AND (NEW.status = 'tagged' AND NOT NEW.excluded)
                            <> (OLD.status = 'tagged' AND NOT OLD.excluded) THEN
        INSERT INTO noted_images (image_id)
        SELECT id FROM tagged_images WHERE image_id = NEW.image_id;
    END IF;
    RETURN NULL;
END $function$
;

CREATE OR REPLACE FUNCTION note_image_tag()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    INSERT INTO total_changes (kind, audience, key, images, amount)
    SELECT 'tag', audience, label_id::text, n, n * score
    FROM (VALUES (NEW.image_id, NEW.label_id, NEW.score, 1),
                 (OLD.image_id, OLD.label_id, OLD.score, -1)) AS c (number, label_id, score, n)
    JOIN tagged_images t ON t.id = number JOIN images i USING (image_id),
         unnest(audiences_of(i.image_id, i.open_to_all)) AS audience;
    INSERT INTO combo_work (image_id, label_ids)
    SELECT image_id, ARRAY[label_id]
    FROM (VALUES (NEW.image_id, NEW.label_id), (OLD.image_id, OLD.label_id)) AS c (image_id, label_id)
    WHERE label_id IS NOT NULL;
    INSERT INTO noted_images (image_id)
    SELECT id FROM tagged_images WHERE id IN (NEW.image_id, OLD.image_id);
    RETURN NULL;
END $function$
;

CREATE OR REPLACE FUNCTION note_owner()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
DECLARE
    c record;
BEGIN
    FOR c IN
        SELECT i.image_id, i.status, i.taken_at, v.owner, v.n
        FROM (VALUES (OLD.image_id, OLD.owner, -1), (NEW.image_id, NEW.owner, 1)) AS v (image_id, owner, n)
        JOIN images i ON i.image_id = v.image_id AND NOT i.open_to_all
        FOR SHARE OF i
    LOOP
        INSERT INTO total_changes (kind, audience, key, images)
        VALUES ('status', c.owner, c.status, c.n), ('day', c.owner, day_of(c.taken_at), c.n);
        PERFORM count_tagged(c.image_id, ARRAY[c.owner], c.n);
    END LOOP;
    RETURN NULL;
END $function$
;

CREATE OR REPLACE FUNCTION note_promotion()
 RETURNS bigint
 LANGUAGE plpgsql
AS $function$
DECLARE
    here_system int8;
    here_line   int8;
    is_first    boolean;
    is_other    boolean;
    had_all     boolean := coalesce(current_setting('photo_archive.loses_nothing', true), '') = 'on';
    -- Beyond what may have been given out, and elsewhere than another promotion from the same base.
    beyond      CONSTANT int8 := 1000000 * (1 + floor(random() * 100000)::int8);
    ids         text;
    next_id     int8;
BEGIN
    BEGIN
        here_system := (SELECT system_identifier FROM pg_control_system());
        here_line := ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int8;
    EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR undefined_function THEN
        RETURN NULL;  -- a service that tells nothing of its servers
    END;
    IF NOT EXISTS (SELECT FROM promotions p
                   WHERE (p.system_id, p.timeline) = (here_system, here_line)) THEN
        LOCK TABLE promotions IN SHARE ROW EXCLUSIVE MODE;
        is_first := NOT EXISTS (SELECT FROM promotions p WHERE p.system_id = here_system);
        is_other := NOT EXISTS (SELECT FROM promotions p
                                WHERE (p.system_id, p.timeline) = (here_system, here_line));
        IF is_other AND (is_first OR had_all) THEN
            INSERT INTO promotions (system_id, timeline, settled_at)
            VALUES (here_system, here_line, now());
        ELSIF is_other THEN
            FOR ids IN SELECT format('%I.%I', schemaname, sequencename)
                       FROM pg_sequences WHERE schemaname = current_schema() LOOP
                next_id := nextval(ids::regclass);
                PERFORM setval(ids::regclass, next_id + beyond);
            END LOOP;
            UPDATE progress SET epoch = epoch + beyond, owner = '', updated_at = now();
            INSERT INTO promotions (system_id, timeline, missing_since)
            VALUES (here_system, here_line,
                    coalesce(pg_last_xact_replay_timestamp(),
                             (SELECT max(seen_at) FROM heartbeats), now()));
        END IF;
    END IF;
    RETURN coalesce((SELECT max(p.id) FROM promotions p WHERE p.missing_since IS NOT NULL), 0);
END $function$
;

CREATE OR REPLACE FUNCTION note_tagged_image()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    IF TG_OP <> 'DELETE' AND (NEW.tags, NEW.exif_datetime, NEW.created_at, NEW.image_id)
                 IS DISTINCT FROM (OLD.tags, OLD.exif_datetime, OLD.created_at, OLD.image_id) THEN
        PERFORM check_tags(NEW.id, NEW.tags);
        PERFORM add_labels(NEW.tags);
        INSERT INTO noted_images (image_id) VALUES (NEW.id);
    END IF;
    INSERT INTO total_changes (kind, audience, key, images, amount)
    SELECT kind, audience, key, sum(n), sum(n * amount) FROM (
        SELECT NEW.image_id, 'ratio', month_taken(NEW.exif_datetime, NEW.created_at), 1,
               ratio_of(NEW.width, NEW.height)
        UNION ALL
        SELECT OLD.image_id, 'ratio', month_taken(OLD.exif_datetime, OLD.created_at), -1,
               ratio_of(OLD.width, OLD.height)
        UNION ALL
        SELECT NEW.image_id, 'camera', NEW.camera, 1, 0 WHERE NEW.camera IS NOT NULL
        UNION ALL
        SELECT OLD.image_id, 'camera', OLD.camera, -1, 0 WHERE OLD.camera IS NOT NULL
        UNION ALL
        SELECT NEW.image_id, 'hour', hour_of(NEW.updated_at), 1, 0
        WHERE NEW.updated_at IS DISTINCT FROM OLD.updated_at
    ) AS c (image_id, kind, key, n, amount) JOIN images i USING (image_id),
        unnest(audiences_of(i.image_id, i.open_to_all)) AS audience
    GROUP BY kind, audience, key HAVING sum(n) <> 0 OR sum(n * amount) <> 0;
    RETURN NULL;
END $function$
;

CREATE OR REPLACE FUNCTION ratio_of(width integer, height integer)
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN ((width > 0) AND (height > 0)) THEN (LEAST((65535)::bigint, GREATEST((1)::bigint, (((width * (1000)::bigint) + (height / 2)) / height))))::integer ELSE 0 END
;

CREATE OR REPLACE FUNCTION recency(exif_datetime timestamp without time zone, created_at timestamp with time zone)
 RETURNS integer
 LANGUAGE sql
 STABLE
RETURN (GREATEST(('-2147483648'::integer)::numeric, LEAST((2147483647)::numeric, floor((EXTRACT(epoch FROM CASE WHEN ((exif_datetime AT TIME ZONE 'UTC'::text) <= now()) THEN (exif_datetime AT TIME ZONE 'UTC'::text) ELSE created_at END) - EXTRACT(epoch FROM '2000-01-01 00:00:00+00'::timestamp with time zone))))))::integer
;

CREATE OR REPLACE FUNCTION shown_tags(model jsonb, hand_tags jsonb, rejected text[], added text[])
 RETURNS jsonb
 LANGUAGE sql
 IMMUTABLE
RETURN CASE WHEN (hand_tags IS NOT NULL) THEN hand_tags WHEN ((rejected = '{}'::text[]) AND (added = '{}'::text[])) THEN model ELSE (SELECT COALESCE(jsonb_agg(both_kinds.tag ORDER BY both_kinds.is_added DESC, both_kinds.n), '[]'::jsonb) AS "coalesce" FROM (SELECT jsonb_build_object('tag', a.name, 'score', 1) AS jsonb_build_object, true AS "?column?", a.n FROM unnest(shown_tags.added) WITH ORDINALITY a(name, n) UNION ALL SELECT m.tag, false, m.n FROM jsonb_array_elements(shown_tags.model) WITH ORDINALITY m(tag, n) WHERE (((m.tag ->> 'tag'::text) <> ALL (shown_tags.rejected)) AND ((m.tag ->> 'tag'::text) <> ALL (shown_tags.added)))) both_kinds(tag, is_added, n)) END
;

CREATE OR REPLACE FUNCTION take_along()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    IF TG_TABLE_NAME = 'images' THEN
        DELETE FROM tagged_images WHERE image_id = OLD.image_id;
        DELETE FROM image_owners WHERE image_id = OLD.image_id;
    ELSE
        DELETE FROM image_tags WHERE image_id = OLD.id;
        DELETE FROM noted_images WHERE image_id = OLD.id;
    END IF;
    RETURN OLD;
END $function$
;
