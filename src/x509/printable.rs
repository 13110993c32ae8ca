//! Makes octets and texts from untrusted input fit for messages, logs and JSON: one line, bounded, nothing invisible.

/// The most characters of a value that are shown.
const MAXIMUM_CHARACTERS: usize = 300;

/// Whether a character is shown escaped: controls, and characters that change or hide the text around them (bidirectional marks,
/// zero-width characters, line separators).
pub(crate) fn needs_escape(character: char) -> bool {
    character.is_control() || (!character.is_ascii() && character.escape_debug().len() > 1)
}

/// Returns the text with such characters as `\u{...}`, cut at 300 characters.
pub(crate) fn text(value: &str) -> String {
    let mut shown = String::new();
    for (count, character) in value.chars().enumerate() {
        if count == MAXIMUM_CHARACTERS {
            shown.push('…');
            break;
        }
        if needs_escape(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Returns octets as text: UTF-8 where it is, `\xNN` for every other octet, cut at 300 characters.
pub(crate) fn octets(value: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in value.utf8_chunks() {
        shown.push_str(chunk.valid());
        for octet in chunk.invalid() {
            shown.push_str(&format!("\\x{octet:02x}"));
        }
        // No character has more than 4 octets, so this is always enough to fill what is shown.
        if shown.len() > 4 * MAXIMUM_CHARACTERS {
            break;
        }
    }
    text(&shown)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_cannot_be_seen_and_keeps_the_rest() {
        assert_eq!(text("bücher \"x\" \\"), "bücher \"x\" \\");
        assert_eq!(text("a\0b\n"), "a\\u{0}b\\u{a}");
        assert_eq!(text("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(octets(b"a\xffb"), "a\\xffb");
    }

    #[test]
    fn cuts_at_300_characters() {
        assert_eq!(text(&"x".repeat(1000)).chars().count(), 301);
        assert_eq!(octets(&[0xff; 1000]).chars().count(), 301);
    }
}
