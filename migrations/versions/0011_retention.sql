-- Pruning reads what is beyond its time by index, not whole tables.
CREATE INDEX queries_answered ON queries (answered_at) WHERE status = 'answered';
CREATE INDEX dead_letters_created ON dead_letters (created_at);
CREATE INDEX outbox_places_published ON outbox_places (published_at);
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX images_tombstones ON images (deleted_at) WHERE status = 'deleted';
