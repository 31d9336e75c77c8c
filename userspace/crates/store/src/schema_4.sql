-- Rules that were made or changed by hand; one that is on from the start and
-- was changed has its id. Numbers that a condition does not have are NULL.
CREATE TABLE alert_rules (
    id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    origin VARCHAR NOT NULL,
    enabled BOOLEAN NOT NULL,
    service VARCHAR,
    metric VARCHAR NOT NULL,
    condition VARCHAR NOT NULL,
    threshold DOUBLE,
    clear DOUBLE,
    factor DOUBLE,
    lowest DOUBLE,
    deviations DOUBLE,
    past_s UBIGINT,
    window_s UBIGINT NOT NULL,
    hold_s UBIGINT NOT NULL,
    keep_s UBIGINT NOT NULL,
    min_requests UBIGINT NOT NULL,
    severity VARCHAR NOT NULL
);

-- Alerts that fired, each in one row that changes with it, and pending ones
-- until they are over.
CREATE TABLE alerts (
    id VARCHAR NOT NULL,
    rule VARCHAR NOT NULL,
    rule_name VARCHAR NOT NULL,
    service VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    severity VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    value DOUBLE,
    threshold DOUBLE,
    summary VARCHAR NOT NULL,
    since TIMESTAMP NOT NULL,
    fired TIMESTAMP,
    resolved TIMESTAMP,
    silenced_by VARCHAR
);

CREATE TABLE silences (
    id VARCHAR NOT NULL,
    service VARCHAR,
    rule VARCHAR,
    begins TIMESTAMP NOT NULL,
    ends TIMESTAMP NOT NULL,
    comment VARCHAR NOT NULL
);

-- Attempts to tell somebody of an alert.
CREATE TABLE deliveries (
    told TIMESTAMP NOT NULL,
    notifier VARCHAR NOT NULL,
    alert VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    n_attempts UINTEGER NOT NULL,
    error VARCHAR,
    will_retry BOOLEAN NOT NULL
);

COMMENT ON TABLE alert_rules IS 'Rules of alerts that were made or changed by hand';
COMMENT ON TABLE alerts IS 'Alerts that fired, and pending ones: one row an episode';
COMMENT ON TABLE silences IS 'When alerts are shown but not sent';
COMMENT ON TABLE deliveries IS 'Attempts to tell somebody of an alert';
