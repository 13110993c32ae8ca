-- ACME (RFC 8555). Rows of accounts, orders and authorizations are numbered by the service: time first, so that indexes grow at their edge.
-- Times are Unix seconds unless a column says milliseconds.

CREATE TABLE acme_external_account_keys (
    id INTEGER PRIMARY KEY NOT NULL,
    key_id TEXT NOT NULL UNIQUE,
    profile TEXT NOT NULL,
    -- The principal whose certificates they become.
    principal TEXT NOT NULL,
    -- JSON: what accounts bound by it may have signed.
    grants TEXT NOT NULL,
    proves_control INTEGER NOT NULL,
    single_use INTEGER NOT NULL,
    key_encryption_key_id TEXT NOT NULL,
    sealed BLOB NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    deleted_at INTEGER,
    -- When an account was bound by it last; one for single use is bound once.
    bound_at INTEGER
) STRICT;

CREATE INDEX acme_external_account_keys_principal ON acme_external_account_keys (principal) WHERE deleted_at IS NULL;
CREATE INDEX acme_external_account_keys_creator ON acme_external_account_keys (created_by) WHERE deleted_at IS NULL;

CREATE TABLE acme_accounts (
    id INTEGER PRIMARY KEY NOT NULL,
    -- 0 valid, 1 deactivated by its holder, 2 revoked by an operator.
    status INTEGER NOT NULL,
    -- RFC 7638 thumbprint of the account key, and the key as canonical JSON.
    thumbprint BLOB NOT NULL UNIQUE,
    jwk TEXT NOT NULL,
    -- JSON list.
    contacts TEXT NOT NULL,
    -- The terms that were agreed to.
    terms_of_service TEXT,
    external_account_key_id INTEGER REFERENCES acme_external_account_keys (id),
    -- The binding as the client sent it, JSON.
    external_account_binding TEXT,
    -- Overrides of rate limits, JSON.
    rate_limits TEXT,
    created_at INTEGER NOT NULL,
    created_from TEXT
) STRICT;
CREATE INDEX acme_accounts_external_account_key ON acme_accounts (external_account_key_id) WHERE external_account_key_id IS NOT NULL;

CREATE TABLE acme_orders (
    id INTEGER PRIMARY KEY NOT NULL,
    account_id INTEGER NOT NULL,
    profile TEXT NOT NULL,
    -- 0 pending (ready when all its authorizations are valid), 1 processing, 2 valid, 3 invalid.
    status INTEGER NOT NULL,
    -- JSON list, as the client is told.
    identifiers TEXT NOT NULL,
    not_before INTEGER,
    not_after INTEGER,
    -- The certificate identifier of RFC 9773 that the order replaces.
    replaces TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- JSON: why it is invalid.
    error TEXT,
    -- While processing: the request, who works on it and until when.
    csr BLOB,
    lease_holder TEXT,
    lease_until INTEGER,
    certificate_issuer_id INTEGER,
    certificate_serial BLOB,
    finalized_at INTEGER,
    -- From when on its end counts: the end of the certificate, else of the order.
    ends_at INTEGER NOT NULL
) STRICT;
CREATE INDEX acme_orders_account ON acme_orders (account_id, id);
CREATE UNIQUE INDEX acme_orders_replaces ON acme_orders (replaces) WHERE replaces IS NOT NULL AND status <> 3;
-- Whose certificate it is.
CREATE INDEX acme_orders_certificate ON acme_orders (certificate_serial) WHERE certificate_serial IS NOT NULL;
CREATE INDEX acme_orders_processing ON acme_orders (lease_until) WHERE status = 1;
CREATE INDEX acme_orders_open ON acme_orders (expires_at) WHERE status = 0;
CREATE INDEX acme_orders_pending ON acme_orders (account_id, expires_at) WHERE status = 0;
CREATE INDEX acme_orders_ended ON acme_orders (ends_at) WHERE status >= 2;

CREATE TABLE acme_authorizations (
    id INTEGER PRIMARY KEY NOT NULL,
    account_id INTEGER NOT NULL,
    -- 0 dns, 1 ip.
    identifier_type INTEGER NOT NULL,
    -- Without the `*.` of a wildcard.
    identifier TEXT NOT NULL,
    wildcard INTEGER NOT NULL,
    -- 0 pending, 1 valid, 2 invalid, 3 deactivated.
    status INTEGER NOT NULL,
    token TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- The challenge that was answered; null while none was, and for good when an external account binding proves control.
    challenge_type TEXT,
    -- 0 processing, 1 valid, 2 invalid; null while no challenge was answered.
    challenge_state INTEGER,
    -- Of the account key at that moment, and the account's address as the client knew it.
    thumbprint BLOB,
    account_url TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    -- Milliseconds.
    next_attempt_at INTEGER,
    lease_holder TEXT,
    -- Milliseconds.
    lease_until INTEGER,
    validated_at INTEGER,
    -- JSON: the last failure.
    error TEXT,
    -- It ended, and is kept for as long as an order shows it: clean-up does not look at it again.
    retained INTEGER NOT NULL DEFAULT FALSE
) STRICT;
CREATE INDEX acme_authorizations_valid ON acme_authorizations (account_id, identifier) WHERE status = 1;
CREATE INDEX acme_authorizations_due ON acme_authorizations (next_attempt_at) WHERE status = 0 AND challenge_state = 0;
-- How many challenges of an account are looked at.
CREATE INDEX acme_authorizations_processing ON acme_authorizations (account_id) WHERE status = 0 AND challenge_state = 0;
CREATE INDEX acme_authorizations_expiry ON acme_authorizations (expires_at) WHERE NOT retained;
CREATE INDEX acme_authorizations_identifier ON acme_authorizations (identifier);
CREATE INDEX acme_authorizations_account ON acme_authorizations (account_id) WHERE status = 0;

CREATE TABLE acme_order_authorizations (
    order_id INTEGER NOT NULL,
    -- The place of the identifier in the order, from 0.
    position INTEGER NOT NULL,
    authorization_id INTEGER NOT NULL,
    PRIMARY KEY (order_id, position)
) STRICT;
CREATE INDEX acme_order_authorizations_authorization ON acme_order_authorizations (authorization_id);

-- The generic cell rate algorithm: the theoretical arrival time of each key, in milliseconds.
CREATE TABLE acme_rate_limits (
    key TEXT PRIMARY KEY NOT NULL,
    arrival INTEGER NOT NULL
) STRICT;
CREATE INDEX acme_rate_limits_arrival ON acme_rate_limits (arrival);

-- When operators want certificates renewed (RFC 9773): one certificate, or all of an issuer that were issued before a moment.
CREATE TABLE acme_renewal_windows (
    id INTEGER PRIMARY KEY NOT NULL,
    issuer_id INTEGER NOT NULL,
    serial BLOB,
    issued_before INTEGER,
    starts_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    explanation_url TEXT,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX acme_renewal_windows_certificate ON acme_renewal_windows (issuer_id, serial);
