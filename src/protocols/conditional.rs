//! Conditional GET (RFC 9110, section 13): whether a client that asks has the present form already.

use actix_web::http::header::{self, EntityTag, HttpDate, IfModifiedSince, IfNoneMatch};
use actix_web::{HttpMessage as _, HttpRequest};

/// Whether the client has what `tag` and `modified` describe. `If-None-Match` counts before `If-Modified-Since` (section 13.2.2).
pub(super) fn is_fresh_at(request: &HttpRequest, tag: &EntityTag, modified: HttpDate) -> bool {
    if request.headers().contains_key(header::IF_NONE_MATCH) {
        return match request.get_header::<IfNoneMatch>() {
            Some(IfNoneMatch::Any) => true,
            Some(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(tag)),
            None => false,
        };
    }
    request.get_header::<IfModifiedSince>().is_some_and(|since| modified <= since.0)
}
