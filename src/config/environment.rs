//! Settings from the environment, laid over those of the file: `CHANCERY__SECTION__KEY`, and `..._FILE` for secrets.
//! How the text of a variable is read is decided by the type of its setting, in `deserializer.rs`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use super::failure::{Failure, Origin, Segment};
use super::node::{Entry, Node, Value};
use crate::error::{Error, Result};
use crate::signer::secret_file;

/// What the names of all variables that are settings begin with, in either case.
const PREFIX: &str = "CHANCERY__";

/// The settings that may be given by `..._FILE`; `#` stands for the number of an item. A setting whose own name ends in `_file` is that
/// setting.
const SECRETS: [&str; 7] = [
    "database.url",
    "keys.passphrase",
    "keys.file_passphrase",
    "keys.previous.#.passphrase",
    "keys.files.#.passphrase",
    "hierarchy.root.passphrase",
    "hierarchy.issuing.passphrase",
];

/// A setting from outside the file.
pub(super) struct Overlay {
    path: Vec<String>,
    node: Node,
}

/// Finds the settings among the variables of the environment and reads the files they name.
pub(super) fn overlays(environment: impl Iterator<Item = (String, String)>) -> Result<Vec<Overlay>> {
    let mut found: BTreeMap<Vec<Step>, (String, Overlay)> = BTreeMap::new();
    for (name, value) in environment {
        let Some(rest) =
            name.get(..PREFIX.len()).filter(|prefix| prefix.eq_ignore_ascii_case(PREFIX)).and(name.get(PREFIX.len()..))
        else {
            continue;
        };
        let mut path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
        if path.iter().any(String::is_empty) {
            return Err(Error::configuration(format!(
                "the environment variable `{name}` is not `CHANCERY__SECTION__KEY`: a name is empty"
            )));
        }
        let mut value = Zeroizing::new(value);
        if let Some(secret) = secret_of(&path) {
            value = read_secret(&name, &secret.join("."), Path::new(value.as_str()))?;
            path = secret;
        }
        let order = path.iter().map(|segment| Step::new(segment)).collect();
        let node = Node { origin: Origin::Environment(name.as_str().into()), value: Value::Given(value) };
        let overlay = Overlay { path, node };
        if let Some((other, overlay)) = found.insert(order, (name.clone(), overlay)) {
            return Err(Error::configuration(format!(
                "`{}` is given twice in the environment, by `{other}` and by `{name}`",
                overlay.path.join(".")
            )));
        }
    }
    Ok(found.into_values().map(|(_, overlay)| overlay).collect())
}

/// Takes a setting from the command line; `path` has dots between its levels.
pub(super) fn from_command_line(path: &str, value: String) -> Overlay {
    let node = Node { origin: Origin::CommandLine, value: Value::Given(Zeroizing::new(value)) };
    Overlay { path: path.split('.').map(str::to_owned).collect(), node }
}

/// Lays a setting over those in the tree.
pub(super) fn apply(root: &mut Vec<Entry>, overlay: Overlay) -> Result<()> {
    let path: Vec<&str> = overlay.path.iter().map(String::as_str).collect();
    insert(root, &path, overlay.node).map_err(Error::from)
}

/// The order of overlays: whole before part, and items of a list by number.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Key(String),
}

impl Step {
    fn new(segment: &str) -> Self {
        segment.parse().map_or_else(|_name| Self::Key(segment.to_owned()), Self::Index)
    }
}

/// Returns the path of the secret that a path with `_file` at its end stands for.
fn secret_of(path: &[String]) -> Option<Vec<String>> {
    let (last, levels) = path.split_last()?;
    let secret: Vec<String> =
        levels.iter().map(String::as_str).chain([last.strip_suffix("_file")?]).map(str::to_owned).collect();
    let is_number = |level: &str| !level.is_empty() && level.bytes().all(|octet| octet.is_ascii_digit());
    let general: Vec<&str> = secret.iter().map(|level| if is_number(level) { "#" } else { level }).collect();
    SECRETS.contains(&general.join(".").as_str()).then_some(secret)
}

/// Reads a secret from the file that a variable names, without its last line break. Passphrases protect keys, so their files are
/// held to the rule for key files; the address of a database is not, since orchestrators mount it readable by all inside a container.
fn read_secret(variable: &str, secret: &str, path: &Path) -> Result<Zeroizing<String>> {
    let named = |error: Error| Error::configuration(format!("the environment variable `{variable}`: {error}"));
    let content = if secret.ends_with("passphrase") {
        secret_file::read(path).map_err(named)?
    } else {
        let mut content = Zeroizing::new(Vec::with_capacity(secret_file::MAXIMUM_LENGTH));
        std::fs::File::open(path)
            .and_then(|file| file.take(secret_file::MAXIMUM_LENGTH as u64).read_to_end(&mut content))
            .map_err(|error| {
                named(Error::configuration(format!("the file `{}` cannot be read: {error}", path.display())))
            })?;
        content
    };
    let text = std::str::from_utf8(&content)
        .map_err(|_octets| named(Error::configuration(format!("the file `{}` is not UTF-8", path.display()))))?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(Zeroizing::new(text.to_owned()))
}

fn insert(table: &mut Vec<Entry>, path: &[&str], node: Node) -> Result<(), Failure> {
    let Some((first, rest)) = path.split_first() else {
        return Err(Failure::message("a setting without a name").written(&node.origin));
    };
    let at = table.iter().position(|entry| entry.key.eq_ignore_ascii_case(first)).unwrap_or(table.len());
    if at == table.len() {
        let origin = node.origin.clone();
        table.push(Entry { key: (*first).to_owned(), origin: origin.clone(), node: container(rest, origin) });
    }
    let Some(entry) = table.get_mut(at) else {
        return Err(Failure::message("a table lost an entry").written(&node.origin));
    };
    let key = entry.key.clone();
    descend(&mut entry.node, rest, node).map_err(|failure| failure.within(Segment::Key(key)))
}

/// Puts a value at a path below a node, or in its place when the path ends here.
fn descend(target: &mut Node, path: &[&str], node: Node) -> Result<(), Failure> {
    let Some((first, rest)) = path.split_first() else {
        *target = node;
        return Ok(());
    };
    match &mut target.value {
        Value::Table(entries) => insert(entries, path, node),
        Value::Array(items) => {
            let length = items.len();
            let index = first.parse().ok().filter(|index| *index <= length).ok_or_else(|| {
                Failure::message(format!(
                    "`{first}` is not the number of one of its {length} items, nor of the next one"
                ))
                .written(&node.origin)
            })?;
            if index == length {
                items.push(container(rest, node.origin.clone()));
            }
            match items.get_mut(index) {
                Some(item) => descend(item, rest, node).map_err(|failure| failure.within(Segment::Index(index))),
                None => Err(Failure::message("a list lost an item").written(&node.origin)),
            }
        }
        Value::Text(_) | Value::Given(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {
            Err(Failure::message("it is given as a whole and cannot also be given in part").written(&node.origin))
        }
    }
}

/// Makes what will hold the rest of a path: a list when it goes on with a number.
fn container(rest: &[&str], origin: Origin) -> Node {
    let is_list = rest.first().is_some_and(|next| next.bytes().all(|octet| octet.is_ascii_digit()));
    Node { origin, value: if is_list { Value::Array(Vec::new()) } else { Value::Table(Vec::new()) } }
}
