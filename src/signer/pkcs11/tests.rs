//! Tests against SoftHSM 2. Its configuration comes from the environment, which a process cannot change safely: each test runs itself
//! again in a process of its own, with a token of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;

use super::*;
use crate::error::ErrorKind;
use crate::signer::tokens::{TokenSelector, TokenSettings};

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "123456";
/// The directory of the test's token, given to the process that runs the test.
const DIRECTORY: &str = "CHANCERY_TEST_TOKEN";

/// The surroundings of a test.
struct Fixture {
    directory: PathBuf,
}

impl Fixture {
    fn settings(&self) -> TokenSettings {
        TokenSettings {
            name: "hsm".to_owned(),
            module: SOFTHSM.into(),
            selector: TokenSelector::Label("test".to_owned()),
            pin: Some(PIN.to_owned().into()),
            sessions: 4,
            timeout: Duration::from_secs(10),
        }
    }

    fn token(&self) -> Arc<Token> {
        Arc::new(Token::new(self.settings()).unwrap())
    }

    /// A token behind the module that makes calls go wrong, with a short timeout.
    fn shimmed(&self) -> Arc<Token> {
        let module = self.directory.join("shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pkcs11_shim.c");
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&module).arg(source).arg("-ldl").status().unwrap();
        assert!(compiled.success());
        let timeout = Duration::from_millis(700);
        Arc::new(Token::new(TokenSettings { module, timeout, ..self.settings() }).unwrap())
    }

    fn trouble(&self, name: &str, content: &str) {
        std::fs::write(self.directory.join(name), content).unwrap();
    }

    fn end_trouble(&self, name: &str) {
        std::fs::remove_file(self.directory.join(name)).unwrap();
    }

    /// Takes the token away.
    fn unplug(&self) {
        std::fs::rename(self.directory.join("tokens"), self.directory.join("elsewhere")).unwrap();
        std::fs::create_dir(self.directory.join("tokens")).unwrap();
    }

    /// Brings it back.
    fn plug(&self) {
        std::fs::remove_dir(self.directory.join("tokens")).unwrap();
        std::fs::rename(self.directory.join("elsewhere"), self.directory.join("tokens")).unwrap();
    }
}

/// Runs a test in a process of its own that knows a fresh token.
fn with_token(name: &str, test: impl FnOnce(&Fixture)) {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        test(&Fixture { directory: directory.into() });
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let configuration = directory.path().join("softhsm2.conf");
    std::fs::create_dir(directory.path().join("tokens")).unwrap();
    let text = format!(
        "directories.tokendir = {}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n",
        directory.path().display()
    );
    std::fs::write(&configuration, text).unwrap();
    let initialized = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "test", "--so-pin", "12345678", "--pin", PIN])
        .env("SOFTHSM2_CONF", &configuration)
        .output()
        .expect("softhsm2-util does not run; scripts/test installs what the tests need");
    assert!(initialized.status.success(), "{initialized:?}");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "--test-threads=1"])
        .arg(format!("signer::pkcs11::tests::{name}"))
        .env("SOFTHSM2_CONF", &configuration)
        .env("CHANCERY_TEST_SHIM", directory.path())
        .env(DIRECTORY, directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // The library may end a process badly after all is done: what counts is what the test said.
    assert!(shown.contains("test result: ok. 1 passed"), "{:?}\n{shown}", output.status);
    assert!(output.status.success(), "{:?}\n{shown}", output.status);
}

/// Waits until something works, and returns what came of it.
fn eventually<T>(mut attempt: impl FnMut() -> Result<T>) -> T {
    let started = Instant::now();
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) => {
                assert!(started.elapsed() < Duration::from_secs(30), "{error}: {:?}", std::error::Error::source(&error))
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn assert_signs(signer: &Pkcs11Signer) {
    let signature = signer.sign(b"message").unwrap();
    signer.public_key().verify(signer.signature_algorithm(), b"message", &signature).unwrap();
}

#[test]
fn every_kind_of_key_is_made_signs_and_is_found_again() {
    with_token("every_kind_of_key_is_made_signs_and_is_found_again", |fixture| {
        let token = fixture.token();
        for algorithm in [
            KeyAlgorithm::EcdsaP256,
            KeyAlgorithm::EcdsaP384,
            KeyAlgorithm::Ed25519,
            KeyAlgorithm::Rsa(2048),
            KeyAlgorithm::Rsa(3072),
        ] {
            let label = format!("issuing.{algorithm}");
            let made = Pkcs11Signer::create(Arc::clone(&token), algorithm, &label).unwrap();
            assert_eq!(made.public_key().algorithm(), Ok(algorithm));
            assert_eq!(made.signature_algorithm(), SignatureAlgorithm::for_key(algorithm));
            assert!(made.public_key().weaknesses().is_empty());
            assert!(!made.signs_in_line());
            assert_signs(&made);
            let text = made.uri().to_string();
            assert!(text.starts_with("pkcs11:token=test;id=%"), "{text}");
            assert!(text.ends_with(&format!(";object={label};type=private")), "{text}");
            let again = Pkcs11Signer::open(fixture.token(), text.parse().unwrap(), made.public_key().clone()).unwrap();
            assert_signs(&again);
        }
        let refused = Pkcs11Signer::create(token, KeyAlgorithm::Rsa(8192), "large").unwrap_err();
        assert_eq!(
            refused.detail(),
            "a key of the algorithm `rsa-8192` cannot be on a token; accepted are ecdsa-p256, ecdsa-p384, ed25519 and rsa-2048 to rsa-4096"
        );
    });
}

#[test]
fn ecdsa_signatures_are_der_whatever_their_numbers() {
    with_token("ecdsa_signatures_are_der_whatever_their_numbers", |fixture| {
        let signer = Pkcs11Signer::create(fixture.token(), KeyAlgorithm::EcdsaP256, "issuing").unwrap();
        // Halves with leading zeros and with their highest bit set come within so many.
        for number in 0..600_u32 {
            signer.sign(&number.to_be_bytes()).unwrap();
        }
    });
}

#[test]
fn a_key_with_the_label_is_taken_if_it_is_of_the_kind_asked_for() {
    with_token("a_key_with_the_label_is_taken_if_it_is_of_the_kind_asked_for", |fixture| {
        let token = fixture.token();
        let made = Pkcs11Signer::create(Arc::clone(&token), KeyAlgorithm::EcdsaP256, "issuing").unwrap();
        let taken = Pkcs11Signer::create(Arc::clone(&token), KeyAlgorithm::EcdsaP256, "issuing").unwrap();
        assert_eq!(made.uri(), taken.uri());
        assert_eq!(made.public_key(), taken.public_key());
        let refused = Pkcs11Signer::create(token, KeyAlgorithm::EcdsaP384, "issuing").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Configuration);
        assert_eq!(
            refused.detail(),
            format!(
                "the key `{}` is on the token and is `ecdsa-p256`, not `ecdsa-p384`; remove it or choose another name",
                made.uri()
            )
        );
    });
}

#[test]
fn another_key_and_none_are_refused_at_opening() {
    with_token("another_key_and_none_are_refused_at_opening", |fixture| {
        let token = fixture.token();
        let one = Pkcs11Signer::create(Arc::clone(&token), KeyAlgorithm::EcdsaP256, "one").unwrap();
        let other = Pkcs11Signer::create(Arc::clone(&token), KeyAlgorithm::EcdsaP256, "other").unwrap();
        let refused =
            Pkcs11Signer::open(Arc::clone(&token), one.uri().clone(), other.public_key().clone()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Configuration);
        assert!(refused.detail().contains("does not verify with the issuer's public key"), "{refused}");

        let absent: KeyUri = "pkcs11:token=test;object=absent".parse().unwrap();
        let signer = Pkcs11Signer::open(token, absent, one.public_key().clone());
        // The library may have lost its device: the key may come back, and until then nothing is signed.
        let refused = signer.unwrap().sign(b"message").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert!(refused.detail().contains("it has no private key"), "{refused}");
        // Other keys on the token are not held up by that.
        eventually(|| other.sign(b"message"));
        for _ in 0..20 {
            other.sign(b"message").unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}

#[test]
fn keys_that_could_leave_the_token_or_are_ambiguous_are_refused() {
    with_token("keys_that_could_leave_the_token_or_are_ambiguous_are_refused", |fixture| {
        let token = fixture.token();
        let make = |label: &'static str, extractable: bool| {
            let parameters = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07".to_vec();
            token
                .run_for_test(move |context, open| {
                    let session = context.open_rw_session(open.slot)?;
                    let label = Attribute::Label(label.as_bytes().to_vec());
                    let public = [Attribute::EcParams(parameters.clone()), Attribute::Token(true), label.clone()];
                    let private = [
                        Attribute::Token(true),
                        Attribute::Private(true),
                        Attribute::Sensitive(true),
                        Attribute::Extractable(extractable),
                        Attribute::Sign(true),
                        label,
                    ];
                    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)?;
                    Ok(())
                })
                .unwrap();
        };
        make("loose", true);
        let refused = Pkcs11Signer::create(Arc::clone(&token), KeyAlgorithm::EcdsaP256, "loose").unwrap_err();
        assert_eq!(refused.detail(), "the token `hsm`: the key may leave the token (`CKA_EXTRACTABLE`)");
        make("twice", false);
        make("twice", false);
        let refused = Pkcs11Signer::create(Arc::clone(&token), KeyAlgorithm::EcdsaP256, "twice").unwrap_err();
        assert_eq!(
            refused.detail(),
            "the token `hsm`: it has 2 private keys `pkcs11:token=test;object=twice;type=private`; one must be named"
        );
        // One that an operator made without an identifier is as good as ours.
        make("ceremony", false);
        let taken = Pkcs11Signer::create(token, KeyAlgorithm::EcdsaP256, "ceremony").unwrap();
        assert_eq!(taken.uri().to_string(), "pkcs11:token=test;object=ceremony;type=private");
        assert_signs(&taken);
    });
}

#[test]
fn a_wrong_pin_is_tried_once_only() {
    with_token("a_wrong_pin_is_tried_once_only", |fixture| {
        let right = fixture.shimmed();
        let module = fixture.directory.join("shim.so");
        let wrong = Arc::new(
            Token::new(TokenSettings { pin: Some("654321".to_owned().into()), module, ..fixture.settings() }).unwrap(),
        );
        let refused = wrong.check().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Configuration);
        assert_eq!(refused.detail(), "the token `hsm`: it refuses the PIN (PinIncorrect)");
        for _ in 0..5 {
            let refused = wrong.check().unwrap_err();
            assert_eq!(
                refused.detail(),
                "the token `hsm`: it refused the PIN; the service must be restarted with the right one"
            );
        }
        assert_eq!(std::fs::read_to_string(fixture.directory.join("count")).unwrap(), ".");
        right.check().unwrap();
    });
}

#[test]
fn a_token_that_is_not_there_is_waited_for_and_signs_when_it_comes_back() {
    with_token("a_token_that_is_not_there_is_waited_for_and_signs_when_it_comes_back", |fixture| {
        let token = fixture.token();
        let signer = Pkcs11Signer::create(token, KeyAlgorithm::EcdsaP256, "issuing").unwrap();
        for _ in 0..3 {
            fixture.unplug();
            let refused = eventually_refused(&signer);
            assert_eq!(refused.kind(), ErrorKind::Unavailable);
            assert!(refused.retry_after_seconds().is_some());
            assert!(signer.is_away());

            // Who opens the key now is not refused: it signs later.
            let opened =
                Pkcs11Signer::open(fixture.token(), signer.uri().clone(), signer.public_key().clone()).unwrap();
            assert!(opened.is_away());
            assert_eq!(opened.sign(b"message").unwrap_err().kind(), ErrorKind::Unavailable);

            fixture.plug();
            eventually(|| signer.sign(b"message"));
            assert!(!signer.is_away());
            eventually(|| opened.sign(b"message"));
        }
    });
}

/// Signs until it is refused: a library may sign on for a moment.
fn eventually_refused(signer: &Pkcs11Signer) -> Error {
    let started = Instant::now();
    loop {
        match signer.sign(b"message") {
            Err(error) => return error,
            Ok(_) => assert!(started.elapsed() < Duration::from_secs(30), "the token signs though it is away"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn lost_sessions_and_logins_cost_no_signature() {
    with_token("lost_sessions_and_logins_cost_no_signature", |fixture| {
        let signer = Pkcs11Signer::create(fixture.shimmed(), KeyAlgorithm::EcdsaP256, "issuing").unwrap();
        for trouble in ["close-sessions", "log-out"] {
            fixture.trouble(trouble, "");
            assert_signs(&signer);
            assert!(!fixture.directory.join(trouble).exists());
        }
        // CKR_SESSION_HANDLE_INVALID, _CLOSED, USER_NOT_LOGGED_IN, KEY_HANDLE_INVALID, DEVICE_REMOVED, DEVICE_ERROR, GENERAL_ERROR,
        // TOKEN_NOT_PRESENT, FUNCTION_FAILED, CRYPTOKI_NOT_INITIALIZED and one of a vendor's own.
        for value in [0xb3, 0xb0, 0x101, 0x60, 0x32, 0x30, 0x5, 0xe0, 0x6, 0x190, 0x8000_0001_u64] {
            fixture.trouble("fail-once", &value.to_string());
            assert_signs(&signer);
            assert!(!fixture.directory.join("fail-once").exists());
        }
    });
}

#[test]
fn a_device_that_fails_for_a_while_is_unavailable_and_recovers() {
    with_token("a_device_that_fails_for_a_while_is_unavailable_and_recovers", |fixture| {
        let signer = Pkcs11Signer::create(fixture.shimmed(), KeyAlgorithm::EcdsaP256, "issuing").unwrap();
        for value in [0x32, 0xb3, 0x101, 0x5_u64] {
            fixture.trouble("fail", &value.to_string());
            let refused = signer.sign(b"message").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unavailable);
            assert!(refused.detail().starts_with("the token `hsm` is away: SignInit answers "), "{refused}");
            assert!(signer.is_away());
            fixture.end_trouble("fail");
            eventually(|| signer.sign(b"message"));
        }
        // What no waiting mends is no matter of availability: CKR_KEY_FUNCTION_NOT_PERMITTED.
        fixture.trouble("fail", "104");
        assert_eq!(signer.sign(b"message").unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(signer.check().unwrap_err().kind(), ErrorKind::Configuration);
        assert!(signer.is_away());
        fixture.end_trouble("fail");
        signer.check().unwrap();
        assert!(!signer.is_away());
    });
}

#[test]
fn a_call_that_hangs_is_given_up_and_holds_nobody_else_up_for_long() {
    with_token("a_call_that_hangs_is_given_up_and_holds_nobody_else_up_for_long", |fixture| {
        let signer = Arc::new(Pkcs11Signer::create(fixture.shimmed(), KeyAlgorithm::EcdsaP256, "issuing").unwrap());
        for _ in 0..2 {
            fixture.trouble("hang", "");
            let refused = signer.sign(b"message").unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unavailable);
            assert_eq!(refused.detail(), "the token `hsm` is away: a call to it did not return within 700ms");
            // Many callers, far more than threads: each is answered, most of them at once.
            let started = Instant::now();
            let callers: Vec<_> = (0..40)
                .map(|_| {
                    let signer = Arc::clone(&signer);
                    std::thread::spawn(move || signer.sign(b"message").unwrap_err().kind())
                })
                .collect();
            for caller in callers {
                assert_eq!(caller.join().unwrap(), ErrorKind::Unavailable);
            }
            assert!(started.elapsed() < Duration::from_secs(20));
            // So long that every thread that may hang does.
            std::thread::sleep(Duration::from_secs(1));
            for _ in 0..12 {
                assert_eq!(signer.sign(b"message").unwrap_err().kind(), ErrorKind::Unavailable);
                std::thread::sleep(Duration::from_millis(300));
            }
            fixture.end_trouble("hang");
            eventually(|| signer.sign(b"message"));
        }
    });
}

#[test]
fn many_callers_share_few_sessions() {
    with_token("many_callers_share_few_sessions", |fixture| {
        let token = Arc::new(Token::new(TokenSettings { sessions: 2, ..fixture.settings() }).unwrap());
        let signer = Arc::new(Pkcs11Signer::create(token, KeyAlgorithm::EcdsaP256, "issuing").unwrap());
        let callers: Vec<_> = (0..32)
            .map(|_| {
                let signer = Arc::clone(&signer);
                std::thread::spawn(move || (0..20).for_each(|_| assert_signs(&signer)))
            })
            .collect();
        for caller in callers {
            caller.join().unwrap();
        }
    });
}

#[test]
fn a_token_of_another_name_is_away_and_a_module_that_is_none_is_refused() {
    with_token("a_token_of_another_name_is_away_and_a_module_that_is_none_is_refused", |fixture| {
        let selector = TokenSelector::Label("elsewhere".to_owned());
        let token = Token::new(TokenSettings { selector, ..fixture.settings() }).unwrap();
        let away = token.check().unwrap_err();
        assert_eq!(away.kind(), ErrorKind::Unavailable);
        assert_eq!(away.detail(), "the token `hsm` is away: no token with the label `elsewhere` is there");
        for module in ["/usr/lib/softhsm/absent.so", "/etc/passwd"] {
            let error = Token::new(TokenSettings { module: module.into(), ..fixture.settings() }).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.detail().starts_with(&format!("the PKCS #11 module `{module}` cannot be loaded")), "{error}");
        }
    });
}
