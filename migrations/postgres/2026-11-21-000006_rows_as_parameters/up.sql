-- What writers hand to their statements: rows, as arrays of these types. None of them may change once it is in use, for versions of the program run
-- side by side while replicas are replaced: another row takes another type.

CREATE TYPE new_certificate AS (
    id BIGINT,
    serial BYTEA,
    issuer_id INTEGER,
    profile TEXT,
    profile_version INTEGER,
    requester TEXT,
    source SMALLINT,
    subject TEXT,
    key_algorithm TEXT,
    spki_sha256 BYTEA,
    fingerprint_sha256 BYTEA,
    not_before BIGINT,
    not_after BIGINT,
    issued_at BIGINT,
    labels TEXT,
    crl_shard INTEGER,
    der BYTEA
);
CREATE TYPE new_certificate_name AS (
    certificate_id BIGINT,
    type SMALLINT,
    search_key TEXT
);
CREATE TYPE new_certificate_label AS (
    certificate_id BIGINT,
    key TEXT,
    value TEXT
);
CREATE TYPE new_idempotency_key AS (
    caller TEXT,
    key TEXT,
    request_sha256 BYTEA,
    expires_at BIGINT,
    serial BYTEA
);
CREATE TYPE new_audit_event AS (
    id BIGINT,
    chain INTEGER,
    sequence BIGINT,
    occurred_at BIGINT,
    actor TEXT,
    action TEXT,
    outcome SMALLINT,
    object TEXT,
    bytes BYTEA,
    hash BYTEA
);
