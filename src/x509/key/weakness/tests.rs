//! Tests of the weaknesses, on numbers made for them.

use super::*;

/// A random prime of 1024 bits.
const PRIME: &str = concat!(
    "c000004438c20ebb55bab91cd20b52cfd8aaa1f6d2b6c1ba5e97f5f843c901eed01e13be235f461f83923dd14744f3e043c2",
    "43ee094546ce1f76663f8330df68e52fec142d752a6a05840f4ce50ee168b7b3ff7b623dd8df0cd58cc6f137bdc5f41fcb28",
    "e1eca2291aa5148c01a8c3f5f5057fee4c3ef45902dd21250b7296d5",
);
/// Another one.
const OTHER_PRIME: &str = concat!(
    "e00000c2749fc8820e29d80fb9f1684293d544beeeee73556f0214835508e050abda62a8573231ef8c0031d8dc083c345372",
    "f53ff9524fefc8395aad5fac0dbab8134e77a4c9027d2f6c72f9b192e0d9311466440f9eacd327aae4a6ac9448a7dd75ef1b",
    "a557ce7503c8396ebe77367b54dc765189f8f6dc9f9326be5a7f0193",
);
/// The prime that follows `PRIME`.
const NEXT_PRIME: &str = concat!(
    "c000004438c20ebb55bab91cd20b52cfd8aaa1f6d2b6c1ba5e97f5f843c901eed01e13be235f461f83923dd14744f3e043c2",
    "43ee094546ce1f76663f8330df68e52fec142d752a6a05840f4ce50ee168b7b3ff7b623dd8df0cd58cc6f137bdc5f41fcb28",
    "e1eca2291aa5148c01a8c3f5f5057fee4c3ef45902dd21250b729759",
);
/// A product of two random primes of 512 bits.
const SMALL: &str = concat!(
    "a8007983074cabf6026c5f18d97627c539256c6c4c4315d7f5bfbb5dbc7abd6d412ac4d5afd62a09660efb8f5894fc4fba10",
    "18659212fb9eeca96dd2ad928fd429b54ec9287d9ede0c448bd60a3304250e809ca1868b25ac52bc65f9cb39007336ecead8",
    "d9a198b9903b84dffdf7b82e59af493ff95f1a7f608bcbb22dc41a55",
);
/// 65521 times a large prime.
const DIVISIBLE: &str = concat!(
    "017fe980009267c36df10346cfae649743ad8d66f4ea54f6a4e5e998842584f6bf0516db346fe22a63fc3ecb4a6930eb2b45",
    "7e6dda6953a06d2f599288900ed875731e6314e137dd6916e9a89f41c105ac332d532d5246b21548df4ecf700fcddad6658e",
    "89a6f1771a722f2d5cb0963399d2e532a16952877a4bf946caf05a84c1041df2c3fa61e2a0447abc7463003854c8f815184f",
    "50513154757b067586d3ac042499dea2f417ad09488c31ebf53e251aa217e0c51d36ece3325406e2b1fc5b10f8bc91de87c0",
    "66c55d76191f97dbd90fce736720206cb5bb6529b09032ef45b4ef6ecd8ed2fc79da83b2cda5b1204b741fadd79d3574dd03",
    "a753ad6289e55d",
);
/// A product of two primes of the flawed form `k * M + (65537^a mod M)`, M the product of the primes up to 167.
const ROCA: &str = concat!(
    "a8000000000000000000000000b4e90ef034ac0f3df2161a9dea351a3c76f1657e4849b820657df953edbc110ea689baef71",
    "d33c93fe405741d5357666f27def60c86ea415a049a3ccbc3294aae808160f1f284f74b865db16ca39201263e6d18393e65a",
    "b2ebb18c815320b5ab6bfd58503ed77384457306527e680a841374dc91463a814aed05429ec0d45e43eb1d9ead78b97b637a",
    "0ba74b2a8d853d73784a008d197a1bbeed2590ab53307ba4b2fd11dbac1fffc527da544330ed7787eec6e3be5db37a38ea67",
    "16966e0753eb23e41cd46602e5f7c9d5dc8926c1115dff21bdb8aaa0be22e6009f2152bc04658990491ef35047fe0f98b1ae",
    "f7122492ce69",
);

/// Makes an RSA key out of numbers.
fn rsa_key(modulus: &BigUint, exponent: u32) -> PublicKey {
    let integer = |number: &BigUint| {
        let octets = number.to_bytes_be();
        let content = if octets[0] & 0x80 == 0 { octets } else { [&[0], octets.as_slice()].concat() };
        encoding::value(encoding::INTEGER, &content)
    };
    let key = encoding::sequence(&[&integer(modulus), &integer(&BigUint::from(exponent))]);
    let oid = encoding::object_identifier(&crate::x509::key::RSA_ENCRYPTION);
    let algorithm = encoding::sequence(&[&oid, &[5, 0]]);
    PublicKey::from_spki_der(&encoding::sequence(&[&algorithm, &encoding::bit_string(&key)])).unwrap()
}

fn codes(key: &PublicKey) -> Vec<&'static str> {
    key.weaknesses().iter().map(|weakness| weakness.code).collect()
}

fn number(digits: &str) -> BigUint {
    BigUint::from_bytes_be(&hex::decode(digits).unwrap())
}

fn good_modulus() -> BigUint {
    number(PRIME) * number(OTHER_PRIME)
}

#[test]
fn a_sound_rsa_key_has_no_weakness() {
    let key = rsa_key(&good_modulus(), 65537);
    assert_eq!(key.algorithm(), Ok(KeyAlgorithm::Rsa(2048)));
    assert_eq!(codes(&key), [""; 0]);
}

#[test]
fn each_rsa_weakness_has_its_code() {
    let good = good_modulus();
    assert_eq!(codes(&rsa_key(&good, 3)), ["key_exponent"]);
    assert_eq!(codes(&rsa_key(&number(SMALL), 65537)), ["key_too_small"]);
    assert_eq!(codes(&rsa_key(&(number(PRIME) * number(NEXT_PRIME)), 65537)), ["key_close_primes"]);
    assert_eq!(codes(&rsa_key(&(number(PRIME) * number(PRIME)), 65537)), ["key_close_primes"]);
    assert_eq!(codes(&rsa_key(&number(DIVISIBLE), 65537)), ["key_small_factor"]);
    assert_eq!(codes(&rsa_key(&(good + 1_u32), 65537)), ["key_small_factor"]);
    let large = (BigUint::from(1_u8) << 9000_u32) + 1_u32;
    assert_eq!(codes(&rsa_key(&large, 65537)), ["key_too_large"]);
}

#[test]
fn the_roca_fingerprint_is_recognised() {
    assert_eq!(codes(&rsa_key(&number(ROCA), 65537)), ["key_roca"]);
    assert!(!has_roca_fingerprint(&good_modulus()));
}

fn ec_key(point: &[u8]) -> PublicKey {
    let algorithm = encoding::sequence(&[
        &encoding::object_identifier(&crate::x509::key::EC_PUBLIC_KEY),
        &encoding::object_identifier(&crate::x509::key::P256),
    ]);
    PublicKey::from_spki_der(&encoding::sequence(&[&algorithm, &encoding::bit_string(point)])).unwrap()
}

#[test]
fn points_off_the_curve_or_compressed_are_malformed() {
    let generator = hex::decode(concat!(
        "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
    ))
    .unwrap();
    assert_eq!(codes(&ec_key(&generator)), [""; 0]);
    let mut off_curve = generator.clone();
    off_curve[64] ^= 1;
    assert_eq!(codes(&ec_key(&off_curve)), ["key_malformed"]);
    let compressed = [&[3], &generator[1..33]].concat();
    assert_eq!(codes(&ec_key(&compressed)), ["key_malformed"]);
    assert_eq!(codes(&ec_key(&[0])), ["key_malformed"]);
}

#[test]
fn ed25519_points_of_small_order_are_malformed() {
    let key = |bits: &[u8]| {
        let algorithm = encoding::sequence(&[&encoding::object_identifier(&crate::x509::key::ED25519)]);
        PublicKey::from_spki_der(&encoding::sequence(&[&algorithm, &encoding::bit_string(bits)])).unwrap()
    };
    let mut identity = [0; 32];
    identity[0] = 1;
    let order_eight = hex::decode("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05").unwrap();
    let base = hex::decode("5866666666666666666666666666666666666666666666666666666666666666").unwrap();
    assert_eq!(codes(&key(&identity)), ["key_malformed"]);
    assert_eq!(codes(&key(&[0; 32])), ["key_malformed"]);
    assert_eq!(codes(&key(&order_eight)), ["key_malformed"]);
    assert_eq!(codes(&key(&[0; 31])), ["key_malformed"]);
    assert_eq!(codes(&key(&base)), [""; 0]);
}
