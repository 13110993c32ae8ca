//! Reasons not to certify a key, found in the key itself: size, exponent, known generator flaws, bad encodings.
//!
//! Which algorithms are admitted, and the block list of compromised keys, are in `policy/keys.rs`.

use std::sync::OnceLock;

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use num_bigint::BigUint;
use num_integer::Integer;
use x509_parser::asn1_rs::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::{KeyAlgorithm, KeyWeakness, PublicKey, RsaKey};
use crate::x509::{decoding, encoding};

/// The least bits of an RSA modulus.
const RSA_MINIMUM: u16 = 2048;
/// The most bits of an RSA modulus; larger ones cost their verifiers too much.
const RSA_MAXIMUM: u16 = 8192;
/// The only public exponent that is certified.
const RSA_EXPONENT: [u8; 3] = [0x01, 0x00, 0x01];
/// How often Fermat's method steps; primes that were chosen close to each other fall within a few steps.
const FERMAT_ROUNDS: u32 = 100;
/// Moduli with a prime factor below this are refused.
const SMALL_FACTOR_BOUND: u32 = 1 << 16;
/// The primes whose subgroups make the ROCA fingerprint (CVE-2017-15361) are the odd ones up to this.
const ROCA_BOUND: u32 = 167;

/// Returns every weakness of the key. Unsupported algorithms are not judged.
pub(super) fn find(key: &PublicKey) -> Vec<KeyWeakness> {
    let mut found = find_obvious(key);
    match key.algorithm() {
        // The tests of larger moduli cost time that grows with the size, and would change nothing.
        Ok(KeyAlgorithm::Rsa(bits)) if bits <= RSA_MAXIMUM => found.extend(modulus(key)),
        Ok(_) | Err(_) => {}
    }
    found
}

/// Returns the weaknesses that show without arithmetic on RSA moduli.
pub(super) fn find_obvious(key: &PublicKey) -> Vec<KeyWeakness> {
    match key.algorithm() {
        Ok(KeyAlgorithm::Rsa(bits)) => rsa(key, bits),
        Ok(KeyAlgorithm::EcdsaP256) => point(key, 65, &signature::ECDSA_P256_SHA256_ASN1),
        Ok(KeyAlgorithm::EcdsaP384) => point(key, 97, &signature::ECDSA_P384_SHA384_ASN1),
        Ok(KeyAlgorithm::EcdsaP521) => point(key, 133, &signature::ECDSA_P521_SHA512_ASN1),
        Ok(KeyAlgorithm::Ed25519) => ed25519(key),
        // Any octets of the right number, which was checked when the key was read, are an ML-DSA key (FIPS 204, algorithm 23).
        Ok(KeyAlgorithm::MlDsa44 | KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87) => Vec::new(),
        Err(_unsupported) => Vec::new(),
    }
}

fn weakness(code: &'static str, message: impl Into<String>) -> KeyWeakness {
    KeyWeakness { code, message: message.into() }
}

fn point(key: &PublicKey, length: usize, algorithm: &'static dyn VerificationAlgorithm) -> Vec<KeyWeakness> {
    let bits = key.key_bits();
    if bits.first() != Some(&4) || bits.len() != length {
        let message =
            format!("the elliptic curve point is not an uncompressed point of {length} octets (RFC 5480, section 2.2)");
        return vec![weakness("key_malformed", message)];
    }
    match ParsedPublicKey::new(algorithm, bits) {
        Ok(_parsed) => Vec::new(),
        Err(_rejected) => vec![weakness("key_malformed", "the elliptic curve point is not on its curve")],
    }
}

fn ed25519(key: &PublicKey) -> Vec<KeyWeakness> {
    let bits = key.key_bits();
    if bits.len() != 32 {
        let message = format!("an Ed25519 key has 32 octets, this one has {} (RFC 8410, section 4)", bits.len());
        return vec![weakness("key_malformed", message)];
    }
    if parameters(key).is_some() {
        return vec![weakness("key_malformed", "an Ed25519 algorithm has no parameters (RFC 8410, section 3)")];
    }
    if is_small_order(bits) {
        return vec![weakness("key_malformed", "the Ed25519 point is of small order: anyone can make its signatures")];
    }
    Vec::new()
}

/// Whether an Ed25519 point is one of the eight whose order divides the cofactor, in any encoding.
fn is_small_order(bits: &[u8]) -> bool {
    let prime = (BigUint::from(1_u8) << 255_u32) - 19_u32;
    let one = BigUint::from(1_u8);
    let y = (BigUint::from_bytes_le(bits) & ((&one << 255_u32) - 1_u32)) % &prime;
    // Orders 1, 2 and 4 have y = 1, -1 and 0. Points of order 8 double to y = 0: there x^2 = -y^2, and the curve equation
    // -x^2 + y^2 = 1 + d x^2 y^2 leaves d y^4 + 2 y^2 - 1 = 0, with d = -121665 / 121666.
    let zero = BigUint::from(0_u8);
    if y == zero || y == one || y == &prime - 1_u32 {
        return true;
    }
    let square = &y * &y % &prime;
    let fourth = &square * &square % &prime;
    let left = 121_665_u32 * fourth + 121_666_u32;
    let right = 2_u32 * 121_666_u32 * square;
    left % &prime == right % &prime
}

/// Returns the identifier octet and the content of the algorithm's parameters, if there are any.
fn parameters(key: &PublicKey) -> Option<(u8, &[u8])> {
    let (_, info) = SubjectPublicKeyInfo::from_der(key.spki_der()).ok()?;
    info.algorithm.parameters.map(|parameters| (decoding::identifier_octet(&parameters), parameters.data))
}

fn rsa(key: &PublicKey, bits: u16) -> Vec<KeyWeakness> {
    let Ok(numbers) = RsaKey::from_der(key.key_bits()) else {
        return vec![weakness("key_malformed", "the RSA public key cannot be read")];
    };
    let mut found = Vec::new();
    if bits < RSA_MINIMUM {
        let message = format!("the RSA modulus has {bits} bits; {RSA_MINIMUM} to {RSA_MAXIMUM} are accepted");
        found.push(weakness("key_too_small", message));
    }
    if numbers.exponent != RSA_EXPONENT {
        let exponent = BigUint::from_bytes_be(numbers.exponent.get(..64).unwrap_or(numbers.exponent));
        let message = format!("the RSA public exponent is {exponent}; only 65537 is accepted");
        found.push(weakness("key_exponent", message));
    }
    if parameters(key) != Some((encoding::NULL, &[])) {
        found.push(weakness("key_malformed", "the parameters of rsaEncryption must be NULL (RFC 3279, section 2.3.1)"));
    }
    if bits > RSA_MAXIMUM {
        let message = format!("the RSA modulus has {bits} bits; {RSA_MINIMUM} to {RSA_MAXIMUM} are accepted");
        found.push(weakness("key_too_large", message));
    }
    found
}

/// Tries the known attacks on an RSA modulus.
fn modulus(key: &PublicKey) -> Vec<KeyWeakness> {
    let Ok(numbers) = RsaKey::from_der(key.key_bits()) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let modulus = BigUint::from_bytes_be(numbers.modulus);
    if has_small_factor(&modulus) {
        let message = format!("the RSA modulus has a prime factor below {SMALL_FACTOR_BOUND}");
        found.push(weakness("key_small_factor", message));
    } else if has_close_primes(&modulus) {
        found.push(weakness("key_close_primes", "the primes of the RSA modulus are so close that it can be factored"));
    }
    if has_roca_fingerprint(&modulus) {
        found.push(weakness("key_roca", "the RSA key was made by a flawed generator (ROCA, CVE-2017-15361)"));
    }
    found
}

fn small_primes(bound: u32) -> Vec<u32> {
    let mut primes: Vec<u32> = Vec::new();
    for candidate in 2..bound {
        let is_prime = primes
            .iter()
            .take_while(|prime| prime.saturating_mul(**prime) <= candidate)
            .all(|prime| candidate % prime != 0);
        if is_prime {
            primes.push(candidate);
        }
    }
    primes
}

/// Whether the greatest common divisor with the product of all small primes is above one.
fn has_small_factor(modulus: &BigUint) -> bool {
    static PRODUCT: OnceLock<BigUint> = OnceLock::new();
    let product = PRODUCT.get_or_init(|| product(&small_primes(SMALL_FACTOR_BOUND)));
    if !modulus.bit(0) {
        return true;
    }
    modulus.gcd(&(product % modulus)).bits() > 1
}

fn product(factors: &[u32]) -> BigUint {
    match factors {
        [] => BigUint::from(1_u8),
        [only] => BigUint::from(*only),
        many => {
            let (left, right) = many.split_at_checked(many.len() / 2).unwrap_or((many, &[]));
            product(left) * product(right)
        }
    }
}

/// Fermat's method: the modulus is a^2 - b^2 with a just above its square root when its primes are close.
fn has_close_primes(modulus: &BigUint) -> bool {
    let mut first = modulus.sqrt();
    if &first * &first < *modulus {
        first += 1_u32;
    }
    let rest = |number: BigUint| u64::try_from(number % SIEVE).unwrap_or(0);
    let mut a = rest(first.clone());
    let mut b_squared = rest(&first * &first - modulus);
    for round in 0..FERMAT_ROUNDS {
        // The rests rule out nearly every round before a root is taken.
        if may_be_square(b_squared) && is_square(&((&first + round) * (&first + round) - modulus)) {
            return true;
        }
        // (a + 1)^2 - a^2 = 2a + 1
        b_squared = (b_squared + 2 * a + 1) % SIEVE;
        a = (a + 1) % SIEVE;
    }
    false
}

/// Numbers by which the rests of squares are few; they have no common factors.
const SIEVES: [u64; 8] = [64, 63, 65, 11, 17, 19, 23, 31];
/// Their product.
const SIEVE: u64 = 64 * 63 * 65 * 11 * 17 * 19 * 23 * 31;

/// Whether the rest of a number by the product of the sieves is that of a square.
fn may_be_square(rest: u64) -> bool {
    SIEVES.iter().all(|sieve| (0..*sieve).any(|root| root * root % sieve == rest % sieve))
}

fn is_square(number: &BigUint) -> bool {
    let root = number.sqrt();
    &root * &root == *number
}

/// Whether the modulus is in the subgroup that 65537 generates, for every one of the odd primes up to 167.
fn has_roca_fingerprint(modulus: &BigUint) -> bool {
    static SUBGROUPS: OnceLock<Vec<(u32, Vec<u32>)>> = OnceLock::new();
    let subgroups = SUBGROUPS.get_or_init(|| {
        small_primes(ROCA_BOUND + 1)
            .into_iter()
            .filter(|prime| *prime > 2)
            .map(|prime| (prime, subgroup(prime)))
            .collect()
    });
    subgroups
        .iter()
        .all(|(prime, members)| u32::try_from(modulus % *prime).is_ok_and(|residue| members.contains(&residue)))
}

/// Returns the powers of 65537 modulo a prime.
fn subgroup(prime: u32) -> Vec<u32> {
    let generator = 65537 % prime;
    let mut members = vec![1];
    let mut power = generator;
    while power > 1 {
        members.push(power);
        power = power * generator % prime;
    }
    members
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests;
