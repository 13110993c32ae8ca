//! The tables as diesel sees them, the same for both databases. What they mean is said in migrations/; nothing here makes them.

/// Declares the tables in a module of their own, because the macro's output is not documented.
#[allow(missing_docs, unreachable_pub, clippy::use_self, reason = "made by diesel's macro")]
mod tables {
    diesel::table! {
        ca_keys (id) {
            id -> Integer,
            algorithm -> Text,
            spki_sha256 -> Binary,
            key_encryption_key_id -> Nullable<Text>,
            sealed -> Nullable<Binary>,
            path -> Nullable<Text>,
        }
    }

    diesel::table! {
        issuers (id) {
            id -> Integer,
            name -> Text,
            base_name -> Text,
            generation -> Integer,
            state -> SmallInt,
            is_default -> Bool,
            key_id -> Integer,
            settings -> Text,
            csr -> Nullable<Binary>,
            created_at -> BigInt,
            revocations -> BigInt,
            crl_number -> BigInt,
            maximum_shard -> Integer,
        }
    }

    diesel::table! {
        issuer_certificates (id) {
            id -> Integer,
            issuer_id -> Integer,
            parent_id -> Nullable<Integer>,
            is_primary -> Bool,
            fingerprint_sha256 -> Binary,
            der -> Binary,
            upper_chain -> Binary,
            created_at -> BigInt,
        }
    }

    diesel::table! {
        certificates (id) {
            id -> BigInt,
            serial -> Binary,
            issuer_id -> Integer,
            profile -> Text,
            profile_version -> Integer,
            requester -> Text,
            source -> SmallInt,
            subject -> Text,
            key_algorithm -> Text,
            spki_sha256 -> Binary,
            fingerprint_sha256 -> Binary,
            not_before -> BigInt,
            not_after -> BigInt,
            issued_at -> BigInt,
            labels -> Nullable<Text>,
            state -> SmallInt,
            revoked_at -> Nullable<BigInt>,
            revocation_reason -> Nullable<SmallInt>,
            invalidity_date -> Nullable<BigInt>,
            der -> Binary,
            crl_shard -> Integer,
            change_number -> Nullable<BigInt>,
        }
    }

    diesel::table! {
        certificate_names (certificate_id, name_type, search_key) {
            certificate_id -> BigInt,
            #[sql_name = "type"]
            name_type -> SmallInt,
            search_key -> Text,
        }
    }

    diesel::table! {
        certificate_labels (certificate_id, key) {
            certificate_id -> BigInt,
            key -> Text,
            value -> Text,
        }
    }

    diesel::table! {
        idempotency_keys (caller, key) {
            caller -> Text,
            key -> Text,
            request_sha256 -> Binary,
            expires_at -> BigInt,
            serial -> Nullable<Binary>,
            key_encryption_key_id -> Nullable<Text>,
            sealed -> Nullable<Binary>,
        }
    }

    diesel::table! {
        blocked_keys (spki_sha256) {
            spki_sha256 -> Binary,
            blocked_at -> BigInt,
        }
    }

    diesel::table! {
        crl_scopes (issuer_id, shard) {
            issuer_id -> Integer,
            shard -> Integer,
            last_change -> BigInt,
        }
    }

    diesel::table! {
        published_crls (issuer_id, shard, is_delta) {
            issuer_id -> Integer,
            shard -> Integer,
            is_delta -> Bool,
            number -> BigInt,
            base_number -> Nullable<BigInt>,
            this_update -> BigInt,
            next_update -> BigInt,
            revocations -> BigInt,
            size -> BigInt,
        }
    }

    diesel::table! {
        published_crl_parts (issuer_id, shard, is_delta, part) {
            issuer_id -> Integer,
            shard -> Integer,
            is_delta -> Bool,
            part -> Integer,
            number -> BigInt,
            der -> Binary,
        }
    }

    diesel::table! {
        revoked_serials (issuer_id, serial) {
            issuer_id -> Integer,
            serial -> Binary,
            revoked_at -> BigInt,
            revocation_reason -> SmallInt,
            invalidity_date -> Nullable<BigInt>,
            not_after -> Nullable<BigInt>,
            change_number -> BigInt,
        }
    }

    diesel::table! {
        ocsp_responders (issuer_id) {
            issuer_id -> Integer,
            certificate -> Binary,
            key_encryption_key_id -> Text,
            sealed -> Binary,
            not_before -> BigInt,
            not_after -> BigInt,
        }
    }

    diesel::table! {
        profiles (name) {
            name -> Text,
            version -> Integer,
            deleted -> Bool,
        }
    }

    diesel::table! {
        profile_versions (name, version) {
            name -> Text,
            version -> Integer,
            document -> Text,
            origin -> SmallInt,
            created_by -> Text,
            created_at -> BigInt,
        }
    }

    diesel::table! {
        api_tokens (number) {
            number -> BigInt,
            id -> Text,
            name -> Text,
            secret_sha256 -> Binary,
            role -> Text,
            grants -> Text,
            created_at -> BigInt,
            created_by -> Text,
            expires_at -> Nullable<BigInt>,
            revoked_at -> Nullable<BigInt>,
        }
    }

    diesel::table! {
        audit_chains (id) {
            id -> Integer,
            sequence -> BigInt,
            hash -> Binary,
        }
    }

    diesel::table! {
        audit_events (id) {
            id -> BigInt,
            chain -> Integer,
            sequence -> BigInt,
            occurred_at -> BigInt,
            actor -> Text,
            action -> Text,
            outcome -> SmallInt,
            object -> Text,
            bytes -> Binary,
            hash -> Binary,
        }
    }

    diesel::table! {
        leases (name) {
            name -> Text,
            holder -> Text,
            ends_at -> BigInt,
        }
    }

    diesel::table! {
        generation (id) {
            id -> Integer,
            value -> BigInt,
        }
    }

    diesel::table! {
        settings (name) {
            name -> Text,
            value -> Binary,
        }
    }

    diesel::table! {
        acme_external_account_keys (id) {
            id -> BigInt,
            key_id -> Text,
            profile -> Text,
            principal -> Text,
            grants -> Text,
            proves_control -> Bool,
            single_use -> Bool,
            key_encryption_key_id -> Text,
            sealed -> Binary,
            created_by -> Text,
            created_at -> BigInt,
            expires_at -> Nullable<BigInt>,
            deleted_at -> Nullable<BigInt>,
            bound_at -> Nullable<BigInt>,
        }
    }

    diesel::table! {
        acme_accounts (id) {
            id -> BigInt,
            status -> SmallInt,
            thumbprint -> Binary,
            jwk -> Text,
            contacts -> Text,
            terms_of_service -> Nullable<Text>,
            external_account_key_id -> Nullable<BigInt>,
            external_account_binding -> Nullable<Text>,
            rate_limits -> Nullable<Text>,
            created_at -> BigInt,
            created_from -> Nullable<Text>,
        }
    }

    diesel::table! {
        acme_orders (id) {
            id -> BigInt,
            account_id -> BigInt,
            profile -> Text,
            status -> SmallInt,
            identifiers -> Text,
            not_before -> Nullable<BigInt>,
            not_after -> Nullable<BigInt>,
            replaces -> Nullable<Text>,
            created_at -> BigInt,
            expires_at -> BigInt,
            error -> Nullable<Text>,
            csr -> Nullable<Binary>,
            lease_holder -> Nullable<Text>,
            lease_until -> Nullable<BigInt>,
            certificate_issuer_id -> Nullable<Integer>,
            certificate_serial -> Nullable<Binary>,
            finalized_at -> Nullable<BigInt>,
            ends_at -> BigInt,
        }
    }

    diesel::table! {
        acme_authorizations (id) {
            id -> BigInt,
            account_id -> BigInt,
            identifier_type -> SmallInt,
            identifier -> Text,
            wildcard -> Bool,
            status -> SmallInt,
            token -> Text,
            created_at -> BigInt,
            expires_at -> BigInt,
            challenge_type -> Nullable<Text>,
            challenge_state -> Nullable<SmallInt>,
            thumbprint -> Nullable<Binary>,
            account_url -> Nullable<Text>,
            attempts -> Integer,
            next_attempt_at -> Nullable<BigInt>,
            lease_holder -> Nullable<Text>,
            lease_until -> Nullable<BigInt>,
            validated_at -> Nullable<BigInt>,
            error -> Nullable<Text>,
            retained -> Bool,
        }
    }

    diesel::table! {
        acme_order_authorizations (order_id, position) {
            order_id -> BigInt,
            position -> SmallInt,
            authorization_id -> BigInt,
        }
    }

    diesel::table! {
        acme_rate_limits (key) {
            key -> Text,
            arrival -> BigInt,
        }
    }

    diesel::table! {
        acme_renewal_windows (id) {
            id -> BigInt,
            issuer_id -> Integer,
            serial -> Nullable<Binary>,
            issued_before -> Nullable<BigInt>,
            starts_at -> BigInt,
            ends_at -> BigInt,
            explanation_url -> Nullable<Text>,
            created_by -> Text,
            created_at -> BigInt,
        }
    }

    diesel::table! {
        __diesel_schema_migrations (version) {
            version -> Text,
        }
    }

    diesel::joinable!(issuers -> ca_keys (key_id));
    diesel::joinable!(profile_versions -> profiles (name));
    diesel::allow_tables_to_appear_in_same_query!(
        issuers,
        ca_keys,
        issuer_certificates,
        certificates,
        certificate_names,
        certificate_labels,
        profiles,
        profile_versions,
    );
    diesel::joinable!(acme_accounts -> acme_external_account_keys (external_account_key_id));
    diesel::joinable!(acme_order_authorizations -> acme_authorizations (authorization_id));
    diesel::joinable!(acme_order_authorizations -> acme_orders (order_id));
    diesel::allow_tables_to_appear_in_same_query!(
        acme_accounts,
        acme_external_account_keys,
        acme_orders,
        acme_authorizations,
        acme_order_authorizations,
        certificates,
    );
}

pub(super) use tables::*;
