//! Replays the corpora of the fuzz targets (`fuzz/`), whole and with single octets changed. New inputs are found by running the targets, see
//! CONTRIBUTING.md.

use std::collections::BTreeSet;
use std::path::PathBuf;

#[path = "../../fuzz/src/targets.rs"]
mod targets;

/// The most inputs that are made of one file.
const MOST_CHANGES: usize = 1500;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names_in(folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(self::folder().join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder().join("corpus").join(target))
        .unwrap_or_else(|error| panic!("no corpus for {target}: {error}"))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 3, "the corpus of {target} is too small to find anything");
    files
        .into_iter()
        .map(|path| {
            let octets = std::fs::read(&path).unwrap();
            (path, octets)
        })
        .collect()
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let names: BTreeSet<String> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names_in("fuzz_targets"), names);
    assert_eq!(names_in("corpus"), names);
    let manifest = std::fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let programs =
        manifest["bin"].as_array().unwrap().iter().map(|program| program["name"].as_str().unwrap().to_owned());
    assert_eq!(programs.collect::<BTreeSet<_>>(), names);
}

#[test]
fn the_corpora_find_nothing_and_reach_what_they_are_for() {
    let mut wrong = Vec::new();
    for (name, run) in targets::TARGETS {
        for (path, octets) in corpus(name) {
            eprintln!("{}", path.display());
            let refused = path.file_name().unwrap().to_str().unwrap().starts_with("refused");
            if run(&octets) == refused {
                wrong.push(path);
            }
        }
    }
    assert_eq!(wrong, Vec::<PathBuf>::new(), "refused, or taken, against what their names say");
}

#[test]
fn changed_octets_find_nothing() {
    for (name, run) in targets::TARGETS {
        // To derive a key from a passphrase takes long, and is what most of these inputs would do.
        if *name == "key_import" {
            continue;
        }
        for (path, octets) in corpus(name) {
            eprintln!("{}", path.display());
            let step = (octets.len() * 3).div_ceil(MOST_CHANGES).max(1);
            let mut changed = octets.clone();
            for place in (0..octets.len()).step_by(step) {
                for value in [octets[place] ^ 1, octets[place] ^ 0x80] {
                    changed[place] = value;
                    run(&changed);
                }
                changed[place] = octets[place];
                run(&octets[..place]);
            }
        }
    }
}
