//! ACME (RFC 8555) over HTTPS, as the checklist has it.

mod accounts;
mod authorizations;
mod budget;
mod clients;
mod directory;
mod external_accounts;
mod finalize;
mod objects;
mod orders;
mod renewal;
mod revocation;
mod scheduling;
mod site;
mod transport;
