ALTER TABLE executions ADD COLUMN run INTEGER NOT NULL DEFAULT 1;
ALTER TABLE executions ADD COLUMN previous INTEGER;
ALTER TABLE executions ADD COLUMN mailbox INTEGER;
ALTER TABLE executions ADD COLUMN max_duration_ms INTEGER;
ALTER TABLE executions ADD COLUMN node_deaths INTEGER NOT NULL DEFAULT 0;
ALTER TABLE inbox ADD COLUMN taken_by INTEGER;
CREATE INDEX executions_by_mailbox ON executions (mailbox, row) WHERE mailbox IS NOT NULL;

-- One more final status. The rows stay as they are, so only the text of the schema changes:
-- https://sqlite.org/lang_altertable.html, section 7.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
SET sql = replace(sql, 'status = ''compensated'')', 'status = ''compensated'' OR status = ''continued_as_new'')')
WHERE type = 'table' AND name = 'executions';
PRAGMA writable_schema = RESET;
