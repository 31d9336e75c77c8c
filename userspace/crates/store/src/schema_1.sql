CREATE TABLE modeltap_schema (
    version UINTEGER NOT NULL,
    applied TIMESTAMP
);

-- One row a start of the daemon; last_batch is the last batch of rollups that
-- is in the tables, so that a batch whose commit was in doubt is not written
-- twice.
CREATE TABLE runs (
    run VARCHAR NOT NULL,
    started TIMESTAMP NOT NULL,
    last_batch UBIGINT NOT NULL
);

-- Requests by series and second of wall time (UTC). The histograms are sparse
-- and log-linear: for each bucket the distance to the one before and the
-- count, as LEB128 variable-length integers.
CREATE TABLE rollups_1s (
    start TIMESTAMP NOT NULL,
    service VARCHAR NOT NULL,
    container VARCHAR NOT NULL,
    route VARCHAR NOT NULL,
    method VARCHAR,
    status USMALLINT,
    outcome VARCHAR NOT NULL,
    n_requests UBIGINT NOT NULL,
    n_errors UBIGINT NOT NULL,
    n_incomplete UBIGINT NOT NULL,
    duration_sum_ns UBIGINT NOT NULL,
    duration_max_ns UBIGINT NOT NULL,
    request_body_bytes UBIGINT NOT NULL,
    response_body_bytes UBIGINT NOT NULL,
    duration BLOB NOT NULL,
    ttfb BLOB NOT NULL
);

CREATE TABLE rollups_10s AS SELECT * FROM rollups_1s;
CREATE TABLE rollups_60s AS SELECT * FROM rollups_1s;

CREATE VIEW rollups AS
    SELECT 1 AS width_s, * FROM rollups_1s
    UNION ALL SELECT 10, * FROM rollups_10s
    UNION ALL SELECT 60, * FROM rollups_60s;
