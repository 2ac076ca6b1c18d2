ALTER TABLE executions ADD COLUMN concurrency_key TEXT;
ALTER TABLE executions ADD COLUMN place INTEGER
    CHECK (place IS NULL OR (concurrency_key IS NOT NULL AND closed_ms IS NULL));

CREATE INDEX executions_waiting_for_place ON executions (handler, concurrency_key, priority DESC, row)
    WHERE status = 'queued' AND ready_at IS NULL;
CREATE INDEX executions_with_place ON executions (handler, concurrency_key, attempt, priority DESC, row, place)
    WHERE place IS NOT NULL;
