//! Content negotiation (RFC 9110, section 12.5.1): which of the media types on offer a client would rather have.

use actix_web::HttpRequest;
use actix_web::http::header;

use crate::error::{Error, ErrorKind, Result};

/// Chooses among the media types on offer, the first being the one for clients that do not care; answers its place.
///
/// # Errors
/// `NotAcceptable` when the client takes none of them, naming them all.
pub(crate) fn choose(request: &HttpRequest, offered: &[&str]) -> Result<usize> {
    let mut accept = String::new();
    for value in request.headers().get_all(header::ACCEPT) {
        let text = value.to_str().map_err(|error| {
            Error::malformed("the header `Accept` holds something else than visible ASCII").with_source(error)
        })?;
        if !accept.is_empty() {
            accept.push(',');
        }
        accept.push_str(text);
    }
    choose_from(&accept, offered).ok_or_else(|| {
        Error::new(
            ErrorKind::NotAcceptable,
            format!("nothing here matches `Accept`; on offer are {}", offered.join(", ")),
        )
    })
}

fn choose_from(accept: &str, offered: &[&str]) -> Option<usize> {
    if accept.trim().is_empty() {
        return (!offered.is_empty()).then_some(0);
    }
    let ranges: Vec<Range<'_>> = accept.split(',').filter_map(Range::parse).collect();
    let mut best: Option<(usize, u16)> = None;
    for (place, media_type) in offered.iter().enumerate() {
        // The most specific range that matches decides the weight.
        let matching =
            ranges.iter().filter_map(|range| range.specificity(media_type).map(|depth| (depth, range.weight)));
        let Some((_, weight)) = matching.max_by_key(|(depth, _)| *depth) else { continue };
        if weight > 0 && best.is_none_or(|(_, so_far)| weight > so_far) {
            best = Some((place, weight));
        }
    }
    best.map(|(place, _)| place)
}

/// One media range with its weight in thousandths.
struct Range<'a> {
    main: &'a str,
    sub: &'a str,
    weight: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (main, sub) = parts.next()?.split_once('/')?;
        let weight = parts
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .map_or(Some(1000), |(_, value)| weight(value.trim()))?;
        Some(Self { main, sub, weight })
    }

    /// Answers how exactly the range names the media type, or `None` when it does not match.
    fn specificity(&self, media_type: &str) -> Option<u8> {
        let (main, sub) = media_type.split_once('/')?;
        if self.main == "*" && self.sub == "*" {
            return Some(0);
        }
        if !self.main.eq_ignore_ascii_case(main) {
            return None;
        }
        if self.sub == "*" {
            return Some(1);
        }
        self.sub.eq_ignore_ascii_case(sub).then_some(2)
    }
}

/// Reads a weight (RFC 9110, section 12.4.2) as thousandths.
fn weight(text: &str) -> Option<u16> {
    let value: f64 = text.parse().ok().filter(|value| (0.0..=1.0).contains(value))?;
    // In range by the filter above.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
    Some((value * 1000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use super::*;

    const OFFERED: [&str; 3] = ["application/json", "application/x-pem-file", "application/pkix-cert"];

    #[test]
    fn a_client_without_preference_gets_the_first() {
        assert_eq!(choose_from("", &OFFERED), Some(0));
        assert_eq!(choose_from("*/*", &OFFERED), Some(0));
        assert_eq!(choose_from("application/*", &OFFERED), Some(0));
    }

    #[test]
    fn weights_decide() {
        assert_eq!(choose_from("application/json;q=0.5, application/pkix-cert", &OFFERED), Some(2));
        assert_eq!(choose_from("*/*;q=0.1, Application/X-PEM-File;q=0.9", &OFFERED), Some(1));
    }

    #[test]
    fn a_weight_of_zero_excludes() {
        assert_eq!(choose_from("application/json;q=0, */*", &OFFERED), Some(1));
        assert_eq!(choose_from("application/json;q=0", &OFFERED), None);
    }

    #[test]
    fn nothing_on_offer_matches() {
        assert_eq!(choose_from("text/html", &OFFERED), None);
        assert_eq!(choose_from("nonsense", &OFFERED), None);
        assert_eq!(choose_from("application/json;q=7", &OFFERED), None);
    }
}
