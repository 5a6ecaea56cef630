-- For every set of labels that occurs together, the best image, where no subset's image is better:
-- a query reads a few keys instead of all images. Rules: core/relevance/combos.py, decisions/0010.
CREATE TABLE combo_best (
    key      bytea PRIMARY KEY,  -- ascending label ids, two bytes each, big endian
    score    int4 NOT NULL,
    ts       int4 NOT NULL,
    image_id int4                -- NULL: a hole; its winner went or was tagged again
);
CREATE INDEX combo_best_image ON combo_best (image_id) WHERE image_id IS NOT NULL;
CREATE INDEX combo_best_holes ON combo_best (key) WHERE image_id IS NULL;

CREATE TABLE combo_state (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    ready       boolean NOT NULL,            -- false: rows are missing, queries ask the images
    max_size    int2    NOT NULL DEFAULT 10, -- sets are kept up to this many labels
    rebuilt_to  int4    NOT NULL DEFAULT 0,  -- while not ready: images up to this id were offered
    keeper      text    NOT NULL DEFAULT '', -- who repairs now; others stay away until lease_until
    lease_until timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO combo_state (ready) SELECT NOT EXISTS (SELECT FROM image_tags);

-- What is to be offered again. Until it is done, the queries that it touches ask the images.
CREATE TABLE combo_work (
    id        int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    image_id  int4,            -- an image that somebody else changed; NULL: all images with the set
    label_ids int2[] NOT NULL, -- image: touches queries with one of these; set: with all of these
    noted_at  timestamptz NOT NULL DEFAULT now()
);

-- Whoever offers images by itself says so for its transaction (core/storage/best/combos.py). Everybody
-- else's changes are noted here: deletes, images that are gone, SQL typed by hand. No lock is
-- taken and no row updated, so that no writer can come to a deadlock through it.
CREATE FUNCTION note_changed_tags() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO combo_work (image_id, label_ids)
    SELECT image_id, array_agg(label_id) FROM changed GROUP BY image_id;
    RETURN NULL;
END $$;
CREATE TRIGGER image_tags_added AFTER INSERT ON image_tags
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT
    WHEN (current_setting('photo_archive.offers', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION note_changed_tags();
CREATE TRIGGER image_tags_removed AFTER DELETE ON image_tags
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT
    WHEN (current_setting('photo_archive.offers', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION note_changed_tags();
CREATE TRIGGER image_tags_changed_from AFTER UPDATE ON image_tags
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION note_changed_tags();
CREATE TRIGGER image_tags_changed_to AFTER UPDATE ON image_tags
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION note_changed_tags();

CREATE FUNCTION forget_best_images() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE combo_state SET ready = false, rebuilt_to = 0;
    RETURN NULL;
END $$;
CREATE TRIGGER image_tags_emptied AFTER TRUNCATE ON image_tags
    FOR EACH STATEMENT EXECUTE FUNCTION forget_best_images();

-- `tags` and the times are what people change by hand; `image_tags` follows. What cannot be
-- followed is refused.
CREATE FUNCTION write_image_tags(changed tagged_images) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    taken   timestamptz := changed.exif_datetime AT TIME ZONE 'UTC';
    newest  int4;
    unknown text[];
BEGIN
    IF jsonb_typeof(changed.tags) <> 'array' OR EXISTS (
        SELECT FROM jsonb_array_elements(changed.tags) t
        WHERE CASE WHEN jsonb_typeof(t) = 'object' AND jsonb_typeof(t->'tag') = 'string'
                        AND jsonb_typeof(t->'score') = 'number'
                   THEN (t->>'score')::numeric NOT BETWEEN 0 AND 1 ELSE true END)
    THEN
        RAISE EXCEPTION 'tagged_images.tags of image %: not [{"tag": text, "score": 0 to 1}, ...]',
            changed.id USING ERRCODE = 'check_violation';
    END IF;
    IF (SELECT count(*) <> count(DISTINCT t->>'tag') FROM jsonb_array_elements(changed.tags) t)
    THEN
        RAISE EXCEPTION 'tagged_images.tags of image %: a tag stands twice', changed.id
            USING ERRCODE = 'check_violation';
    END IF;

    DELETE FROM image_tags WHERE image_id = changed.id;
    IF (SELECT status IN ('missing', 'deleted') FROM images WHERE image_id = changed.image_id)
    THEN
        RETURN;
    END IF;

    SELECT array_agg(t->>'tag') INTO unknown FROM jsonb_array_elements(changed.tags) t
    WHERE NOT EXISTS (SELECT FROM labels WHERE name = t->>'tag');
    IF unknown IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(7303);  -- whoever adds labels: core/storage/labels.py
        INSERT INTO labels (id, name)
        SELECT (SELECT coalesce(max(id), 0) FROM labels) + row_number() OVER (), u.name
        FROM unnest(unknown) AS u (name)
        WHERE NOT EXISTS (SELECT FROM labels l WHERE l.name = u.name);
    END IF;

    IF taken IS NULL OR taken > now() THEN
        taken := changed.created_at;
    END IF;
    newest := greatest(-2147483648, least(2147483647,
        floor(extract(epoch FROM taken) - extract(epoch FROM timestamptz '2000-01-01 00:00+00'))));
    INSERT INTO image_tags (image_id, score, ts, label_id)
    SELECT changed.id, round((t->>'score')::numeric * 1000000)::int4, newest, l.id
    FROM jsonb_array_elements(changed.tags) t JOIN labels l ON l.name = t->>'tag';
END $$;

CREATE FUNCTION follow_changed_image() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM write_image_tags(NEW);
    RETURN NULL;
END $$;
CREATE TRIGGER tagged_images_added AFTER INSERT ON tagged_images FOR EACH ROW
    WHEN (current_setting('photo_archive.offers', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION follow_changed_image();
CREATE TRIGGER tagged_images_changed AFTER UPDATE ON tagged_images FOR EACH ROW
    WHEN (current_setting('photo_archive.offers', true) IS DISTINCT FROM 'on'
          AND (OLD.tags, OLD.exif_datetime, OLD.created_at)
              IS DISTINCT FROM (NEW.tags, NEW.exif_datetime, NEW.created_at))
    EXECUTE FUNCTION follow_changed_image();

-- An image that comes back is an answer again.
CREATE FUNCTION follow_returned_image() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM write_image_tags(t) FROM tagged_images t WHERE t.image_id = NEW.image_id;
    RETURN NULL;
END $$;
CREATE TRIGGER images_returned AFTER UPDATE OF status ON images FOR EACH ROW
    WHEN (current_setting('photo_archive.offers', true) IS DISTINCT FROM 'on'
          AND NEW.status = 'tagged' AND OLD.status IS DISTINCT FROM 'tagged')
    EXECUTE FUNCTION follow_returned_image();
