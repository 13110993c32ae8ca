-- ACME (RFC 8555). Rows of accounts, orders and authorizations are numbered by the service: time first, so that indexes grow at their edge.
-- Times are Unix seconds unless a column says milliseconds.

CREATE TABLE acme_external_account_keys (
    id BIGINT PRIMARY KEY NOT NULL,
    key_id TEXT NOT NULL UNIQUE,
    profile TEXT NOT NULL,
    -- The principal whose certificates they become.
    principal TEXT NOT NULL,
    -- JSON: what accounts bound by it may have signed.
    grants TEXT NOT NULL,
    proves_control BOOLEAN NOT NULL,
    single_use BOOLEAN NOT NULL,
    key_encryption_key_id TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    deleted_at BIGINT,
    -- When an account was bound by it last; one for single use is bound once.
    bound_at BIGINT
);

CREATE INDEX acme_external_account_keys_principal ON acme_external_account_keys (principal) WHERE deleted_at IS NULL;
CREATE INDEX acme_external_account_keys_creator ON acme_external_account_keys (created_by) WHERE deleted_at IS NULL;

CREATE TABLE acme_accounts (
    id BIGINT PRIMARY KEY NOT NULL,
    -- 0 valid, 1 deactivated by its holder, 2 revoked by an operator.
    status SMALLINT NOT NULL,
    -- RFC 7638 thumbprint of the account key, and the key as canonical JSON.
    thumbprint BYTEA NOT NULL UNIQUE,
    jwk TEXT NOT NULL,
    -- JSON list.
    contacts TEXT NOT NULL,
    -- The terms that were agreed to.
    terms_of_service TEXT,
    external_account_key_id BIGINT REFERENCES acme_external_account_keys (id),
    -- The binding as the client sent it, JSON.
    external_account_binding TEXT,
    -- Overrides of rate limits, JSON.
    rate_limits TEXT,
    created_at BIGINT NOT NULL,
    created_from TEXT
);
CREATE INDEX acme_accounts_external_account_key ON acme_accounts (external_account_key_id) WHERE external_account_key_id IS NOT NULL;

CREATE TABLE acme_orders (
    id BIGINT PRIMARY KEY NOT NULL,
    account_id BIGINT NOT NULL,
    profile TEXT NOT NULL,
    -- 0 pending (ready when all its authorizations are valid), 1 processing, 2 valid, 3 invalid.
    status SMALLINT NOT NULL,
    -- JSON list, as the client is told.
    identifiers TEXT NOT NULL,
    not_before BIGINT,
    not_after BIGINT,
    -- The certificate identifier of RFC 9773 that the order replaces.
    replaces TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    -- JSON: why it is invalid.
    error TEXT,
    -- While processing: the request, who works on it and until when.
    csr BYTEA,
    lease_holder TEXT,
    lease_until BIGINT,
    certificate_issuer_id INTEGER,
    certificate_serial BYTEA,
    finalized_at BIGINT,
    -- From when on its end counts: the end of the certificate, else of the order.
    ends_at BIGINT NOT NULL
);
CREATE INDEX acme_orders_account ON acme_orders (account_id, id);
CREATE UNIQUE INDEX acme_orders_replaces ON acme_orders (replaces) WHERE replaces IS NOT NULL AND status <> 3;
-- Whose certificate it is.
CREATE INDEX acme_orders_certificate ON acme_orders (certificate_serial) WHERE certificate_serial IS NOT NULL;
CREATE INDEX acme_orders_processing ON acme_orders (lease_until) WHERE status = 1;
CREATE INDEX acme_orders_open ON acme_orders (expires_at) WHERE status = 0;
CREATE INDEX acme_orders_pending ON acme_orders (account_id, expires_at) WHERE status = 0;
CREATE INDEX acme_orders_ended ON acme_orders (ends_at) WHERE status >= 2;

CREATE TABLE acme_authorizations (
    id BIGINT PRIMARY KEY NOT NULL,
    account_id BIGINT NOT NULL,
    -- 0 dns, 1 ip.
    identifier_type SMALLINT NOT NULL,
    -- Without the `*.` of a wildcard.
    identifier TEXT NOT NULL,
    wildcard BOOLEAN NOT NULL,
    -- 0 pending, 1 valid, 2 invalid, 3 deactivated.
    status SMALLINT NOT NULL,
    token TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    -- The challenge that was answered; null while none was, and for good when an external account binding proves control.
    challenge_type TEXT,
    -- 0 processing, 1 valid, 2 invalid; null while no challenge was answered.
    challenge_state SMALLINT,
    -- Of the account key at that moment, and the account's address as the client knew it.
    thumbprint BYTEA,
    account_url TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    -- Milliseconds.
    next_attempt_at BIGINT,
    lease_holder TEXT,
    -- Milliseconds.
    lease_until BIGINT,
    validated_at BIGINT,
    -- JSON: the last failure.
    error TEXT,
    -- It ended, and is kept for as long as an order shows it: clean-up does not look at it again.
    retained BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX acme_authorizations_valid ON acme_authorizations (account_id, identifier) WHERE status = 1;
CREATE INDEX acme_authorizations_due ON acme_authorizations (next_attempt_at) WHERE status = 0 AND challenge_state = 0;
-- How many challenges of an account are looked at.
CREATE INDEX acme_authorizations_processing ON acme_authorizations (account_id) WHERE status = 0 AND challenge_state = 0;
CREATE INDEX acme_authorizations_expiry ON acme_authorizations (expires_at) WHERE NOT retained;
CREATE INDEX acme_authorizations_identifier ON acme_authorizations (identifier);
CREATE INDEX acme_authorizations_account ON acme_authorizations (account_id) WHERE status = 0;

CREATE TABLE acme_order_authorizations (
    order_id BIGINT NOT NULL,
    -- The place of the identifier in the order, from 0.
    position SMALLINT NOT NULL,
    authorization_id BIGINT NOT NULL,
    PRIMARY KEY (order_id, position)
);
CREATE INDEX acme_order_authorizations_authorization ON acme_order_authorizations (authorization_id);

-- The generic cell rate algorithm: the theoretical arrival time of each key, in milliseconds.
CREATE TABLE acme_rate_limits (
    key TEXT PRIMARY KEY NOT NULL,
    arrival BIGINT NOT NULL
);
CREATE INDEX acme_rate_limits_arrival ON acme_rate_limits (arrival);

-- When operators want certificates renewed (RFC 9773): one certificate, or all of an issuer that were issued before a moment.
CREATE TABLE acme_renewal_windows (
    id BIGINT PRIMARY KEY NOT NULL,
    issuer_id INTEGER NOT NULL,
    serial BYTEA,
    issued_before BIGINT,
    starts_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    explanation_url TEXT,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX acme_renewal_windows_certificate ON acme_renewal_windows (issuer_id, serial);

-- Nonces that were used. Not logged: a nonce costs no write to disk, and a crash empties the tables; nonces are bound to the epoch, which
-- is gone then too, so that none is ever taken twice.
CREATE UNLOGGED TABLE acme_nonce_epochs (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    epoch BYTEA NOT NULL
);
CREATE UNLOGGED TABLE acme_used_nonces (
    nonce BYTEA PRIMARY KEY NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX acme_used_nonces_expiry ON acme_used_nonces (expires_at);
