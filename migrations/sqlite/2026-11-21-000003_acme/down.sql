DROP TABLE acme_renewal_windows;
DROP TABLE acme_rate_limits;
DROP TABLE acme_order_authorizations;
DROP TABLE acme_authorizations;
DROP TABLE acme_orders;
DROP TABLE acme_accounts;
DROP TABLE acme_external_account_keys;
