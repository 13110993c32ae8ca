-- Rows of certificates and of audit events are numbered time first, so that every index ends in the order of listings, and counts are kept.
-- Tables are made anew, in the order of their numbers. The row (id) is the last column of every index. Names lie beside those of the same
-- certificate, labels beside the same ones of others, each in one tree instead of two.

-- The number: 34 bits of seconds, 24 bits that count, 5 bits that say what counts (17: these rows). See src/storage/row_numbers.rs.
CREATE TABLE certificate_names_next (
    certificate_id INTEGER NOT NULL,
    type INTEGER NOT NULL,
    search_key TEXT NOT NULL,
    PRIMARY KEY (certificate_id, type, search_key)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO certificate_names_next (certificate_id, type, search_key)
    SELECT (MIN(MAX(certificates.issued_at, 0), 17179869183) << 29) | ((certificates.id & 16777215) << 5) | 17,
        certificate_names.type, certificate_names.search_key
    FROM certificate_names JOIN certificates ON certificates.id = certificate_names.certificate_id ORDER BY 1;
DROP TABLE certificate_names;
ALTER TABLE certificate_names_next RENAME TO certificate_names;

CREATE TABLE certificate_labels_next (
    certificate_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (key, value, certificate_id)
) STRICT, WITHOUT ROWID;
INSERT INTO certificate_labels_next (certificate_id, key, value)
    SELECT (MIN(MAX(certificates.issued_at, 0), 17179869183) << 29) | ((certificates.id & 16777215) << 5) | 17,
        certificate_labels.key, certificate_labels.value
    FROM certificate_labels JOIN certificates ON certificates.id = certificate_labels.certificate_id ORDER BY 2, 3, 1;
DROP TABLE certificate_labels;
ALTER TABLE certificate_labels_next RENAME TO certificate_labels;

CREATE TABLE certificates_next (
    id INTEGER PRIMARY KEY NOT NULL,
    serial BLOB NOT NULL,
    issuer_id INTEGER NOT NULL,
    profile TEXT NOT NULL,
    profile_version INTEGER NOT NULL,
    requester TEXT NOT NULL,
    source INTEGER NOT NULL,
    subject TEXT NOT NULL,
    key_algorithm TEXT NOT NULL,
    spki_sha256 BLOB NOT NULL,
    fingerprint_sha256 BLOB NOT NULL,
    not_before INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    issued_at INTEGER NOT NULL,
    labels TEXT,
    state INTEGER NOT NULL DEFAULT 0,
    revoked_at INTEGER,
    revocation_reason INTEGER,
    invalidity_date INTEGER,
    der BLOB NOT NULL,
    crl_shard INTEGER NOT NULL DEFAULT 0,
    -- The issuer's count of changes when this certificate's state was last changed; null when it never was.
    change_number INTEGER,
    CHECK ((state = 0) = (revoked_at IS NULL) AND (revoked_at IS NULL) = (revocation_reason IS NULL))
) STRICT;
INSERT INTO certificates_next (id, serial, issuer_id, profile, profile_version, requester, source, subject, key_algorithm, spki_sha256,
        fingerprint_sha256, not_before, not_after, issued_at, labels, state, revoked_at, revocation_reason, invalidity_date, der, crl_shard,
        change_number)
    SELECT (MIN(MAX(issued_at, 0), 17179869183) << 29) | ((id & 16777215) << 5) | 17, serial, issuer_id, profile, profile_version,
        requester, source, subject, key_algorithm, spki_sha256, fingerprint_sha256, not_before, not_after, issued_at, labels, state,
        revoked_at, revocation_reason, invalidity_date, der, crl_shard, change_number
    FROM certificates ORDER BY 1;
DROP TABLE certificates;
ALTER TABLE certificates_next RENAME TO certificates;

CREATE UNIQUE INDEX certificates_serial ON certificates (serial, issuer_id);
CREATE INDEX certificates_not_after ON certificates (not_after);
CREATE INDEX certificates_spki ON certificates (spki_sha256);
CREATE INDEX certificates_fingerprint ON certificates (fingerprint_sha256);
CREATE INDEX certificates_requester ON certificates (requester);
CREATE INDEX certificates_profile ON certificates (profile);
CREATE INDEX certificates_issuer ON certificates (issuer_id);
-- For CRLs, listings and counts of what is revoked: few rows, nothing to write at issuance. The first holds all that an entry of a CRL
-- needs, so that a million entries are read without the certificates themselves.
CREATE INDEX certificates_revoked_by_scope ON certificates
    (issuer_id, crl_shard, id, not_after, serial, revoked_at, revocation_reason, invalidity_date, state) WHERE state <> 0;
CREATE INDEX certificates_changed ON certificates (issuer_id, change_number) WHERE change_number IS NOT NULL;
CREATE INDEX certificates_state ON certificates (state) WHERE state <> 0;
CREATE INDEX certificates_state_end ON certificates (state, not_after) WHERE state <> 0;

CREATE INDEX certificate_names_search ON certificate_names (search_key, certificate_id);

-- The number: 42 bits of milliseconds, 17 bits of the place in the chain, 4 bits of the chain.
CREATE TABLE audit_events_next (
    id INTEGER PRIMARY KEY NOT NULL,
    chain INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    outcome INTEGER NOT NULL,
    object TEXT NOT NULL,
    bytes BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
INSERT INTO audit_events_next (id, chain, sequence, occurred_at, actor, action, outcome, object, bytes, hash)
    SELECT (MIN(MAX(occurred_at, 0), 4398046511103) << 21) | ((sequence & 131071) << 4) | (chain & 15),
        chain, sequence, occurred_at, actor, action, outcome, object, bytes, hash
    FROM audit_events ORDER BY 1;
DROP TABLE audit_events;
ALTER TABLE audit_events_next RENAME TO audit_events;
CREATE UNIQUE INDEX audit_events_chain ON audit_events (chain, sequence);
CREATE INDEX audit_events_actor ON audit_events (actor);
CREATE INDEX audit_events_object ON audit_events (object);
-- For what is rare beside issuance, and so costs issuance nothing.
CREATE INDEX audit_events_rare_action ON audit_events (action) WHERE action <> 'certificate.issue';
CREATE INDEX audit_events_refused ON audit_events (outcome) WHERE outcome <> 0;

-- How many certificates there are, by the day (since 1970) of their issue and of their end, whatever their state. A job counts them.
CREATE TABLE certificate_counts (
    issued_day INTEGER NOT NULL,
    expiry_day INTEGER NOT NULL,
    issuer_id INTEGER NOT NULL,
    profile TEXT NOT NULL,
    certificates INTEGER NOT NULL,
    PRIMARY KEY (issued_day, expiry_day, issuer_id, profile)
) STRICT;
-- The last row that is counted.
CREATE TABLE certificate_counting (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    counted INTEGER NOT NULL
) STRICT;
-- Days that are to be counted anew: certificates of them came late.
CREATE TABLE uncounted_days (
    issued_day INTEGER PRIMARY KEY NOT NULL
) STRICT;
INSERT INTO certificate_counts (issued_day, expiry_day, issuer_id, profile, certificates)
    SELECT issued_at / 86400, not_after / 86400, issuer_id, profile, COUNT(*) FROM certificates GROUP BY 1, 2, 3, 4;
INSERT INTO certificate_counting (id, counted) SELECT 1, COALESCE(MAX(id), 0) FROM certificates;

CREATE INDEX acme_orders_profile ON acme_orders (profile);
CREATE INDEX acme_orders_invalid ON acme_orders (status) WHERE status = 3;
CREATE INDEX acme_accounts_ended ON acme_accounts (status) WHERE status <> 0;
-- Of deleted keys too: accounts that were bound by them are found by their principal.
DROP INDEX acme_external_account_keys_principal;
CREATE INDEX acme_external_account_keys_principal ON acme_external_account_keys (principal);
