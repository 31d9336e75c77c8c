-- The times beside duration and ttfb, as histograms of the same form; NULL
-- where nothing was measured, as in every older row. Counts are NULL where
-- nothing streamed or nobody told of tokens.
DROP VIEW rollups;

ALTER TABLE rollups_1s ADD COLUMN felt BLOB;
ALTER TABLE rollups_1s ADD COLUMN queue BLOB;
ALTER TABLE rollups_1s ADD COLUMN read BLOB;
ALTER TABLE rollups_1s ADD COLUMN app BLOB;
ALTER TABLE rollups_1s ADD COLUMN stream BLOB;
ALTER TABLE rollups_1s ADD COLUMN drain BLOB;
ALTER TABLE rollups_1s ADD COLUMN first_chunk BLOB;
ALTER TABLE rollups_1s ADD COLUMN chunk_interval BLOB;
ALTER TABLE rollups_1s ADD COLUMN n_chunks UBIGINT;
ALTER TABLE rollups_1s ADD COLUMN n_stalls UBIGINT;
ALTER TABLE rollups_1s ADD COLUMN input_tokens UBIGINT;
ALTER TABLE rollups_1s ADD COLUMN output_tokens UBIGINT;

ALTER TABLE rollups_10s ADD COLUMN felt BLOB;
ALTER TABLE rollups_10s ADD COLUMN queue BLOB;
ALTER TABLE rollups_10s ADD COLUMN read BLOB;
ALTER TABLE rollups_10s ADD COLUMN app BLOB;
ALTER TABLE rollups_10s ADD COLUMN stream BLOB;
ALTER TABLE rollups_10s ADD COLUMN drain BLOB;
ALTER TABLE rollups_10s ADD COLUMN first_chunk BLOB;
ALTER TABLE rollups_10s ADD COLUMN chunk_interval BLOB;
ALTER TABLE rollups_10s ADD COLUMN n_chunks UBIGINT;
ALTER TABLE rollups_10s ADD COLUMN n_stalls UBIGINT;
ALTER TABLE rollups_10s ADD COLUMN input_tokens UBIGINT;
ALTER TABLE rollups_10s ADD COLUMN output_tokens UBIGINT;

ALTER TABLE rollups_60s ADD COLUMN felt BLOB;
ALTER TABLE rollups_60s ADD COLUMN queue BLOB;
ALTER TABLE rollups_60s ADD COLUMN read BLOB;
ALTER TABLE rollups_60s ADD COLUMN app BLOB;
ALTER TABLE rollups_60s ADD COLUMN stream BLOB;
ALTER TABLE rollups_60s ADD COLUMN drain BLOB;
ALTER TABLE rollups_60s ADD COLUMN first_chunk BLOB;
ALTER TABLE rollups_60s ADD COLUMN chunk_interval BLOB;
ALTER TABLE rollups_60s ADD COLUMN n_chunks UBIGINT;
ALTER TABLE rollups_60s ADD COLUMN n_stalls UBIGINT;
ALTER TABLE rollups_60s ADD COLUMN input_tokens UBIGINT;
ALTER TABLE rollups_60s ADD COLUMN output_tokens UBIGINT;

CREATE VIEW rollups AS
    SELECT 1 AS width_s, * FROM rollups_1s
    UNION ALL SELECT 10, * FROM rollups_10s
    UNION ALL SELECT 60, * FROM rollups_60s;
