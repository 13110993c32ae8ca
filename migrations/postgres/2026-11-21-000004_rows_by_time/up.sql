-- Rows of certificates and of audit events are numbered time first, so that every index ends in the order of listings, and counts are kept.
-- Tables are made anew, in the order of their numbers: updated in place they would be left twice as large.

-- The number: 34 bits of seconds, 24 bits that count, 5 bits that say what counts (17: these rows). See src/storage/row_numbers.rs.
CREATE TABLE certificate_names_next (
    certificate_id BIGINT NOT NULL,
    type SMALLINT NOT NULL,
    search_key TEXT COLLATE "C" NOT NULL
);
INSERT INTO certificate_names_next (certificate_id, type, search_key)
    SELECT (LEAST(GREATEST(certificates.issued_at, 0), 17179869183) << 29) | ((certificates.id & 16777215) << 5) | 17,
        certificate_names.type, certificate_names.search_key
    FROM certificate_names JOIN certificates ON certificates.id = certificate_names.certificate_id ORDER BY 1;
DROP TABLE certificate_names;
ALTER TABLE certificate_names_next RENAME TO certificate_names;

CREATE TABLE certificate_labels_next (
    certificate_id BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL
);
INSERT INTO certificate_labels_next (certificate_id, key, value)
    SELECT (LEAST(GREATEST(certificates.issued_at, 0), 17179869183) << 29) | ((certificates.id & 16777215) << 5) | 17,
        certificate_labels.key, certificate_labels.value
    FROM certificate_labels JOIN certificates ON certificates.id = certificate_labels.certificate_id ORDER BY 1;
DROP TABLE certificate_labels;
ALTER TABLE certificate_labels_next RENAME TO certificate_labels;

CREATE TABLE certificates_next (
    id BIGINT NOT NULL,
    serial BYTEA NOT NULL,
    issuer_id INTEGER NOT NULL,
    profile TEXT COLLATE "C" NOT NULL,
    profile_version INTEGER NOT NULL,
    requester TEXT COLLATE "C" NOT NULL,
    source SMALLINT NOT NULL,
    subject TEXT NOT NULL,
    key_algorithm TEXT NOT NULL,
    spki_sha256 BYTEA NOT NULL,
    fingerprint_sha256 BYTEA NOT NULL,
    not_before BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    issued_at BIGINT NOT NULL,
    labels TEXT,
    state SMALLINT NOT NULL DEFAULT 0,
    revoked_at BIGINT,
    revocation_reason SMALLINT,
    invalidity_date BIGINT,
    der BYTEA NOT NULL,
    crl_shard INTEGER NOT NULL DEFAULT 0,
    -- The issuer's count of changes when this certificate's state was last changed; null when it never was.
    change_number BIGINT,
    CHECK ((state = 0) = (revoked_at IS NULL) AND (revoked_at IS NULL) = (revocation_reason IS NULL))
);
INSERT INTO certificates_next (id, serial, issuer_id, profile, profile_version, requester, source, subject, key_algorithm, spki_sha256,
        fingerprint_sha256, not_before, not_after, issued_at, labels, state, revoked_at, revocation_reason, invalidity_date, der, crl_shard,
        change_number)
    SELECT (LEAST(GREATEST(issued_at, 0), 17179869183) << 29) | ((id & 16777215) << 5) | 17, serial, issuer_id, profile, profile_version,
        requester, source, subject, key_algorithm, spki_sha256, fingerprint_sha256, not_before, not_after, issued_at, labels, state,
        revoked_at, revocation_reason, invalidity_date, der, crl_shard, change_number
    FROM certificates ORDER BY 1;
DROP TABLE certificates;
ALTER TABLE certificates_next RENAME TO certificates;
ALTER TABLE certificates ADD CONSTRAINT certificates_pkey PRIMARY KEY (id);
-- Counts for rows that are not written with the events of their issuance.
CREATE SEQUENCE certificate_numbers;

CREATE UNIQUE INDEX certificates_serial ON certificates (serial, issuer_id);
CREATE INDEX certificates_not_after ON certificates (not_after, id);
CREATE INDEX certificates_spki ON certificates (spki_sha256);
CREATE INDEX certificates_fingerprint ON certificates (fingerprint_sha256);
CREATE INDEX certificates_requester ON certificates (requester, id);
CREATE INDEX certificates_profile ON certificates (profile, id);
CREATE INDEX certificates_issuer ON certificates (issuer_id, id);
-- For CRLs, listings and counts of what is revoked: few rows, nothing to write at issuance. The first holds all that an entry of a CRL
-- needs, so that a million entries are read without the certificates themselves.
CREATE INDEX certificates_revoked_by_scope ON certificates (issuer_id, crl_shard, id)
    INCLUDE (not_after, serial, revoked_at, revocation_reason, invalidity_date) WHERE state <> 0;
CREATE INDEX certificates_changed ON certificates (issuer_id, change_number, id) WHERE change_number IS NOT NULL;
CREATE INDEX certificates_state ON certificates (state, id) WHERE state <> 0;
CREATE INDEX certificates_state_end ON certificates (state, not_after) WHERE state <> 0;

CREATE INDEX certificate_names_search ON certificate_names (search_key, certificate_id);
CREATE INDEX certificate_names_certificate ON certificate_names (certificate_id);
CREATE INDEX certificate_labels_search ON certificate_labels (key, value, certificate_id);

-- The number: 42 bits of milliseconds, 17 bits of the place in the chain, 4 bits of the chain.
CREATE TABLE audit_events_next (
    id BIGINT NOT NULL,
    chain INTEGER NOT NULL,
    sequence BIGINT NOT NULL,
    occurred_at BIGINT NOT NULL,
    actor TEXT COLLATE "C" NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    outcome SMALLINT NOT NULL,
    object TEXT COLLATE "C" NOT NULL,
    bytes BYTEA NOT NULL,
    hash BYTEA NOT NULL
);
INSERT INTO audit_events_next (id, chain, sequence, occurred_at, actor, action, outcome, object, bytes, hash)
    SELECT (LEAST(GREATEST(occurred_at, 0), 4398046511103) << 21) | ((sequence & 131071) << 4) | (chain & 15),
        chain, sequence, occurred_at, actor, action, outcome, object, bytes, hash
    FROM audit_events ORDER BY 1;
DROP TABLE audit_events;
ALTER TABLE audit_events_next RENAME TO audit_events;
ALTER TABLE audit_events ADD CONSTRAINT audit_events_pkey PRIMARY KEY (id);
CREATE UNIQUE INDEX audit_events_chain ON audit_events (chain, sequence);
CREATE INDEX audit_events_actor ON audit_events (actor, id);
CREATE INDEX audit_events_object ON audit_events (object, id);
-- For what is rare beside issuance, and so costs issuance nothing.
CREATE INDEX audit_events_rare_action ON audit_events (action, id) WHERE action <> 'certificate.issue';
CREATE INDEX audit_events_refused ON audit_events (outcome, id) WHERE outcome <> 0;

-- How many certificates there are, by the day (since 1970) of their issue and of their end, whatever their state. A job counts them.
CREATE TABLE certificate_counts (
    issued_day INTEGER NOT NULL,
    expiry_day INTEGER NOT NULL,
    issuer_id INTEGER NOT NULL,
    profile TEXT COLLATE "C" NOT NULL,
    certificates BIGINT NOT NULL,
    PRIMARY KEY (issued_day, expiry_day, issuer_id, profile)
);
-- The last row that is counted.
CREATE TABLE certificate_counting (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    counted BIGINT NOT NULL
);
-- Days that are to be counted anew: certificates of them came late.
CREATE TABLE uncounted_days (
    issued_day INTEGER PRIMARY KEY NOT NULL
);
INSERT INTO certificate_counts (issued_day, expiry_day, issuer_id, profile, certificates)
    SELECT issued_at / 86400, not_after / 86400, issuer_id, profile, COUNT(*) FROM certificates GROUP BY 1, 2, 3, 4;
INSERT INTO certificate_counting (id, counted) SELECT 1, COALESCE(MAX(id), 0) FROM certificates;

CREATE INDEX acme_orders_profile ON acme_orders (profile, id);
CREATE INDEX acme_orders_invalid ON acme_orders (status, id) WHERE status = 3;
CREATE INDEX acme_accounts_ended ON acme_accounts (status, id) WHERE status <> 0;
-- Of deleted keys too: accounts that were bound by them are found by their principal.
DROP INDEX acme_external_account_keys_principal;
CREATE INDEX acme_external_account_keys_principal ON acme_external_account_keys (principal);
