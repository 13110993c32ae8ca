//! Finds out what a Rust file says: its words without comments, strings and test modules, and the modules of the crate it
//! names, `use` groups and `super` resolved.
//!
//! It is not a parser: it knows just enough of Rust's tokens for the rules in `architecture.rs`.

/// One word of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// The identifier or keyword.
    pub(super) text: String,
    /// Where, counted from 1.
    pub(super) line: usize,
}

/// A path below `crate::`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// The segments after `crate`.
    pub(super) path: Vec<String>,
    /// Where, counted from 1.
    pub(super) line: usize,
}

/// What a file says.
pub(super) struct Scanned {
    /// Whether the file opens with `//!`.
    pub(super) has_header: bool,
    /// Its words, outside comments, strings and tests.
    pub(super) words: Vec<Word>,
    /// The modules of the crate that it names, outside tests.
    pub(super) references: Vec<Reference>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    PathSeparator,
    Symbol(char),
}

type Placed = (Token, usize);

impl Scanned {
    /// Reads a file, whose path is given below `src/`.
    pub(super) fn of(path: &str, source: &str) -> Self {
        let has_header = source.starts_with("//!");
        let is_test = path.ends_with("/tests.rs") || path.ends_with("/testing.rs") || path.contains("/tests/");
        let tokens = if is_test { Vec::new() } else { without_tests(tokens(source)) };
        let words = tokens
            .iter()
            .filter_map(|(token, line)| match token {
                Token::Word(text) => Some(Word { text: text.clone(), line: *line }),
                Token::PathSeparator | Token::Symbol(_) => None,
            })
            .collect();
        Self { has_header, words, references: references(&module_of(path), &tokens) }
    }
}

/// The module path of a file: `ca/issuer.rs` and `ca/issuer/mod.rs` are both `ca::issuer`.
fn module_of(path: &str) -> Vec<String> {
    let mut segments: Vec<String> = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if segments.last().is_some_and(|last| last == "mod" || last == "lib" || last == "main") {
        segments.pop();
    }
    segments
}

fn tokens(source: &str) -> Vec<Placed> {
    let text: Vec<char> = source.chars().collect();
    let at = |index: usize| text.get(index).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let mut index = 0;
    let mut line = 1;
    while index < text.len() {
        let start = index;
        let first = at(index);
        if first == '/' && at(index + 1) == '/' {
            while index < text.len() && at(index) != '\n' {
                index += 1;
            }
        } else if first == '/' && at(index + 1) == '*' {
            index = after_block_comment(&text, index);
        } else if first == '"' {
            index = after_string(&text, index);
        } else if first == '\'' {
            index = after_quote(&text, index);
        } else if first.is_alphabetic() || first == '_' {
            while at(index).is_alphanumeric() || at(index) == '_' {
                index += 1;
            }
            let word: String = text[start..index].iter().collect();
            let raw = matches!(word.as_str(), "r" | "br" | "cr");
            if raw && (at(index) == '"' || (at(index) == '#' && matches!(at(index + 1), '"' | '#'))) {
                index = after_raw_string(&text, index);
            } else if matches!(word.as_str(), "b" | "c") && at(index) == '"' {
                index = after_string(&text, index);
            } else if word == "b" && at(index) == '\'' {
                index = after_quote(&text, index);
            } else if word == "r" && at(index) == '#' {
                index += 1; // A raw identifier: its name follows as a word.
            } else {
                tokens.push((Token::Word(word), line));
            }
        } else if first.is_ascii_digit() {
            while at(index).is_alphanumeric() || at(index) == '_' {
                index += 1;
            }
        } else if first == ':' && at(index + 1) == ':' {
            tokens.push((Token::PathSeparator, line));
            index += 2;
        } else {
            if !first.is_whitespace() {
                tokens.push((Token::Symbol(first), line));
            }
            index += 1;
        }
        line += text[start..index.min(text.len())].iter().filter(|character| **character == '\n').count();
    }
    tokens
}

fn after_block_comment(text: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut index = start;
    while index < text.len() {
        match (text[index], text.get(index + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                index += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                index += 2;
                if depth == 0 {
                    return index;
                }
            }
            _ => index += 1,
        }
    }
    index
}

fn after_string(text: &[char], start: usize) -> usize {
    let mut index = start + 1;
    while index < text.len() {
        match text[index] {
            '\\' => index += 2,
            '"' => return index + 1,
            _ => index += 1,
        }
    }
    index
}

fn after_raw_string(text: &[char], start: usize) -> usize {
    let hashes = text[start..].iter().take_while(|character| **character == '#').count();
    let mut index = start + hashes + 1;
    while index < text.len() {
        let closes = text[index] == '"'
            && text[index + 1..].iter().take(hashes).filter(|character| **character == '#').count() == hashes;
        if closes {
            return index + 1 + hashes;
        }
        index += 1;
    }
    index
}

/// A character literal, or just the quote of a lifetime or label.
fn after_quote(text: &[char], start: usize) -> usize {
    match (text.get(start + 1), text.get(start + 2)) {
        (Some('\\'), Some(_)) => {
            let mut index = start + 3;
            while index < text.len() && text[index] != '\'' {
                index += 1;
            }
            index + 1
        }
        (Some(_), Some('\'')) => start + 3,
        _ => start + 1,
    }
}

/// Leaves out items under `#[cfg(test)]`: to the end of their braces or to their semicolon.
fn without_tests(tokens: Vec<Placed>) -> Vec<Placed> {
    let word = |text: &str| Token::Word(text.to_owned());
    let attribute = [
        Token::Symbol('#'),
        Token::Symbol('['),
        word("cfg"),
        Token::Symbol('('),
        word("test"),
        Token::Symbol(')'),
        Token::Symbol(']'),
    ];
    let mut kept = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let matches = tokens.len() - index >= attribute.len()
            && attribute.iter().zip(&tokens[index..]).all(|(expected, (token, _))| expected == token);
        if matches {
            index = after_item(&tokens, index + attribute.len());
        } else {
            kept.push(tokens[index].clone());
            index += 1;
        }
    }
    kept
}

fn after_item(tokens: &[Placed], start: usize) -> usize {
    let is_use = matches!(&tokens.get(start), Some((Token::Word(word), _)) if word == "use");
    let mut depth = 0_usize;
    let mut index = start;
    while index < tokens.len() {
        match tokens[index].0 {
            Token::Symbol('{' | '(' | '[') => depth += 1,
            Token::Symbol(')' | ']') => depth = depth.saturating_sub(1),
            Token::Symbol('}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 && !is_use {
                    return index + 1;
                }
            }
            Token::Symbol(';') if depth == 0 => return index + 1,
            Token::Word(_) | Token::PathSeparator | Token::Symbol(_) => {}
        }
        index += 1;
    }
    index
}

fn references(module: &[String], tokens: &[Placed]) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut index = 0;
    while let Some((token, line)) = tokens.get(index) {
        let continues_path = index > 0 && tokens[index - 1].0 == Token::PathSeparator;
        if let (Token::Word(word), false) = (token, continues_path) {
            let followed = tokens.get(index + 1).is_some_and(|(next, _)| *next == Token::PathSeparator);
            if followed && word == "crate" {
                collect(tokens, index + 2, Vec::new(), *line, &mut found);
            } else if followed && word == "super" {
                let mut prefix = module.to_vec();
                prefix.pop();
                let mut next = index + 2;
                while matches!(&tokens.get(next), Some((Token::Word(again), _)) if again == "super") {
                    prefix.pop();
                    next += 2;
                }
                collect(tokens, next, prefix, *line, &mut found);
            }
        }
        index += 1;
    }
    found
}

/// Follows a path or a `use` tree from `index`, and returns the index after it.
fn collect(
    tokens: &[Placed],
    mut index: usize,
    mut prefix: Vec<String>,
    line: usize,
    found: &mut Vec<Reference>,
) -> usize {
    loop {
        match tokens.get(index).map(|(token, _)| token) {
            Some(Token::Word(word)) => {
                if word != "self" {
                    prefix.push(word.clone());
                }
                index += 1;
                if tokens.get(index).map(|(token, _)| token) == Some(&Token::PathSeparator) {
                    index += 1;
                    continue;
                }
                // `name as other` ends the path too.
                found.push(Reference { path: prefix, line });
                return index;
            }
            Some(Token::Symbol('{')) => {
                index += 1;
                while let Some((token, line)) = tokens.get(index) {
                    match token {
                        Token::Symbol('}') => return index + 1,
                        Token::Symbol(',') => index += 1,
                        Token::Word(alias) if alias == "as" => index += 2,
                        Token::Word(_) | Token::Symbol(_) | Token::PathSeparator => {
                            let next = collect(tokens, index, prefix.clone(), *line, found);
                            index = next.max(index + 1);
                        }
                    }
                }
                return index;
            }
            // `use crate::x::*`, a generic after `::<`, or the end.
            Some(Token::Symbol(_) | Token::PathSeparator) | None => {
                found.push(Reference { path: prefix, line });
                return index;
            }
        }
    }
}
