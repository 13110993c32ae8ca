//! Tables of addresses and what is said about them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use super::*;

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A policy on a machine whose only address beside loopback is 10.9.9.9.
fn policy(allowed: Option<&[&str]>, denied: &[&str], own: &[&str]) -> AddressPolicy {
    let settings = ValidationSettings {
        allowed_addresses: allowed.map(networks),
        denied_addresses: networks(denied),
        own_listeners: own.iter().map(|text| text.parse().unwrap()).collect(),
        ..ValidationSettings::default()
    };
    let is_local = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified() || ip == IpAddr::from([10, 9, 9, 9]);
    AddressPolicy { is_local, ..AddressPolicy::new(&settings) }
}

fn judged(policy: &AddressPolicy, ip: &str) -> Result<(), Refusal> {
    policy.judge(SocketAddr::new(ip.parse().unwrap(), 80))
}

#[test]
fn hosts_of_private_and_public_networks_are_allowed_by_default() {
    let policy = policy(None, &[], &[]);
    for ip in [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.254",
        "192.168.1.1",
        "100.64.0.1",
        "8.8.8.8",
        "192.0.3.1",
        "198.17.0.1",
        "198.20.0.1",
        "223.255.255.254",
        "168.63.129.17",
        "100.100.100.201",
        "fd00::1",
        "fc12::1",
        "fd00:ec2::1",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "3ffe::1",
        "2001:200::1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::8.8.8.8",
        "2002:0808:0808::1",
        "2002:0a00:0001::1",
        "::ffff:10.0.0.1",
        "fd00::5efe:10.0.0.1",
    ] {
        assert_eq!(judged(&policy, ip), Ok(()), "{ip}");
    }
}

#[test]
fn addresses_that_are_no_hosts_are_refused_by_default() {
    let policy = policy(None, &[], &[]);
    for (ip, kind) in [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "this network"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.255", "loopback"),
        ("169.254.1.1", "link-local"),
        ("192.0.0.8", "protocol assignments"),
        ("192.0.2.1", "documentation"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.255", "documentation"),
        ("192.88.99.1", "6to4"),
        ("198.18.0.1", "benchmarks"),
        ("198.19.255.255", "benchmarks"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.254", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::2", "reserved"),
        ("::10.0.0.1", "reserved"),
        ("::ffff:0:10.0.0.1", "reserved"),
        ("100::1", "reserved"),
        ("5f00::1", "reserved"),
        ("4000::1", "reserved"),
        ("fe00::1", "reserved"),
        ("64:ff9b:1::10.0.0.1", "own NAT64"),
        ("64:ff9b:2::10.0.0.1", "reserved"),
        ("2001:2::1", "benchmarks"),
        ("2001:10::1", "hashes"),
        ("2001:2f:ffff::1", "hashes"),
        ("2001:db8:ffff::1", "documentation"),
        ("3fff:0fff::1", "documentation"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("ffff::1", "multicast"),
    ] {
        let refusal = judged(&policy, ip).unwrap_err();
        assert!(matches!(refusal, Refusal::Special(_)), "{ip}: {refusal:?}");
        assert!(refusal.to_string().contains(kind), "{ip}: {refusal}");
    }
}

#[test]
fn an_address_within_an_address_is_judged_too() {
    let policy = policy(None, &[], &[]);
    for (ip, kind) in [
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:0.0.0.0", "unspecified"),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("2002:7f00:0001::1", "loopback"),
        ("2002:e000:0001::1", "multicast"),
        // Teredo: server 127.0.0.1; client 127.0.0.1 turned over.
        ("2001:0:7f00:1::f5ff:fffe", "loopback"),
        ("2001:0:808:808::80ff:fffe", "loopback"),
        ("fd00::5efe:127.0.0.1", "loopback"),
        ("fd00::200:5efe:127.0.0.1", "loopback"),
    ] {
        let refusal = judged(&policy, ip).unwrap_err();
        assert!(refusal.to_string().contains(kind), "{ip}: {refusal}");
    }
}

#[test]
fn metadata_services_are_refused_whatever_is_allowed() {
    for policy in [policy(None, &[], &[]), policy(Some(&["0.0.0.0/0", "::/0"]), &[], &[])] {
        for ip in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fe80::a9fe:a9fe",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
            "fd00::5efe:169.254.169.254",
        ] {
            assert_eq!(judged(&policy, ip), Err(Refusal::Metadata), "{ip}");
        }
    }
}

#[test]
fn own_listeners_are_refused_whatever_is_allowed() {
    let policy =
        policy(Some(&["0.0.0.0/0", "::/0"]), &[], &["0.0.0.0:443", "127.0.0.1:9090", "[::ffff:10.0.0.5]:5432"]);
    let at = |text: &str| policy.judge(text.parse().unwrap());
    for refused in [
        "127.0.0.1:443",
        "127.0.0.2:443",
        "[::1]:443",
        "10.9.9.9:443",
        "0.0.0.0:443",
        "[::ffff:127.0.0.1]:443",
        "10.9.9.9:9090",
        "127.0.0.1:9090",
        "10.0.0.5:5432",
        "[64:ff9b::10.9.9.9]:443",
        "[2002:0a09:0909::]:443",
    ] {
        assert_eq!(at(refused), Err(Refusal::OwnListener), "{refused}");
    }
    for allowed in ["10.9.9.9:80", "10.0.0.6:443", "10.0.0.6:5432", "127.0.0.1:80", "10.0.0.5:80"] {
        assert_eq!(at(allowed), Ok(()), "{allowed}");
    }
}

#[test]
fn only_allowed_networks_are_contacted_when_some_are_given() {
    let policy =
        policy(Some(&["127.0.0.0/8", "10.1.0.0/16", "::ffff:10.2.0.0/112", "64:ff9b::/96", "fd00::/8"]), &[], &[]);
    for ip in ["127.0.0.1", "10.1.2.3", "10.2.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00::1"] {
        assert_eq!(judged(&policy, ip), Ok(()), "{ip}");
    }
    for ip in ["10.3.0.1", "8.8.8.8", "::1", "2606:4700::1111", "64:ff9b::10.3.0.1"] {
        assert_eq!(judged(&policy, ip), Err(Refusal::NotAllowed), "{ip}");
    }
}

#[test]
fn denied_networks_win_over_allowed_ones() {
    for policy in [
        policy(None, &["10.1.0.0/16", "fd00:1::/32"], &[]),
        policy(Some(&["10.0.0.0/8", "fd00::/8"]), &["10.1.0.0/16", "fd00:1::/32"], &[]),
    ] {
        assert_eq!(judged(&policy, "10.2.0.1"), Ok(()));
        assert_eq!(judged(&policy, "fd00:2::1"), Ok(()));
        assert_eq!(judged(&policy, "10.1.0.1"), Err(Refusal::Denied));
        assert_eq!(judged(&policy, "::ffff:10.1.0.1"), Err(Refusal::Denied));
        assert_eq!(judged(&policy, "fd00:1::1"), Err(Refusal::Denied));
    }
    assert_eq!(judged(&policy(None, &["10.1.0.0/16"], &[]), "64:ff9b::10.1.0.1"), Err(Refusal::Denied));
}

/// RFC 6052, section 2.4: the IPv4 address behind prefixes of 96, 64, 56 and 48 bits.
#[test]
fn a_networks_own_nat64_leads_to_no_forbidden_address() {
    let own = policy(Some(&["64:ff9b:1::/48", "10.0.0.0/8"]), &[], &[]);
    assert_eq!(judged(&own, "64:ff9b:1::10.0.0.1"), Ok(()));
    assert_eq!(judged(&own, "64:ff9b:1:aaaa::10.0.0.1"), Ok(()));
    assert_eq!(judged(&own, "64:ff9b:1::8.8.8.8"), Err(Refusal::NotAllowed));
    let all = policy(Some(&["::/0", "0.0.0.0/0"]), &[], &[]);
    for ip in [
        "64:ff9b:1::a9fe:a9fe",
        "64:ff9b:1:1234:a9:fea9:fe00:0",
        "64:ff9b:1:12a9:fe:a9fe::",
        "64:ff9b:1:a9fe:a9:fe00::",
    ] {
        assert_eq!(judged(&all, ip), Err(Refusal::Metadata), "{ip}");
    }
}

#[test]
fn an_empty_list_of_allowed_networks_allows_nothing() {
    for ip in ["10.0.0.1", "8.8.8.8", "fd00::1"] {
        assert_eq!(judged(&policy(Some(&[]), &[], &[]), ip), Err(Refusal::NotAllowed));
    }
}

#[test]
fn what_is_dialled_is_what_was_judged() {
    let permitted = policy(None, &[], &[]).permit("[::ffff:10.0.0.1]:80".parse().unwrap()).unwrap();
    assert_eq!(permitted.address(), "10.0.0.1:80".parse().unwrap());
}
