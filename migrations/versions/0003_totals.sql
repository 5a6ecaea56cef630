-- Counts that pages ask for again and again. A statement appends what it changed to
-- `total_changes`, so that writers never wait for each other's counters; the tagging process folds
-- these into `totals`. A reader adds both up.
--   tag      key: label id              images, amount: sum of scores in millionths
--   day      key: YYYY-MM-DD taken (EXIF, else added, UTC)
--   hour     key: YYYY-MM-DDTHH UTC     images tagged or tagged again in that hour
--   status   key: images.status
CREATE TABLE totals (
    kind   text NOT NULL,
    key    text NOT NULL,
    images int8 NOT NULL,
    amount int8 NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, key)
);
CREATE TABLE total_changes (
    id     int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind   text NOT NULL,
    key    text NOT NULL,
    images int8 NOT NULL,
    amount int8 NOT NULL DEFAULT 0
);

CREATE FUNCTION day_taken(exif_datetime timestamp, created_at timestamptz) RETURNS text
LANGUAGE sql STABLE RETURN
    to_char(coalesce(exif_datetime, created_at AT TIME ZONE 'UTC'), 'YYYY-MM-DD');

CREATE FUNCTION count_added_tags() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO total_changes (kind, key, images, amount)
    SELECT 'tag', label_id::text, count(*), sum(score) FROM counted GROUP BY label_id;
    RETURN NULL;
END $$;
CREATE FUNCTION count_removed_tags() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO total_changes (kind, key, images, amount)
    SELECT 'tag', label_id::text, -count(*), -sum(score) FROM counted GROUP BY label_id;
    RETURN NULL;
END $$;
CREATE TRIGGER image_tags_count_added AFTER INSERT ON image_tags
    REFERENCING NEW TABLE AS counted FOR EACH STATEMENT EXECUTE FUNCTION count_added_tags();
CREATE TRIGGER image_tags_count_removed AFTER DELETE ON image_tags
    REFERENCING OLD TABLE AS counted FOR EACH STATEMENT EXECUTE FUNCTION count_removed_tags();
CREATE TRIGGER image_tags_count_changed_to AFTER UPDATE ON image_tags
    REFERENCING NEW TABLE AS counted FOR EACH STATEMENT EXECUTE FUNCTION count_added_tags();
CREATE TRIGGER image_tags_count_changed_from AFTER UPDATE ON image_tags
    REFERENCING OLD TABLE AS counted FOR EACH STATEMENT EXECUTE FUNCTION count_removed_tags();

CREATE FUNCTION count_tagged_images() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO total_changes (kind, key, images)
    SELECT 'day', day_taken(exif_datetime, created_at), count(*) FROM added GROUP BY 2
    UNION ALL
    SELECT 'hour', to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24'), count(*)
    FROM added GROUP BY 2;
    RETURN NULL;
END $$;
CREATE TRIGGER tagged_images_count_added AFTER INSERT ON tagged_images
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION count_tagged_images();

CREATE FUNCTION count_tagged_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO total_changes (kind, key, images)
    SELECT 'day', day, sum(n) FROM (
        SELECT day_taken(exif_datetime, created_at) AS day, 1 AS n FROM becomes
        UNION ALL
        SELECT day_taken(exif_datetime, created_at), -1 FROM was
    ) AS d GROUP BY day HAVING sum(n) <> 0
    UNION ALL
    SELECT 'hour', to_char(b.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24'), count(*)
    FROM becomes b JOIN was USING (id)
    WHERE b.updated_at IS DISTINCT FROM was.updated_at GROUP BY 2;
    RETURN NULL;
END $$;
CREATE TRIGGER tagged_images_count_changed AFTER UPDATE ON tagged_images
    REFERENCING OLD TABLE AS was NEW TABLE AS becomes
    FOR EACH STATEMENT EXECUTE FUNCTION count_tagged_again();

CREATE FUNCTION count_untagged_images() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO total_changes (kind, key, images)
    SELECT 'day', day_taken(exif_datetime, created_at), -count(*) FROM removed GROUP BY 2;
    RETURN NULL;
END $$;
CREATE TRIGGER tagged_images_count_removed AFTER DELETE ON tagged_images
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION count_untagged_images();

CREATE FUNCTION count_statuses() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO total_changes (kind, key, images)
        SELECT 'status', status, count(*) FROM becomes GROUP BY status;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO total_changes (kind, key, images)
        SELECT 'status', status, -count(*) FROM was GROUP BY status;
    ELSE
        INSERT INTO total_changes (kind, key, images)
        SELECT 'status', status, sum(n) FROM (
            SELECT status, 1 AS n FROM becomes UNION ALL SELECT status, -1 FROM was
        ) AS s GROUP BY status HAVING sum(n) <> 0;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER images_count_added AFTER INSERT ON images
    REFERENCING NEW TABLE AS becomes FOR EACH STATEMENT EXECUTE FUNCTION count_statuses();
CREATE TRIGGER images_count_changed AFTER UPDATE ON images
    REFERENCING OLD TABLE AS was NEW TABLE AS becomes
    FOR EACH STATEMENT EXECUTE FUNCTION count_statuses();
CREATE TRIGGER images_count_removed AFTER DELETE ON images
    REFERENCING OLD TABLE AS was FOR EACH STATEMENT EXECUTE FUNCTION count_statuses();

CREATE FUNCTION count_nothing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM total_changes WHERE kind = ANY (TG_ARGV);
    DELETE FROM totals WHERE kind = ANY (TG_ARGV);
    RETURN NULL;
END $$;
CREATE TRIGGER image_tags_count_emptied AFTER TRUNCATE ON image_tags
    FOR EACH STATEMENT EXECUTE FUNCTION count_nothing('tag');
CREATE TRIGGER tagged_images_count_emptied AFTER TRUNCATE ON tagged_images
    FOR EACH STATEMENT EXECUTE FUNCTION count_nothing('day');
CREATE TRIGGER images_count_emptied AFTER TRUNCATE ON images
    FOR EACH STATEMENT EXECUTE FUNCTION count_nothing('status');

INSERT INTO totals (kind, key, images, amount)
SELECT 'tag', label_id::text, count(*), sum(score) FROM image_tags GROUP BY label_id;
INSERT INTO totals (kind, key, images)
SELECT 'day', day_taken(exif_datetime, created_at), count(*) FROM tagged_images GROUP BY 2
UNION ALL
SELECT 'hour', to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24'), count(*)
FROM tagged_images GROUP BY 2
UNION ALL
SELECT 'status', status, count(*) FROM images GROUP BY 2;
