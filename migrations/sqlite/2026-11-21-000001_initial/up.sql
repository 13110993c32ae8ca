-- The first schema. Times are Unix seconds (audit events: milliseconds). All tables are STRICT rowid tables: measured three times
-- faster to fill than WITHOUT ROWID. Tables filled at every issuance have no foreign keys: they are written once, by one transaction.

CREATE TABLE ca_keys (
    id INTEGER PRIMARY KEY NOT NULL,
    algorithm TEXT NOT NULL,
    spki_sha256 BLOB NOT NULL UNIQUE,
    -- Either the sealed key, or the path of its file.
    key_encryption_key_id TEXT,
    sealed BLOB,
    path TEXT,
    CHECK ((path IS NULL) = (sealed IS NOT NULL) AND (sealed IS NULL) = (key_encryption_key_id IS NULL))
) STRICT;

CREATE TABLE issuers (
    id INTEGER PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    parent_id INTEGER REFERENCES issuers (id),
    state INTEGER NOT NULL,
    is_default INTEGER NOT NULL,
    key_id INTEGER NOT NULL REFERENCES ca_keys (id),
    -- Null only within the transaction that makes the issuer.
    certificate_id INTEGER REFERENCES certificates (id),
    created_at INTEGER NOT NULL,
    revocations INTEGER NOT NULL DEFAULT 0,
    crl_number INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX issuers_default ON issuers (is_default) WHERE is_default = 1;

CREATE TABLE certificates (
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
    CHECK ((state = 0) = (revoked_at IS NULL) AND (revoked_at IS NULL) = (revocation_reason IS NULL))
) STRICT;
CREATE UNIQUE INDEX certificates_serial ON certificates (serial, issuer_id);
-- The row (id) is the last column of every SQLite index.
CREATE INDEX certificates_issued_at ON certificates (issued_at);
CREATE INDEX certificates_not_after ON certificates (not_after);
CREATE INDEX certificates_spki ON certificates (spki_sha256);
CREATE INDEX certificates_fingerprint ON certificates (fingerprint_sha256);
CREATE INDEX certificates_requester ON certificates (requester, issued_at);
-- For CRLs and for listings of what is revoked: few rows, nothing to write at issuance.
CREATE INDEX certificates_revoked_by_issuer ON certificates (issuer_id) WHERE state <> 0;
CREATE INDEX certificates_revoked_by_time ON certificates (issued_at) WHERE state <> 0;

CREATE TABLE certificate_names (
    certificate_id INTEGER NOT NULL,
    type INTEGER NOT NULL,
    search_key TEXT NOT NULL
) STRICT;
CREATE INDEX certificate_names_search ON certificate_names (search_key, certificate_id);

CREATE TABLE certificate_labels (
    certificate_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL
) STRICT;
CREATE INDEX certificate_labels_search ON certificate_labels (key, value, certificate_id);

CREATE TABLE idempotency_keys (
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    request_sha256 BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    -- Either the certificate that was issued, or a sealed answer.
    serial BLOB,
    key_encryption_key_id TEXT,
    sealed BLOB,
    PRIMARY KEY (caller, key)
) STRICT;
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

CREATE TABLE blocked_keys (
    spki_sha256 BLOB PRIMARY KEY NOT NULL,
    blocked_at INTEGER NOT NULL
) STRICT;

CREATE TABLE crls (
    issuer_id INTEGER PRIMARY KEY NOT NULL REFERENCES issuers (id),
    number INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    revocations INTEGER NOT NULL,
    der BLOB NOT NULL
) STRICT;

CREATE TABLE profiles (
    name TEXT PRIMARY KEY NOT NULL,
    -- The present version, also the greatest ever given: it stays when the profile is deleted.
    version INTEGER NOT NULL,
    deleted INTEGER NOT NULL
) STRICT;

CREATE TABLE profile_versions (
    name TEXT NOT NULL REFERENCES profiles (name),
    version INTEGER NOT NULL,
    document TEXT NOT NULL,
    origin INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;

CREATE TABLE api_tokens (
    number INTEGER PRIMARY KEY NOT NULL,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    secret_sha256 BLOB NOT NULL UNIQUE,
    role TEXT NOT NULL,
    grants TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;
CREATE UNIQUE INDEX api_tokens_name ON api_tokens (name) WHERE revoked_at IS NULL;

CREATE TABLE audit_chains (
    id INTEGER PRIMARY KEY NOT NULL,
    sequence INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
WITH RECURSIVE numbers (id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM numbers WHERE id < 15)
INSERT INTO audit_chains (id, sequence, hash) SELECT id, 0, zeroblob(32) FROM numbers;

CREATE TABLE audit_events (
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
CREATE UNIQUE INDEX audit_events_chain ON audit_events (chain, sequence);
CREATE INDEX audit_events_actor ON audit_events (actor);
CREATE INDEX audit_events_object ON audit_events (object);
CREATE INDEX audit_events_time ON audit_events (occurred_at);
-- For what is rare beside issuance, and so costs issuance nothing.
CREATE INDEX audit_events_rare_action ON audit_events (action) WHERE action <> 'certificate.issue';
CREATE INDEX audit_events_refused ON audit_events (outcome) WHERE outcome <> 0;

CREATE TABLE leases (
    name TEXT PRIMARY KEY NOT NULL,
    holder TEXT NOT NULL,
    ends_at INTEGER NOT NULL
) STRICT;

CREATE TABLE generation (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    value INTEGER NOT NULL
) STRICT;
INSERT INTO generation (id, value) VALUES (1, 1);

-- Values that are made once and never change, such as the salt of the passphrase.
CREATE TABLE settings (
    name TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) STRICT;
