-- The whole schema. docs/schema.sql is made from a database that this file made.
--
-- Rules live in statements (core/storage), not here. The triggers are for SQL typed by hand and for
-- writers of one image: they check, count and note, and upkeep follows (docs/decisions/0017, 0029).

CREATE EXTENSION IF NOT EXISTS vector;


-- stream: where consumers stand, what leaves, what could not be processed ----------------------

CREATE TABLE progress (
    grp              text        NOT NULL,
    topic            text        NOT NULL,
    part             int4        NOT NULL,
    next_offset      int8        NOT NULL,
    epoch            int8        NOT NULL DEFAULT 1,
    owner            text        NOT NULL DEFAULT '',  -- '' while released cleanly
    cluster_id       text        NOT NULL DEFAULT '',
    topic_id         text        NOT NULL DEFAULT '',
    claimed_offset   int8        NOT NULL DEFAULT -1,  -- next_offset at the last claim: an unclean
                                                       -- death without progress shows
    attempted_offset int8        NOT NULL DEFAULT -1,  -- the record at work while they are taken
                                                       -- one by one: a death is blamed on it alone
    isolate_until    int8        NOT NULL DEFAULT -1,  -- records up to here are taken one by one
    crashes          int4        NOT NULL DEFAULT 0,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (grp, topic, part)
) WITH (fillfactor = 50);
COMMENT ON TABLE progress IS 'Where each consumer group stands in each partition, and who may move it.';

CREATE TABLE members (
    grp        text        NOT NULL,
    instance   text        NOT NULL,
    member_id  text        NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (grp, instance)
);
COMMENT ON TABLE members IS
    'Kafka''s member id of each running instance, so that its next incarnation can evict it.';

CREATE TABLE outbox (
    id         int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic      text        NOT NULL,
    key        bytea,
    headers    jsonb       NOT NULL,  -- [[name, base64 of the value], ...]
    value      bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outbox_age ON outbox (created_at, id);
COMMENT ON TABLE outbox IS 'Events that are to leave: written with what they tell of, published after the commit.';

CREATE TABLE outbox_places (
    outbox_id    int8 PRIMARY KEY,
    topic        text        NOT NULL,
    part         int4        NOT NULL,
    log_offset   int8        NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX outbox_places_published ON outbox_places (published_at);
COMMENT ON TABLE outbox_places IS
    'Where the sweeper put an arrival whose token could only name its outbox id.';

-- A server that was promoted (or restored to a moment) has a timeline of its own; what committed
-- behind the point where it left the old one is forgotten, unless it had been waited for.
CREATE TABLE promotions (
    id             int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    system_id      int8        NOT NULL,  -- of the cluster: a dump goes into another one
    timeline       int8        NOT NULL,
    noted_at       timestamptz NOT NULL DEFAULT now(),
    missing_since  timestamptz,           -- the last commit that it had; NULL: nothing is missing
    settled_at     timestamptz,           -- when Kafka's log was asked what it testifies
    answers_kept   int8        NOT NULL DEFAULT 0,
    UNIQUE (system_id, timeline)
);
COMMENT ON TABLE promotions IS
    'The servers that this archive has lived on, and what each had forgotten (docs/decisions/0048).';

CREATE TABLE forgotten (
    promotion int8 NOT NULL REFERENCES promotions (id) ON DELETE CASCADE,
    kind      text NOT NULL CHECK (kind IN ('image', 'query')),
    id        uuid NOT NULL,
    detail    text NOT NULL,
    PRIMARY KEY (promotion, kind, id)
);
COMMENT ON TABLE forgotten IS
    'What Kafka testifies and a promoted server has no row of: done again, without what only the row knew.';

-- Called by each new connection before its first use. The first one on a timeline notes it, and
-- lets nothing be given out twice: epochs, and the ids that tokens name. Returns the newest
-- promotion that forgot anything: a process that remembers more than the database must end. NULL:
-- promotions cannot be seen here.
CREATE FUNCTION note_promotion() RETURNS int8 LANGUAGE plpgsql AS $$
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
END $$;


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
    same        bytea,  -- of an arrival: what it says; one that says the same again takes its place
    UNIQUE (grp, topic, part, log_offset, cluster_id)
);
CREATE INDEX dead_letters_same ON dead_letters (same) WHERE same IS NOT NULL AND replayed_at IS NULL;
CREATE INDEX dead_letters_open ON dead_letters (topic, id) WHERE replayed_at IS NULL;
CREATE INDEX dead_letters_newest ON dead_letters (id) WHERE replayed_at IS NULL;
CREATE INDEX dead_letters_of_reason ON dead_letters (reason, id) WHERE replayed_at IS NULL;
CREATE INDEX dead_letters_created ON dead_letters (created_at);
COMMENT ON TABLE dead_letters IS 'Records that could not be decoded or processed, as they were.';

CREATE TABLE heartbeats (
    role           text        NOT NULL,
    instance       text        NOT NULL,
    started_at     timestamptz NOT NULL DEFAULT now(),
    seen_at        timestamptz NOT NULL DEFAULT now(),
    progressed_at  timestamptz,
    oldest_waiting timestamptz,  -- since when the oldest piece of work waits; NULL: none, or unknown
    waiting        int8,         -- pieces of work that wait; NULL: unknown
    still_s        real        NOT NULL DEFAULT 0,   -- no progress for so long although work waits
    rates          jsonb       NOT NULL DEFAULT '{}',
    about          jsonb       NOT NULL DEFAULT '{}',  -- model, lane, halted partitions, what is away
    stopped_at     timestamptz,  -- as asked; NULL: it runs, or fell silent
    PRIMARY KEY (role, instance)
) WITH (fillfactor = 50);
COMMENT ON TABLE heartbeats IS
    'What each part of each process says of itself every 5 s: for /health, /stats/pipeline and alarms.';

-- A ring: 60 slots of 15 s per stage. It outlives restarts, and never grows.
CREATE TABLE stage_trends (
    stage     text        NOT NULL,
    slot      int2        NOT NULL,
    at        timestamptz NOT NULL,  -- begin of the 15 s
    oldest_s  real        NOT NULL,  -- the longest wait that was seen in them
    PRIMARY KEY (stage, slot)
) WITH (fillfactor = 50);
COMMENT ON TABLE stage_trends IS 'How long the oldest piece of work of each stage waited, for the last 15 min.';

CREATE TABLE changes (
    xid      xid8        NOT NULL DEFAULT pg_current_xact_id(),
    kind     text        NOT NULL CHECK (kind IN ('image', 'query')),
    ids      uuid[]      NOT NULL,
    gone_for text,  -- an owner who has these no more ('': whoever sees what is open to all); NULL: nobody
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX changes_xid ON changes (xid);
COMMENT ON TABLE changes IS
    'Which images and queries a transaction changed, for those who watch: two minutes of them (docs/decisions/0032).';

CREATE TABLE leases (
    name        text PRIMARY KEY,
    keeper      text        NOT NULL,
    lease_until timestamptz NOT NULL
);
COMMENT ON TABLE leases IS 'Work that one process does at a time: who, and until when.';


-- archive: images, their tags, what people decided -----------------------------------------------

CREATE TABLE blobs (
    sha256     bytea PRIMARY KEY,
    size_bytes int8        NOT NULL,
    content    bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE blobs ALTER COLUMN content SET STORAGE EXTERNAL;  -- photos do not compress
COMMENT ON TABLE blobs IS 'Bytes kept in PostgreSQL, under their SHA-256.';

-- What is missing here is made again when somebody asks for it: rows may go at any time.
CREATE TABLE thumbs (
    sha256     bytea NOT NULL,  -- of the picture that it shows
    size       text  NOT NULL CHECK (size IN ('small', 'large')),
    content    bytea NOT NULL,  -- JPEG
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sha256, size)
);
CREATE INDEX thumbs_large ON thumbs (created_at) WHERE size = 'large';
ALTER TABLE thumbs ALTER COLUMN content SET STORAGE EXTERNAL;
COMMENT ON TABLE thumbs IS
    'Thumbnails, where bytes are kept in PostgreSQL: in no backup (docs/decisions/0033).';

-- What names of labels that look the same have in common: schemas/names.py says the same in Python.
CREATE FUNCTION label_key(name text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN
    btrim(regexp_replace(normalize(casefold(normalize(
        regexp_replace(name, '[\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]', '', 'g'),
        NFKC) COLLATE pg_unicode_fast), NFKC), '[\s\u001c-\u001f\u0085]+', ' ', 'g'));

-- Width by height in thousandths; 0 where it is unknown.
CREATE FUNCTION ratio_of(width int4, height int4) RETURNS int4 LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN width > 0 AND height > 0
            THEN least(65535, greatest(1, (width * 1000::int8 + height / 2) / height))::int4
            ELSE 0 END;

-- When a photo was taken, as far as it is known: a shot in the future is a clock that runs ahead.
CREATE FUNCTION moment_taken(exif_datetime timestamp, arrived_at timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE RETURN
    CASE WHEN exif_datetime AT TIME ZONE 'UTC' <= now() THEN exif_datetime AT TIME ZONE 'UTC'
         ELSE arrived_at END;

-- The tags that an image shows: core/storage/deciding/decisions.py says the same in Python.
CREATE FUNCTION shown_tags(model jsonb, hand_tags jsonb, rejected text[], added text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE RETURN
    CASE WHEN hand_tags IS NOT NULL THEN hand_tags
         WHEN rejected = '{}' AND added = '{}' THEN model
         ELSE (SELECT coalesce(jsonb_agg(tag ORDER BY is_added DESC, n), '[]') FROM (
             SELECT jsonb_build_object('tag', name, 'score', 1), true, n
             FROM unnest(added) WITH ORDINALITY AS a (name, n)
             UNION ALL
             SELECT tag, false, n FROM jsonb_array_elements(model) WITH ORDINALITY AS m (tag, n)
             WHERE tag->>'tag' <> ALL (rejected) AND tag->>'tag' <> ALL (added)
         ) AS both_kinds (tag, is_added, n)) END;

-- The folder in a path, '' where it has none. Cut, since an index takes some 2,700 bytes of a value.
CREATE FUNCTION folder_of(path text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN left(coalesce(substring(path FROM '^(.*)/'), ''), 500);

-- What people decide (excluded, tags by hand, a deletion) stands here and not in tagged_images: it
-- belongs to the image, not to one tagging of it, and outlives tagging again and re-scoring.
CREATE TABLE images (
    image_id   uuid PRIMARY KEY,
    uri        text        NOT NULL,
    path       text        NOT NULL,  -- whole; tagged_images.image_path is cut at 1,000 characters
    media_type text,
    size_bytes int8,
    sha256     bytea,
    status     text        NOT NULL CHECK (status IN ('accepted', 'tagged', 'failed', 'missing', 'deleted')),
    reason     text,
    detail     text,
    job_id     uuid,
    event_time timestamptz,           -- of the arrival that the tags come from, as the event says it
    event_is_bulk boolean  NOT NULL DEFAULT false,  -- it came by images.bulk.v1
    arrived_at timestamptz NOT NULL DEFAULT now(),
    taken_at   timestamptz NOT NULL DEFAULT now(),  -- moment_taken() of its last tagging
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    deleted_content bytea,            -- what tells whether a file is the deleted one: SHA-256 of id and content's hash
    excluded   boolean     NOT NULL DEFAULT false,  -- never an answer: no rows in image_tags
    hand_tags  jsonb,                 -- shown in place of all others; NULL: the model's are shown,
    rejected_tags text[]   NOT NULL DEFAULT '{}',  -- but for these,
    added_tags text[]      NOT NULL DEFAULT '{}',  -- and these beside them, surest of all
    decided_by text,                  -- who last set tags by hand, excluded or deleted it
    decided_at timestamptz,
    open_to_all boolean    NOT NULL DEFAULT true,  -- announced without a key: every key that may read sees it
    ratio       int4        NOT NULL DEFAULT 0,        -- ratio_of() its width and height
    colour      int4,                                  -- mean of the picture in sRGB, 0xRRGGBB
    by_hand     boolean     GENERATED ALWAYS AS (hand_tags IS NOT NULL OR added_tags <> '{}') STORED,
    moved_to    uuid                               -- where the photo of a missing file is now
);
-- By the time too: how fast a job goes is what was tagged of it in the last minute.
CREATE INDEX images_job ON images (job_id, status, updated_at, image_id) WHERE job_id IS NOT NULL;
CREATE INDEX images_sha256 ON images (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX images_arrived ON images (open_to_all, arrived_at DESC, image_id DESC);
-- With all that a month of the timeline shows: it is read from the index alone.
CREATE INDEX images_taken ON images (open_to_all, taken_at DESC, image_id DESC)
    INCLUDE (status, excluded, by_hand, ratio, colour);
CREATE INDEX images_folder ON images (open_to_all, folder_of(path) COLLATE "C");  -- what lies below one is a range
CREATE INDEX images_unfinished ON images (status, arrived_at DESC, image_id DESC)
    WHERE status IN ('accepted', 'failed', 'missing');
CREATE INDEX images_excluded ON images (image_id) WHERE excluded;
CREATE INDEX images_tagged_by_hand ON images (image_id) WHERE hand_tags IS NOT NULL OR added_tags <> '{}';
CREATE INDEX images_tombstones ON images (deleted_at) WHERE status = 'deleted';
COMMENT ON TABLE images IS 'What is known of an image from the moment it is accepted.';
COMMENT ON COLUMN images.event_time IS
    'Of two arrivals of one image the one made later wins; of equal times the one not in bulk.';

CREATE TABLE image_owners (
    image_id   uuid        NOT NULL REFERENCES images (image_id) ON DELETE CASCADE,
    owner      text        NOT NULL,
    arrived_at timestamptz NOT NULL,  -- the image's, as the next, so that an index lists what is
    taken_at   timestamptz NOT NULL,  -- an owner's
    added_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (image_id, owner)
);
CREATE INDEX image_owners_of ON image_owners (owner, arrived_at DESC, image_id DESC);
CREATE INDEX image_owners_taken ON image_owners (owner, taken_at DESC, image_id DESC);
COMMENT ON TABLE image_owners IS
    'Whose an image is: its owners see and change it, and it goes with the last of them (docs/decisions/0029).';

CREATE TABLE image_changes (
    change_id   uuid PRIMARY KEY,
    owner       text        NOT NULL,
    acts_on_all boolean     NOT NULL,  -- an administrator's: of whoever the images are
    asked       jsonb       NOT NULL,  -- the filter as it was sent
    filter      jsonb       NOT NULL,  -- what it meant then (core/storage/finding/filters.py)
    change      jsonb       NOT NULL,
    state       text        NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed', 'undoing', 'undone')),
    matches     int8        NOT NULL,  -- images that the filter found when it was sent,
    is_exact    boolean     NOT NULL,  -- counted up to a bound
    changed     int8        NOT NULL DEFAULT 0,
    restored    int8        NOT NULL DEFAULT 0,
    position    uuid,                  -- the last image looked at, in this direction
    error       text,                  -- where it failed
    created_at  timestamptz NOT NULL DEFAULT now(),
    begins_at   timestamptz NOT NULL DEFAULT now(),  -- until then a deletion, too, can be taken back
    updated_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
CREATE INDEX image_changes_open ON image_changes (updated_at) WHERE state IN ('waiting', 'running', 'undoing');
CREATE INDEX image_changes_created ON image_changes (created_at DESC, change_id DESC);
CREATE INDEX image_changes_of_owner ON image_changes (owner, created_at DESC, change_id DESC);
COMMENT ON TABLE image_changes IS
    'Decisions about all images that a filter finds: made in small steps by upkeep, resumable after each.';

CREATE TABLE image_change_rows (
    change_id     uuid        NOT NULL REFERENCES image_changes (change_id) ON DELETE CASCADE,
    image_id      uuid        NOT NULL,
    arrived_at    timestamptz NOT NULL,  -- tells the image from one that came back after a deletion
    hand_tags     jsonb,                 -- this, and what follows, as it was before
    rejected_tags text[]      NOT NULL,
    added_tags    text[]      NOT NULL,
    decided_by    text,
    decided_at    timestamptz,
    changed_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (change_id, image_id)
);
CREATE INDEX image_change_rows_image ON image_change_rows (image_id);
CREATE INDEX image_change_rows_changed ON image_change_rows (changed_at);
COMMENT ON TABLE image_change_rows IS 'What images were like before a change to many: for a week, to undo it.';

CREATE TABLE saved_filters (
    owner      text        NOT NULL,
    name       text        NOT NULL,
    filter     jsonb       NOT NULL,  -- as it was sent
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, name)
);
COMMENT ON TABLE saved_filters IS 'Filters that people keep under a name: at most 100 of an owner.';

CREATE TABLE tagged_images (
    id              bigserial,
    image_path      varchar(1000) NOT NULL,  -- images.path, cut
    tags            jsonb       NOT NULL,    -- [{"tag": text, "score": 0 to 1}, ...], best first
    exif_datetime   timestamp,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    image_id        uuid        NOT NULL UNIQUE REFERENCES images (image_id) ON DELETE CASCADE,
    sha256          bytea       NOT NULL,
    width           int4        NOT NULL,
    height          int4        NOT NULL,
    model           text        NOT NULL,
    preprocessing   text        NOT NULL,
    label_version   int4,       -- NULL: the image has its own labels, re-scoring leaves it alone
    top_k           int4        NOT NULL,
    model_tags      jsonb,      -- what the model says where people decided about `tags`
    camera          text,       -- maker and model by EXIF
    exif_source     text,       -- where exif_datetime comes from: DateTimeOriginal, DateTimeDigitized,
                                -- ModifyDate, XMP, IPTC or GPS
    truncated       boolean     NOT NULL DEFAULT false,  -- the file ends before the picture does
    perceptual_hash int8,       -- 63 bits (core/vision/perceptual.py); 0: too flat to be judged by
                                -- them. No index finds hashes that differ by a few bits
    text_lines      bytea,      -- 8 bytes for each line of a page of text (core/vision/decoding/
                                -- writing/lines.py); NULL: no such page
    PRIMARY KEY (id) INCLUDE (image_id)  -- from tags to images without the wide rows between
);
CREATE INDEX tagged_images_tags ON tagged_images USING gin (tags jsonb_path_ops);
CREATE INDEX tagged_images_newest ON tagged_images (coalesce(exif_datetime, created_at AT TIME ZONE 'UTC') DESC, id DESC);
CREATE INDEX tagged_images_sha256 ON tagged_images (sha256);
CREATE INDEX tagged_images_camera ON tagged_images (camera) WHERE camera IS NOT NULL;
CREATE INDEX tagged_images_stale ON tagged_images (model, label_version, id)
    WHERE label_version IS NOT NULL;
COMMENT ON TABLE tagged_images IS 'The tags of images: the public table, readable by anybody''s SQL.';

CREATE TABLE embeddings (
    sha256        bytea   NOT NULL,
    model         text    NOT NULL,
    preprocessing text    NOT NULL,
    embedding     halfvec NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sha256, model, preprocessing)
);
COMMENT ON TABLE embeddings IS 'What the model made of contents: tags are scored again from these.';

CREATE TABLE failures (
    image_id uuid        NOT NULL REFERENCES images (image_id) ON DELETE CASCADE,
    reason   text        NOT NULL,
    detail   text        NOT NULL,
    attempts int4        NOT NULL DEFAULT 1,
    first_at timestamptz NOT NULL DEFAULT now(),
    last_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (image_id, reason)
);
CREATE INDEX failures_last ON failures (last_at);
COMMENT ON TABLE failures IS 'The failure ledger: one row per image and reason, the newest attempt.';

-- Between contents, so that a decision outlives a file's move and every tagging; of copies with the
-- same bytes between the images themselves, and it follows the one that moves (core/storage/archive/moving.py).
CREATE TABLE duplicate_decisions (
    one        bytea       NOT NULL,  -- SHA-256 of the contents, or the ids of the images: the lesser
    other      bytea       NOT NULL,
    keep       uuid,                  -- the image that stays in answers; NULL: both
    loser      uuid,                  -- the other one, which may be no answer
    did_exclude boolean    NOT NULL DEFAULT false,  -- this decision excluded it, and nobody had before
    decided_by text        NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (one, other),
    CHECK (one < other)
);
CREATE INDEX duplicate_decisions_other ON duplicate_decisions (other);
CREATE INDEX duplicate_decisions_loser ON duplicate_decisions (loser) WHERE loser IS NOT NULL;
CREATE INDEX duplicate_decisions_newest ON duplicate_decisions (decided_at DESC, one DESC);
COMMENT ON TABLE duplicate_decisions IS 'What people decided about images that are alike.';

-- Each row ends by itself: tagged, failed, replaced, or deleted with its image. No pruner.
CREATE TABLE parked_images (
    image_id    uuid PRIMARY KEY REFERENCES images (image_id) ON DELETE CASCADE,
    owner       text,
    reason      text        NOT NULL CHECK (reason IN ('slow_picture', 'large_picture', 'slow_source')),
    event_time  timestamptz NOT NULL,  -- of the arrival, as the event says it
    event_is_bulk boolean   NOT NULL,  -- of equal times the fresh arrival counts
    topic       text        NOT NULL,
    part        int4        NOT NULL,
    log_offset  int8        NOT NULL,
    cluster_id  text        NOT NULL,
    record_ms   int8        NOT NULL,  -- the record's timestamp
    key         bytea,
    headers     jsonb       NOT NULL,
    value       bytea       NOT NULL,
    attempts    int4        NOT NULL DEFAULT 0,
    parked_at   timestamptz NOT NULL DEFAULT now(),
    due_at      timestamptz NOT NULL DEFAULT now(),  -- when leased: when the lease ends
    token       uuid                   -- of the present lease
);
CREATE INDEX parked_images_turn ON parked_images (reason, coalesce(owner, ''), event_is_bulk, parked_at)
    WHERE attempts = 0;
CREATE INDEX parked_images_suspects ON parked_images (coalesce(owner, ''), attempts, parked_at) WHERE attempts > 0;
COMMENT ON TABLE parked_images IS
    'Arrivals of images that others must not wait for, with their records: worked off per owner in turn.';

CREATE TABLE parked_places (
    topic      text NOT NULL,
    part       int4 NOT NULL,
    log_offset int8 NOT NULL,
    image_id   uuid NOT NULL REFERENCES parked_images (image_id) ON DELETE CASCADE,
    PRIMARY KEY (topic, part, log_offset)
);
CREATE INDEX parked_places_image ON parked_places (image_id);
COMMENT ON TABLE parked_places IS
    'Where the arrivals of parked images lie in the log: a query with the token of one waits for it.';

CREATE TABLE jobs (
    job_id      uuid PRIMARY KEY,
    kind        text        NOT NULL CHECK (kind IN ('directory', 'records')),
                                       -- records: of direct producers, counted as they are done
    owner       text,
    root        text        NOT NULL,
    directory   text        NOT NULL,  -- relative to the root
    options     jsonb       NOT NULL DEFAULT '{}',
    state       text        NOT NULL CHECK (state IN ('waiting', 'running', 'paused', 'done', 'failed', 'cancelled')),
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
CREATE INDEX jobs_open ON jobs (created_at) WHERE state IN ('waiting', 'running', 'paused');
CREATE INDEX jobs_created ON jobs (created_at DESC, job_id DESC);
CREATE INDEX jobs_of_owner ON jobs (owner, created_at DESC, job_id DESC);
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
COMMENT ON TABLE jobs IS 'Directories whose photos are to be announced: leased, resumable.';

CREATE TABLE watched_files (
    root          text        NOT NULL,
    relative_path bytea       NOT NULL,  -- bytes: names need not be UTF-8
    size_bytes    int8        NOT NULL,
    mtime_ns      int8        NOT NULL,
    inode         numeric(20) NOT NULL,  -- unsigned 64 bits
    device        numeric(20) NOT NULL,  -- of its directory: tells unmounted from gone
    sha256        bytea,
    image_id      uuid        NOT NULL,
    state         text        NOT NULL CHECK (state IN ('announced', 'failing', 'quarantined', 'missing')),
    attempts      int4        NOT NULL DEFAULT 0,
    reason        text,
    seen_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (root, relative_path)
);
CREATE INDEX watched_files_sha256 ON watched_files (sha256) WHERE sha256 IS NOT NULL;
COMMENT ON TABLE watched_files IS
    'What the filesystem bridge has seen: the watcher is a hint, this and a rescan are the truth.';

-- Counts that pages ask for again and again. Whoever changes images appends to total_changes, so
-- that writers never wait for each other's counters; upkeep folds these into totals. A reader adds
-- both up.
--   tag      key: label id              images, amount: sum of scores in millionths
--   day      key: YYYY-MM-DD UTC        images taken then (images.taken_at), but deleted ones
--   ratio    key: YYYY-MM taken (EXIF, else added)    images with tags, amount: sum of ratio_of()
--   hour     key: YYYY-MM-DDTHH UTC     images tagged or tagged again in that hour
--   camera   key: the camera            images that have one
--   status   key: images.status
-- Each image counts for its audiences (audiences_of): '' where it is open to all, else E'\tclosed',
-- which no owner can be called, and each of its owners. Who may see all adds up the first two; a key
-- adds up '' and its owner's.
CREATE TABLE totals (
    kind     text NOT NULL,
    audience text NOT NULL DEFAULT '',
    key      text NOT NULL,
    images   int8 NOT NULL,
    amount   int8 NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, audience, key)
);
COMMENT ON TABLE totals IS 'Counts of images by tag, day, ratio, hour, camera and status, but for total_changes.';
CREATE TABLE total_changes (
    id       int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind     text NOT NULL,
    audience text NOT NULL DEFAULT '',
    key      text NOT NULL,
    images   int8 NOT NULL,
    amount   int8 NOT NULL DEFAULT 0
);
COMMENT ON TABLE total_changes IS 'What was counted since the last folding: append-only.';


-- scoring: labels, previews of other labels, the re-scoring after a change ------------------------

CREATE TABLE labels (
    id        int2 PRIMARY KEY,  -- max + 1 under a lock: a sequence would burn its 32,767 values
    name      text   NOT NULL UNIQUE,
    folded    text   NOT NULL GENERATED ALWAYS AS (label_key(name)) STORED UNIQUE,
    position  int4,              -- NULL: only single images brought it, it is in no default set
    aliases   jsonb  NOT NULL DEFAULT '[]',
    templates jsonb  NOT NULL DEFAULT '[]',
    threshold real,
    photos    uuid[] NOT NULL DEFAULT '{}',   -- the images that teach it; a deleted one leaves at once
    by_words  boolean NOT NULL DEFAULT true   -- false: its photos alone say what it is
);
CREATE INDEX labels_photos ON labels USING gin (photos) WHERE photos <> '{}';
COMMENT ON TABLE labels IS 'All labels: the default set, and those that single images brought.';

-- A deleted photo stays in the mean until the labels change: tags are scored again by then.
CREATE TABLE label_means (
    label_id    int2        NOT NULL REFERENCES labels (id) ON DELETE CASCADE,
    model       text        NOT NULL,
    version     int4        NOT NULL,  -- of the label set that it belongs to
    photos      int4        NOT NULL,  -- so many are in the mean
    awaited     int4        NOT NULL,  -- so many are to be tagged by this model first: until then the
                                       -- label waits
    embedding   halfvec,               -- the direction in which the photos lie; NULL: it waits
    gain        float8      NOT NULL,  -- a picture's cosine to it, times gain, plus lift, compares
    lift        float8      NOT NULL,  -- with the cosines to labels of words
    computed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (label_id, model)
);
COMMENT ON TABLE label_means IS
    'What a model has learnt from the photos that teach labels, for one version of the labels (docs/decisions/0040).';

CREATE TABLE label_set (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    version    int4        NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO label_set (version) VALUES (0);
COMMENT ON TABLE label_set IS 'The version of the default labels: one row.';

CREATE TABLE rescoring (
    model       text PRIMARY KEY,
    version     int4        NOT NULL,
    total       int8        NOT NULL,
    rescored    int8        NOT NULL DEFAULT 0,
    keeper      text        NOT NULL DEFAULT '',
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    started_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
COMMENT ON TABLE rescoring IS
    'Re-scoring after a label change: one row per model, for the newest version it was begun for.';

CREATE TABLE label_previews (
    preview_id  uuid PRIMARY KEY,
    owner       text        NOT NULL,
    labels      jsonb       NOT NULL,  -- as they would be put in force
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
COMMENT ON TABLE label_previews IS
    'What other labels would change: asked for by the HTTP face, made by a tagging process, which has the model.';


-- best: what queries read -----------------------------------------------------------------------

-- `tags` of an image that is an answer, a row per tag. tagged_images is the truth: where somebody
-- else changed it, the image stands in noted_images until upkeep has written its rows here anew.
CREATE TABLE image_tags (
    image_id int8 NOT NULL REFERENCES tagged_images (id) ON DELETE CASCADE,
    score    int4 NOT NULL,  -- millionths
    ts       int4 NOT NULL,  -- what "newest" compares: recency()
    label_id int2 NOT NULL REFERENCES labels (id),
    PRIMARY KEY (image_id, label_id) INCLUDE (score)
);
CREATE INDEX image_tags_list ON image_tags (label_id, score, ts, image_id);
COMMENT ON TABLE image_tags IS 'The tags of tagged_images, a row per tag, of images that are answers.';

CREATE TABLE noted_images (
    id       int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    image_id int8        NOT NULL,  -- tagged_images.id, which may be gone
    noted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX noted_images_image ON noted_images (image_id);
COMMENT ON TABLE noted_images IS
    'Images that somebody else changed: until upkeep has followed, queries read their tags themselves.';

CREATE TABLE combo_best (
    key      bytea PRIMARY KEY,  -- ascending label ids, two bytes each, big endian
    score    int4 NOT NULL,
    ts       int4 NOT NULL,
    image_id int8                -- NULL: a hole; its winner went or was tagged again
);
CREATE INDEX combo_best_image ON combo_best (image_id) WHERE image_id IS NOT NULL;
CREATE INDEX combo_best_holes ON combo_best (key) WHERE image_id IS NULL;
COMMENT ON TABLE combo_best IS
    'For every set of labels that occurs together, the best image, where no subset''s image is better (docs/decisions/0011).';

CREATE TABLE combo_state (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    ready      boolean NOT NULL DEFAULT true,  -- false: rows are missing, queries ask the images
    max_size   int2    NOT NULL DEFAULT 10,    -- sets are kept up to this many labels
    rebuilt_to int8    NOT NULL DEFAULT 0      -- while not ready: images up to this id were offered
);
INSERT INTO combo_state DEFAULT VALUES;
COMMENT ON TABLE combo_state IS 'Whether combo_best is complete, and up to which size of sets: one row.';

CREATE TABLE combo_work (
    id        int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    image_id  int8,            -- an image whose rows in image_tags changed; NULL: all with the set
    label_ids int2[]      NOT NULL, -- image: touches queries with one of these; set: with all of these
    noted_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE combo_work IS
    'What is to be offered to combo_best again. Until it is done, the queries that it touches ask the images.';

-- What "newest" compares: whole seconds from 2000-01-01 UTC, of the shot, or of the row where that is
-- unknown or in the future; clamped to int4. core/relevance/ranking.py says the same in Python, for
-- what is known before a row is; a test compares the two.
CREATE FUNCTION recency(exif_datetime timestamp, created_at timestamptz) RETURNS int4
LANGUAGE sql STABLE RETURN greatest(-2147483648, least(2147483647, floor(
    extract(epoch FROM CASE WHEN exif_datetime AT TIME ZONE 'UTC' <= now()
                            THEN exif_datetime AT TIME ZONE 'UTC' ELSE created_at END)
    - extract(epoch FROM timestamptz '2000-01-01 00:00+00'))))::int4;

-- What the tags of an image say while it is an answer: none while it is not.
CREATE VIEW answer_tags AS
SELECT t.id AS image_id, e.tag->>'tag' AS name,
       round((e.tag->>'score')::numeric * 1000000)::int4 AS score,
       recency(t.exif_datetime, t.created_at) AS ts
FROM tagged_images t
JOIN images i ON i.image_id = t.image_id AND i.status = 'tagged' AND NOT i.excluded
CROSS JOIN LATERAL jsonb_array_elements(t.tags) AS e (tag);
COMMENT ON VIEW answer_tags IS 'tagged_images.tags of images that are answers, a row per tag: what image_tags follows.';

-- The same of images that people took out of the answers, for those who look for these.
CREATE VIEW excluded_tags AS
SELECT t.id AS image_id, round((e.tag->>'score')::numeric * 1000000)::int4 AS score,
       recency(t.exif_datetime, t.created_at) AS ts, l.id AS label_id
FROM images i
JOIN tagged_images t ON t.image_id = i.image_id
CROSS JOIN LATERAL jsonb_array_elements(t.tags) AS e (tag)
JOIN labels l ON l.folded = label_key(e.tag->>'tag')
WHERE i.excluded AND i.status = 'tagged';
COMMENT ON VIEW excluded_tags IS 'tagged_images.tags of images that are tagged and excluded, a row per tag, as in image_tags.';

-- image_tags as it will be when upkeep has followed: for as long as noted_images has rows.
CREATE VIEW current_tags AS
SELECT image_id, score, ts, label_id FROM image_tags s
WHERE NOT EXISTS (SELECT FROM noted_images n WHERE n.image_id = s.image_id)
UNION ALL
SELECT a.image_id, a.score, a.ts, l.id
FROM (SELECT DISTINCT image_id FROM noted_images) n
JOIN answer_tags a USING (image_id)
JOIN labels l ON l.folded = label_key(a.name);
COMMENT ON VIEW current_tags IS 'image_tags, with the tags of noted images as they are.';


-- queries ------------------------------------------------------------------------------------------

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
    answered_at  timestamptz,
    deleted_at   timestamptz -- an id with a time is left: its event, on a topic still, is not answered
);
CREATE INDEX queries_accepted ON queries (accepted_at DESC, query_id DESC);
CREATE INDEX queries_of_owner ON queries (owner, accepted_at DESC, query_id DESC)
    WHERE deleted_at IS NULL;
CREATE INDEX queries_unanswered ON queries (accepted_at DESC, query_id DESC)
    WHERE status <> 'answered';
CREATE INDEX queries_answered ON queries (answered_at) WHERE status = 'answered';
CREATE INDEX queries_unusual ON queries ((answer->>'type'), accepted_at DESC, query_id DESC)
    WHERE answer->>'type' <> 'query.completed';
CREATE INDEX queries_of_image
    ON queries ((answer->>'image_id'), owner, accepted_at DESC, query_id DESC)
    WHERE answer->>'image_id' IS NOT NULL;
CREATE INDEX queries_tombstones ON queries (deleted_at) WHERE deleted_at IS NOT NULL;
COMMENT ON TABLE queries IS 'Queries: accepted, perhaps waiting for an upload, answered once.';

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
COMMENT ON TABLE parked_queries IS 'Queries that wait for an upload to be tagged (option `after`).';


-- delivery -----------------------------------------------------------------------------------------

-- As operators name it: an IPv6 address without brackets. NULL for what is no target.
CREATE FUNCTION host_of(target text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN trim(BOTH '[]' FROM substring(target FROM '^[a-z]+://(.*):[0-9]+$'));

CREATE TABLE deliveries (
    delivery_id     uuid PRIMARY KEY,  -- id of the callback event; the webhook's id on the wire
    query_id        uuid        NOT NULL,
    owner           text,
    target          text        NOT NULL,  -- scheme://host:port, the port always written
    url             text        NOT NULL,
    event           jsonb       NOT NULL,
    state           text        NOT NULL CHECK (state IN ('due', 'leased', 'delivered', 'dead')),
    attempt         int4        NOT NULL DEFAULT 0,  -- counts on over redeliveries
    next_at         timestamptz NOT NULL DEFAULT now(),
    lease_until     timestamptz,
    token           uuid,
    reason          text,                  -- why it was given up, or failed last
    waits_for       text CHECK (waits_for IN ('schedule', 'retry_after')),  -- what next_at is from
    is_manual       boolean     NOT NULL DEFAULT false,  -- a person asked for the next attempt
    planned_at      timestamptz,           -- when automatic attempts go on behind a manual one
    stopped_by      text,                  -- who stopped it: no attempt follows the present one
    created_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    round           int4        NOT NULL DEFAULT 0,  -- a delivered answer that is asked for again is
                                                     -- a new row, of the next round
    attempts_before int4        NOT NULL DEFAULT 0,  -- the schedule began anew after so many
    asked_at        timestamptz,           -- at this time
    -- Who takes turns in the lane of a target (docs/decisions/0023): owners, and the addresses of
    -- each, in 32 lines, for an address may be another one each time. Of what has no owner, each
    -- line for itself; no owner's name begins with a tab.
    line            int2        NOT NULL GENERATED ALWAYS AS ((hashtext(url) & 31)::int2) STORED,
    sender          text        NOT NULL
                    GENERATED ALWAYS AS (coalesce(owner, E'\t' || (hashtext(url) & 31)::text)) STORED
);
CREATE INDEX deliveries_due ON deliveries (target, sender, line, (attempt > 0), next_at)
    WHERE state = 'due';
CREATE INDEX deliveries_leased ON deliveries (lease_until) WHERE state = 'leased';
CREATE INDEX deliveries_dead ON deliveries (host_of(target), finished_at) WHERE state = 'dead';
CREATE INDEX deliveries_query ON deliveries (query_id, round DESC);
-- For people's lists. `round >= 0` always holds, and only their statements say it: a claim, in whose
-- statistics nothing is due, would else walk all that is (tests/integration/storage/test_lanes.py).
CREATE INDEX deliveries_open ON deliveries (created_at DESC, query_id DESC)
    WHERE state IN ('due', 'dead') AND round >= 0;
CREATE INDEX deliveries_next ON deliveries (next_at, query_id) WHERE state = 'due' AND round >= 0;
CREATE INDEX deliveries_finished ON deliveries (finished_at) WHERE finished_at IS NOT NULL;
COMMENT ON TABLE deliveries IS
    'The schedule of webhooks. Written by core/storage/delivery/deliveries.py and interventions.py alone.';
COMMENT ON COLUMN deliveries.waits_for IS
    'What next_at is from, where it is not from the start; whatever else a webhook waits for is known of its target.';

CREATE TABLE attempts (
    delivery_id uuid        NOT NULL REFERENCES deliveries (delivery_id) ON DELETE CASCADE,
    attempt     int4        NOT NULL,
    started_at  timestamptz NOT NULL,
    took_ms     int4,
    status      int4,
    error       text,       -- class: dns, refused, reset, unreachable, timeout, tls, protocol, ...
    detail      text,
    dns_ms      int4,
    connect_ms  int4,
    tls_ms      int4,
    wait_ms     int4,
    headers     jsonb,      -- of the answer, [[name, value], ...], bounded
    body        bytea CHECK (octet_length(body) <= 16384),  -- of the answer
    body_is_cut boolean,
    is_manual   boolean     NOT NULL DEFAULT false,  -- a person asked for it
    PRIMARY KEY (delivery_id, attempt)
);
COMMENT ON TABLE attempts IS 'What came of each try to send a webhook.';
COMMENT ON COLUMN attempts.dns_ms IS 'Time to resolve the name; NULL, as the next two: there was no need.';
COMMENT ON COLUMN attempts.connect_ms IS 'Time to connect.';
COMMENT ON COLUMN attempts.tls_ms IS 'Time of the TLS handshake.';
COMMENT ON COLUMN attempts.wait_ms IS 'Time from the connection to the answer''s status line.';

-- A row per line of a target, first tries and retries apart. A claim looks at those that are due, so
-- that neither targets that wait for later nor a long backlog of one cost it anything
-- (docs/decisions/0012), and takes from them in turn (0023).
--
-- `due_at` is never later than the earliest next_at of the row's webhooks. Whoever makes one due
-- lowers it and leaves its transaction in `touched`. A claim raises it, to infinity where nothing is
-- left, only where `touched` is what its snapshot saw: then it has seen all webhooks of the row. A
-- row of which nothing is left stays for a while: it knows whose turn it was.
CREATE TABLE lanes (
    target    text        NOT NULL,
    sender    text        NOT NULL,
    line      int2        NOT NULL,
    again     boolean     NOT NULL,
    due_at    timestamptz NOT NULL,
    served_at timestamptz,           -- when a webhook of it was leased last
    touched   xid8        NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (target, sender, line, again)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX lanes_due ON lanes (again, due_at);
COMMENT ON TABLE lanes IS
    'Whose webhooks are due at which target, now or later: when to look for them, and whose turn it is.';

CREATE TABLE targets (
    target      text PRIMARY KEY,
    disabled_at timestamptz,  -- NULL: resumed. Its webhooks stay due, and are not claimed
    actor       text        NOT NULL,  -- who did the last change: an owner, `operator`, `breaker`
    reason      text        NOT NULL DEFAULT '',
    changed_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE targets IS
    'Targets (scheme://host:port) that were disabled once, by a breaker or a person.';

CREATE TABLE target_events (
    id     int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target text        NOT NULL,
    event  text        NOT NULL CHECK (event IN ('disabled', 'resumed')),
    actor  text        NOT NULL,
    reason text        NOT NULL DEFAULT '',
    at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX target_events_target ON target_events (target, id DESC);
CREATE INDEX target_events_at ON target_events (at);
COMMENT ON TABLE target_events IS 'What operators did to targets, and breakers on their behalf.';

-- Written every few seconds by each delivery process, of those targets of which something changed.
CREATE TABLE target_health (
    target        text        NOT NULL,
    instance      text        NOT NULL,
    cap           int4        NOT NULL,  -- attempts in flight at most, in this process
    in_flight     int4        NOT NULL,
    failures      int4        NOT NULL,  -- in a row
    is_half_open  boolean     NOT NULL,  -- the breaker lets one attempt through
    opened_until  timestamptz,           -- by the breaker
    paused_until  timestamptz,           -- by a Retry-After
    rated_until   timestamptz,           -- by the rate per target
    last_ok_at    timestamptz,
    last_error    text,                  -- of the last attempt that failed
    last_error_at timestamptz,
    p99_ms        int4,                  -- of its last attempts
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (target, instance)
) WITH (fillfactor = 50);
CREATE INDEX target_health_updated ON target_health (updated_at);
COMMENT ON TABLE target_health IS
    'What delivery processes know of targets, for people to see; the processes themselves do not read it.';

CREATE TABLE endpoints (
    endpoint_id uuid PRIMARY KEY,
    owner       text        NOT NULL,
    url         text        NOT NULL,  -- as a query's callback_url has it, letter by letter
    name        text        NOT NULL DEFAULT '',
    operator_events boolean NOT NULL DEFAULT false,  -- it is told what happens to the archive itself
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (owner, url)
);
CREATE INDEX endpoints_operator ON endpoints (endpoint_id) WHERE operator_events;
COMMENT ON TABLE endpoints IS
    'Callback addresses that are registered: each with a signing secret of its own, under the owner E''\tendpoint/<id>'', which no owner of a key can be called.';

-- A row per subject: a job, an entry of target_events, a partition and why it stands still, a stage.
-- What goes on (a halt, a backlog) is told again once it had ended; what happened once is told once.
CREATE TABLE operator_events (
    type     text        NOT NULL,
    subject  text        NOT NULL,
    event_id uuid        NOT NULL,               -- made of type, subject and time: the same after a restore
    at       timestamptz NOT NULL,               -- when it happened, or began
    seen_at  timestamptz NOT NULL DEFAULT now(),  -- when it was found to be so last
    told_in  xid8        NOT NULL DEFAULT pg_current_xact_id(),  -- which put its webhooks on the schedule
    PRIMARY KEY (type, subject)
);
CREATE INDEX operator_events_seen ON operator_events (seen_at);
COMMENT ON TABLE operator_events IS
    'What operators were told of, so that each is told once (docs/decisions/0044).';


-- The receiver in the box, of the standalone mode alone (docs/decisions/0035).
CREATE TABLE inboxes (
    token      text PRIMARY KEY,
    owner      text        NOT NULL,
    answer     jsonb       NOT NULL,  -- {"kind", "delay_s"}
    received   int8        NOT NULL DEFAULT 0,  -- posts, since it was made
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX inboxes_owner ON inboxes (owner, created_at);
COMMENT ON TABLE inboxes IS 'Addresses of the receiver in the box, and what each answers.';

CREATE TABLE inbox_posts (
    id           int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token        text        NOT NULL REFERENCES inboxes (token) ON DELETE CASCADE,
    at           timestamptz NOT NULL DEFAULT now(),
    webhook_id   text,
    attempt_seen int4        NOT NULL,  -- how often this id came, this one included
    headers      jsonb       NOT NULL,
    body         bytea       NOT NULL CHECK (octet_length(body) <= 65536),
    body_bytes   int8        NOT NULL,  -- of all of it
    signature_ok boolean,               -- NULL: there was nothing to check it with
    type         text,
    query_id     uuid,
    image_id     uuid,                  -- of the photo in it
    answered     int4                   -- the status that went back; NULL: none yet, or never
);
CREATE INDEX inbox_posts_of ON inbox_posts (token, id DESC);
CREATE INDEX inbox_posts_at ON inbox_posts (at);
COMMENT ON TABLE inbox_posts IS 'What came to inboxes: the newest 100 of each, for a day.';


-- control --------------------------------------------------------------------------------------------

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
COMMENT ON TABLE api_keys IS 'Keys of the HTTP face.';

CREATE TABLE sessions (
    digest     bytea PRIMARY KEY,        -- SHA-256 of the cookie's value, which is kept nowhere
    key_id     text        NOT NULL REFERENCES api_keys (key_id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL      -- later with its use, up to a bound
);
CREATE INDEX sessions_key ON sessions (key_id, expires_at);
CREATE INDEX sessions_expires ON sessions (expires_at);
COMMENT ON TABLE sessions IS 'Who is signed in to the page, each with the rights of a key.';

CREATE TABLE session_codes (
    digest     bytea PRIMARY KEY,        -- SHA-256 of the code, which stands in a link alone
    key_id     text        NOT NULL REFERENCES api_keys (key_id) ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);
CREATE INDEX session_codes_key ON session_codes (key_id, expires_at);
CREATE INDEX session_codes_expires ON session_codes (expires_at);
COMMENT ON TABLE session_codes IS 'Codes of one-time links that sign in to the page; a used one is gone.';

CREATE TABLE asked_once (
    owner       text        NOT NULL,
    operation   text        NOT NULL,
    key         text        NOT NULL,  -- the Idempotency-Key
    fingerprint bytea       NOT NULL,  -- of the request's body
    answer      jsonb,                 -- NULL: under way, or its process died
    asked_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, operation, key)
);
CREATE INDEX asked_once_at ON asked_once (asked_at);
COMMENT ON TABLE asked_once IS
    'Answers to requests with an Idempotency-Key, for a day: asked again, they act no second time.';

CREATE TABLE signing_secrets (
    id         int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner      text        NOT NULL,
    secret     bytea       NOT NULL,  -- encrypted with the key from settings
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz
);
CREATE INDEX signing_secrets_owner ON signing_secrets (owner, id DESC);
COMMENT ON TABLE signing_secrets IS
    'Signing secrets of webhooks, one or more per owner; '''' is the instance''s own.';


-- triggers -----------------------------------------------------------------------------------------
--
-- They do nothing in a transaction that says `SET LOCAL photo_archive.keeps = on`: it keeps
-- image_tags, the counts and the best images in step by its own statements (tagging, re-scoring,
-- upkeep: core/storage/archive/keeping.py). They update no shared row, and take one lock, as all do
-- after the image's row: that of the labels, for a tag that is none yet.

CREATE FUNCTION day_of(moment timestamptz) RETURNS text
LANGUAGE sql STABLE RETURN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD');
CREATE FUNCTION month_taken(exif_datetime timestamp, created_at timestamptz) RETURNS text
LANGUAGE sql STABLE RETURN
    to_char(coalesce(exif_datetime, created_at AT TIME ZONE 'UTC'), 'YYYY-MM');
CREATE FUNCTION hour_of(moment timestamptz) RETURNS text
LANGUAGE sql STABLE RETURN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24');

-- For whom an image counts in totals.
CREATE FUNCTION audiences_of(which uuid, open_to_all boolean) RETURNS text[]
LANGUAGE sql STABLE RETURN
    CASE WHEN open_to_all THEN ARRAY['']
         ELSE ARRAY(SELECT E'\tclosed' UNION ALL SELECT owner FROM image_owners WHERE image_id = which) END;

-- Counts what an image carries, once more or once less, for some audiences. FOR SHARE: what somebody
-- changes of it at this moment is counted for those who were there before, and found here.
CREATE FUNCTION count_tagged(which uuid, audiences text[], n int) RETURNS void LANGUAGE plpgsql AS $$
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
END $$;

-- A new owner has the image in the counts as it stands, and one who leaves has not. Nobody may switch
-- this off: it alone knows who comes and goes. FOR SHARE: who changes the image at this moment counts
-- either for those who were there before, and is waited for here, or for the new one too.
CREATE FUNCTION note_owner() RETURNS trigger LANGUAGE plpgsql AS $$
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
END $$;
CREATE TRIGGER image_owners_noted AFTER INSERT OR DELETE OR UPDATE OF image_id, owner
    ON image_owners FOR EACH ROW
    EXECUTE FUNCTION note_owner();

-- What goes with an image goes before it: its own triggers ask the image for whom it counts.
CREATE FUNCTION take_along() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'images' THEN
        DELETE FROM tagged_images WHERE image_id = OLD.image_id;
        DELETE FROM image_owners WHERE image_id = OLD.image_id;
    ELSE
        DELETE FROM image_tags WHERE image_id = OLD.id;
        DELETE FROM noted_images WHERE image_id = OLD.id;
    END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER images_take_along BEFORE DELETE ON images FOR EACH ROW EXECUTE FUNCTION take_along();
CREATE TRIGGER tagged_images_take_along BEFORE DELETE ON tagged_images FOR EACH ROW
    EXECUTE FUNCTION take_along();

-- Names as schemas/strict.py has them: a longer one would fit into no index, and upkeep would stop.
CREATE FUNCTION check_tags(id int8, tags jsonb) RETURNS void LANGUAGE plpgsql AS $$
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
END $$;

-- At once, not when upkeep follows: a query that names the tag must find it. 7303 is LABELS in
-- core/storage/locks.py. What is too much (MAX_OWN_LABELS in core/tags.py) is left to upkeep.
CREATE FUNCTION add_labels(tags jsonb) RETURNS void LANGUAGE plpgsql AS $$
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
END $$;

CREATE FUNCTION note_tagged_image() RETURNS trigger LANGUAGE plpgsql AS $$
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
END $$;
CREATE TRIGGER tagged_images_noted AFTER INSERT OR UPDATE OR DELETE ON tagged_images FOR EACH ROW
    WHEN (current_setting('photo_archive.keeps', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION note_tagged_image();

-- An image is an answer while its status is `tagged`, and nobody excluded it.
CREATE FUNCTION note_image() RETURNS trigger LANGUAGE plpgsql AS $$
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
END $$;
CREATE TRIGGER images_noted AFTER INSERT OR UPDATE OR DELETE ON images FOR EACH ROW
    WHEN (current_setting('photo_archive.keeps', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION note_image();

-- With an image of tagged_images its rows go; changed alone, they are written anew.
CREATE FUNCTION note_image_tag() RETURNS trigger LANGUAGE plpgsql AS $$
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
END $$;
CREATE TRIGGER image_tags_noted AFTER INSERT OR UPDATE OR DELETE ON image_tags FOR EACH ROW
    WHEN (current_setting('photo_archive.keeps', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION note_image_tag();

-- TRUNCATE of images or tagged_images must empty image_tags too: this looks what is left of them.
CREATE FUNCTION forget_image_tags() RETURNS trigger LANGUAGE plpgsql AS $$
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
END $$;
CREATE TRIGGER image_tags_emptied AFTER TRUNCATE ON image_tags
    FOR EACH STATEMENT EXECUTE FUNCTION forget_image_tags();
