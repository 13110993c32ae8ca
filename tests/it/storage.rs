//! The storage contract: the same bodies against SQLite and PostgreSQL.

mod acme;
mod audit;
mod configuration;
mod crls;
mod faults;
mod fixture;
mod import;
mod inventory;
mod issuance;
mod issuers;
mod key_revocation;
mod ocsp;
mod opening;
mod plans;
mod revocation;
mod secrets;
mod statistics;
mod tls;
mod upgrade;

/// Makes a test of each body on each database.
macro_rules! on_both_databases {
    ($($body:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $body() {
                super::$body(crate::storage::fixture::Fixture::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $body() {
                super::$body(crate::storage::fixture::Fixture::postgres().await).await;
            })*
        }
    };
}
use on_both_databases;
