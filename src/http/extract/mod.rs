//! What handlers take as arguments: the proof of a permission, strict JSON, strict query parameters.
//!
//! Nothing asked for is dropped silently: unknown and repeated fields are refused wherever they stand.

pub mod body;
pub mod caller;
pub mod fields;
pub mod json;

pub use body::{IdempotencyHeader, Submission};
pub use caller::{Auth, ClientCertificate, PrincipalName, Public};
pub use fields::{Fields, FromFields, Parameters};
pub use json::{JsonBody, RequestBody};

use actix_web::HttpMessage;
use actix_web::dev::RequestHead;

/// The request's id, put into its extensions by the middleware.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// Returns the request's id; empty before the middleware gave it one.
pub(crate) fn request_id(request: &impl HttpMessage) -> String {
    request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default()
}

/// Returns the client's address: the peer's, or, when the peer is a trusted proxy, what it forwarded.
pub(crate) fn remote_address(head: &RequestHead, trusted: &[ipnet::IpNet]) -> Option<String> {
    let peer = head.peer_addr?.ip().to_canonical();
    let is_trusted = |address: &std::net::IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&peer) {
        return Some(peer.to_string());
    }
    // Each proxy appends the address it saw: from the right, the first that is not a proxy of ours is the client. Whatever stands
    // further left was written by the client itself.
    let mut client = peer;
    let forwarded: Vec<&str> = head
        .headers
        .get_all("x-forwarded-for")
        .filter_map(|value| value.to_str().ok())
        .flat_map(|v| v.split(','))
        .collect();
    for text in forwarded.iter().rev() {
        let Some(address) = address(text.trim()) else { break };
        client = address;
        if !is_trusted(&address) {
            break;
        }
    }
    Some(client.to_string())
}

/// Reads an address with or without a port.
fn address(text: &str) -> Option<std::net::IpAddr> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Some(address.to_canonical());
    }
    text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip().to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use actix_web::test::TestRequest;

    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let mut request = TestRequest::default().peer_addr(peer.parse().unwrap());
        for value in forwarded {
            request = request.append_header(("X-Forwarded-For", *value));
        }
        let request = request.to_http_request();
        remote_address(request.head(), &["10.0.0.0/8".parse().unwrap()]).unwrap()
    }

    #[test]
    fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
        assert_eq!(client("192.0.2.1:5", &["198.51.100.7"]), "192.0.2.1");
        assert_eq!(client("10.0.0.1:5", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1:5", &[]), "10.0.0.1");
    }

    #[test]
    fn a_client_cannot_write_its_own_address() {
        assert_eq!(client("10.0.0.1:5", &["1.1.1.1, 198.51.100.7, 10.0.0.2"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1:5", &["1.1.1.1", "198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1:5", &["1.1.1.1, nonsense"]), "10.0.0.1");
        assert_eq!(client("[::ffff:10.0.0.1]:5", &["[2001:db8::1]:443"]), "2001:db8::1");
    }
}
