//! The challenge tls-alpn-01 (RFC 8737, RFC 8738): a handshake with `acme-tls/1`, in which the server shows a certificate made for the
//! challenge. Nothing is sent over the connection, which ends with the handshake.

mod certificate;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt;

use super::dialer::Dialer;
use super::host::Host;
use super::settings::ValidationSettings;
use super::tls;
use super::trail::Trail;
use crate::ca::acme::validation::{ValidationAttempt, ValidationFailure};
use crate::error::AcmeErrorType;
use crate::policy::acme::Identifier;
use crate::policy::acme::challenge::key_authorization_digest;

/// How long the end of a connection is waited for; the proof has been seen then.
const CLOSING: Duration = Duration::from_secs(1);

/// Looks at the challenge.
pub(super) async fn validate(
    dialer: &Dialer,
    client: &Arc<ClientConfig>,
    settings: &ValidationSettings,
    attempt: &ValidationAttempt,
    trail: &mut Trail,
) -> Result<(), ValidationFailure> {
    let server_name = server_name(&attempt.identifier)?;
    let stream = dialer.dial(&Host::of(&attempt.identifier), settings.tls_alpn_01_port, trail).await?;
    let mut stream = tls::handshake(client, server_name.clone(), stream, trail).await?;
    let (_, session) = stream.get_ref();
    let negotiated = session.alpn_protocol() == Some(tls::ACME_TLS);
    let certificates = session.peer_certificates().unwrap_or_default().to_vec();
    // `close_notify` is a courtesy: a peer that does not take it changes nothing.
    drop(tokio::time::timeout(CLOSING, stream.shutdown()).await);

    let refuse = |why: String| Err(ValidationFailure::new(AcmeErrorType::Unauthorized, why));
    if !negotiated {
        return refuse(
            "the TLS server did not choose the protocol `acme-tls/1`: what listens there is not the ACME client's responder \
             (RFC 8737, section 3)"
                .to_owned(),
        );
    }
    let expected = key_authorization_digest(&attempt.key_authorization);
    match certificate::judge(&certificates, &attempt.identifier, &expected) {
        Ok(()) => {
            trail.note(format!("TLS server name {}, protocol acme-tls/1", shown(&server_name)));
            Ok(())
        }
        Err(mismatch) => refuse(format!(
            "the certificate that the TLS server showed for the server name `{}` does not meet the challenge: {mismatch}",
            shown(&server_name)
        )),
    }
}

/// Returns the name for SNI: that of the identifier, and for an address, which SNI cannot hold, its reverse name (RFC 8738, section 6).
fn server_name(identifier: &Identifier) -> Result<ServerName<'static>, ValidationFailure> {
    let name = match identifier {
        Identifier::Dns { name, wildcard: _ } => name.clone(),
        Identifier::Ip(address) => reverse_name(*address),
    };
    ServerName::try_from(name).map_err(|_not_a_name| {
        let why = format!("`{}` cannot be the server name of a TLS handshake", identifier.authorization_value());
        ValidationFailure::new(AcmeErrorType::Malformed, why).into_final()
    })
}

fn shown(server_name: &ServerName<'_>) -> String {
    server_name.to_str().into_owned()
}

/// Returns the name of an address in `in-addr.arpa` (RFC 1035, section 3.5) or `ip6.arpa` (RFC 3596, section 2.5).
fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let nibbles: String =
                v6.octets().iter().rev().map(|octet| format!("{:x}.{:x}.", octet & 0xf, octet >> 4)).collect();
            format!("{nibbles}ip6.arpa")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use super::*;

    fn name_of(address: &str) -> String {
        shown(&server_name(&Identifier::Ip(address.parse().unwrap())).unwrap())
    }

    #[test]
    fn the_server_name_of_an_address_is_its_reverse_name() {
        assert_eq!(name_of("10.1.2.3"), "3.2.1.10.in-addr.arpa");
        // RFC 3596, section 2.5
        assert_eq!(
            name_of("4321:0:1:2:3:4:567:89ab"),
            "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa"
        );
    }

    #[test]
    fn the_server_name_of_a_name_is_the_name() {
        let name = Identifier::Dns { name: "app.internal".to_owned(), wildcard: false };
        assert_eq!(shown(&server_name(&name).unwrap()), "app.internal");
    }
}
