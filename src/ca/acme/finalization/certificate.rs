//! The certificate of an order with its chains (RFC 8555, section 7.4.2).

use crate::ca::acme::{Acme, AcmeCaller};
use crate::ca::issuer::{Issuer, without_root};
use crate::error::{Error, Result};
use crate::x509::Certificate;

/// A certificate chain of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderCertificate {
    /// The certificates, DER, leaf first, without the root.
    pub chain: Vec<Vec<u8>>,
    /// How many alternate chains there are beside the first.
    pub alternates: usize,
}

impl Acme {
    /// Returns the certificate of an order with its chain (0) or an alternate one (from 1).
    ///
    /// # Errors
    /// `NotFound`, also for an order that has no certificate yet; those of the storage.
    pub async fn order_certificate(&self, caller: &AcmeCaller, id: i64, chain: usize) -> Result<OrderCertificate> {
        let Some(record) = self.ca.storage.acme_order_certificate(id, caller.account().record.id).await? else {
            let status = self.order(caller, id).await?.status.as_str();
            return Err(Error::not_found(format!("the order is `{status}` and has no certificate")));
        };
        let certificate = self.ca.view(record).await?;
        let chains = chains(&certificate.issuer);
        let Some(above) = chains.get(chain) else {
            return Err(Error::not_found(format!(
                "there is no chain {chain}; there are {} beside the first",
                chains.len() - 1
            )));
        };
        let leaf = std::iter::once(certificate.record.der);
        let above = above.iter().map(|certificate| certificate.as_der().to_vec());
        Ok(OrderCertificate { chain: leaf.chain(above).collect(), alternates: chains.len() - 1 })
    }
}

/// Returns the chains of an issuer without their roots, the primary one first, each once: chains that differ in the root alone are one here.
fn chains(issuer: &Issuer) -> Vec<&[Certificate]> {
    let mut chains = vec![issuer.chain_without_root()];
    for alternate in &issuer.alternate_chains {
        let alternate = without_root(alternate);
        let is_same = |known: &&[Certificate]| {
            known.len() == alternate.len()
                && known.iter().zip(alternate).all(|(left, right)| left.as_der() == right.as_der())
        };
        if !alternate.is_empty() && !chains.iter().any(is_same) {
            chains.push(alternate);
        }
    }
    chains
}
