ALTER TABLE operations ADD COLUMN signal_seq INTEGER;
ALTER TABLE inbox ADD COLUMN sender TEXT NOT NULL DEFAULT '';
ALTER TABLE inbox ADD COLUMN set_aside TEXT CHECK (set_aside IS NULL OR consumed = 0);

DROP INDEX inbox_unconsumed;
CREATE INDEX inbox_in_line ON inbox (execution_row, name, seq) WHERE consumed = 0 AND set_aside IS NULL;
