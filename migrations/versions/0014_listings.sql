-- Pruning finds deleted queries by index.
CREATE INDEX queries_tombstones ON queries (deleted_at) WHERE deleted_at IS NOT NULL;

-- Listings read a page by index: one owner's queries, those without an answer, jobs, dead letters.
-- The largest table first: the locks of all last until the end.
CREATE INDEX queries_of_owner ON queries (owner, accepted_at DESC, query_id DESC)
    WHERE deleted_at IS NULL;
CREATE INDEX queries_unanswered ON queries (accepted_at DESC, query_id DESC)
    WHERE status <> 'answered';
CREATE INDEX jobs_created ON jobs (created_at DESC, job_id DESC);
CREATE INDEX jobs_of_owner ON jobs (owner, created_at DESC, job_id DESC);
CREATE INDEX dead_letters_newest ON dead_letters (id) WHERE replayed_at IS NULL;
CREATE INDEX dead_letters_of_reason ON dead_letters (reason, id) WHERE replayed_at IS NULL;
