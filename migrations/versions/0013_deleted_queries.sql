-- A deleted query is an id with a time: its event, on a topic still, is not answered again. Alone in
-- its revision: the column shuts readers out until the transaction ends, and takes no time.
ALTER TABLE queries ADD COLUMN deleted_at timestamptz;
