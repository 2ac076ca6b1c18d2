ALTER TABLE executions ADD COLUMN journal_deleted_ms INTEGER;
ALTER TABLE meta ADD COLUMN lowest_epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN lowest_epoch_until_ms INTEGER NOT NULL DEFAULT 0;

-- What an operation was about may be deleted before it. The rows stay as they are, so only the text of the schema
-- changes: https://sqlite.org/lang_altertable.html, section 7.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
SET sql = replace(sql, 'target_row    INTEGER REFERENCES executions,', 'target_row    INTEGER,')
WHERE type = 'table' AND name = 'operations';
PRAGMA writable_schema = RESET;
