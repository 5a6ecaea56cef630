-- As in 0007, but without a join of the two transition tables. A session keeps the first plan of a
-- trigger's statement; first comes, as a rule, an upsert that changes no row, and a plan made for no
-- rows compares each row of a batch with every other one.
CREATE OR REPLACE FUNCTION count_tagged_again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO total_changes (kind, key, images)
    SELECT 'day', day, sum(n) FROM (
        SELECT day_taken(exif_datetime, created_at) AS day, 1 AS n FROM becomes
        UNION ALL
        SELECT day_taken(exif_datetime, created_at), -1 FROM was
    ) AS d GROUP BY day HAVING sum(n) <> 0
    UNION ALL
    SELECT 'hour', to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24'), count(*)
    FROM (SELECT id, updated_at FROM becomes EXCEPT SELECT id, updated_at FROM was) AS again
    GROUP BY 2
    UNION ALL
    SELECT 'camera', camera, sum(n) FROM (
        SELECT camera, 1 AS n FROM becomes WHERE camera IS NOT NULL
        UNION ALL
        SELECT camera, -1 FROM was WHERE camera IS NOT NULL
    ) AS c GROUP BY camera HAVING sum(n) <> 0;
    RETURN NULL;
END $$;
