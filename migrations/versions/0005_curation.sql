-- What people decide about an image. It belongs to the image, not to one tagging of it: tagging
-- again, re-scoring and changed bytes leave it alone.
ALTER TABLE images
    ADD COLUMN excluded  boolean NOT NULL DEFAULT false, -- never an answer: no rows in image_tags
    ADD COLUMN hand_tags jsonb; -- shown in place of the model's tags; NULL: the model's are shown
-- What the model says where `tags` are set by hand.
ALTER TABLE tagged_images ADD COLUMN model_tags jsonb;

CREATE INDEX tagged_images_stale ON tagged_images (model, label_version, id)
    WHERE label_version IS NOT NULL;

-- Re-scoring after a label change: one row per model, for the newest version that it was begun
-- for. `keeper` works on it until `lease_until`.
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

-- As in 0002, but for `excluded`.
CREATE OR REPLACE FUNCTION write_image_tags(changed tagged_images) RETURNS void LANGUAGE plpgsql AS $$
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
    IF (SELECT status IN ('missing', 'deleted') OR excluded
        FROM images WHERE image_id = changed.image_id)
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

-- `image_tags` follows when somebody takes an image out of the answers, or back.
CREATE TRIGGER images_excluded AFTER UPDATE OF excluded ON images FOR EACH ROW
    WHEN (NEW.excluded IS DISTINCT FROM OLD.excluded)
    EXECUTE FUNCTION follow_returned_image();
