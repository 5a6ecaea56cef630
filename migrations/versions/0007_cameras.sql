-- Maker and model by EXIF. Photos tagged before have none until they are decoded again.
ALTER TABLE tagged_images ADD COLUMN camera text;

-- As in 0003, with one more count: kind `camera`, key: the camera, of images that have one.
CREATE OR REPLACE FUNCTION count_tagged_images() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO total_changes (kind, key, images)
    SELECT 'day', day_taken(exif_datetime, created_at), count(*) FROM added GROUP BY 2
    UNION ALL
    SELECT 'hour', to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24'), count(*)
    FROM added GROUP BY 2
    UNION ALL
    SELECT 'camera', camera, count(*) FROM added WHERE camera IS NOT NULL GROUP BY 2;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION count_tagged_again() RETURNS trigger LANGUAGE plpgsql AS $$
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
    WHERE b.updated_at IS DISTINCT FROM was.updated_at GROUP BY 2
    UNION ALL
    SELECT 'camera', camera, sum(n) FROM (
        SELECT camera, 1 AS n FROM becomes WHERE camera IS NOT NULL
        UNION ALL
        SELECT camera, -1 FROM was WHERE camera IS NOT NULL
    ) AS c GROUP BY camera HAVING sum(n) <> 0;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION count_untagged_images() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO total_changes (kind, key, images)
    SELECT 'day', day_taken(exif_datetime, created_at), -count(*) FROM removed GROUP BY 2
    UNION ALL
    SELECT 'camera', camera, -count(*) FROM removed WHERE camera IS NOT NULL GROUP BY 2;
    RETURN NULL;
END $$;

CREATE OR REPLACE TRIGGER tagged_images_count_emptied AFTER TRUNCATE ON tagged_images
    FOR EACH STATEMENT EXECUTE FUNCTION count_nothing('day', 'camera');
