//! Settings and choice of servers; what is asked and answered is tried in `tests/it/validation/dns.rs`.

use super::*;

fn server(text: &str) -> SocketAddr {
    parse_server(text).unwrap()
}

fn zone(zone: &str, servers: &[&str]) -> ZoneResolvers {
    ZoneResolvers { zone: zone.to_owned(), resolvers: servers.iter().map(|text| server(text)).collect() }
}

fn with_zones(zones: Vec<ZoneResolvers>) -> Result<Resolver> {
    Resolver::new(ResolverSettings { resolvers: vec![server("192.0.2.53")], zones, ..ResolverSettings::default() })
}

#[test]
fn servers_are_written_with_and_without_a_port() {
    for (text, expected) in [
        ("10.0.0.53", "10.0.0.53:53"),
        ("10.0.0.53:5353", "10.0.0.53:5353"),
        ("fd00::53", "[fd00::53]:53"),
        ("[fd00::53]:5353", "[fd00::53]:5353"),
    ] {
        assert_eq!(server(text).to_string(), expected);
    }
    for text in
        ["", "dns.internal", "dns.internal:53", "10.0.0.53:", "10.0.0.53:70000", "10.0.0.53:0", "[fd00::53]", "10.0.0"]
    {
        let error = parse_server(text).unwrap_err();
        assert!(error.detail().contains(&format!("`{text}`")), "{text}: {error}");
    }
}

#[test]
fn the_longest_zone_that_holds_a_name_has_its_servers() {
    let resolver = with_zones(vec![
        zone("internal", &["192.0.2.1"]),
        zone("Corp.Internal.", &["192.0.2.2", "192.0.2.3"]),
        zone("a.b.corp.internal", &["192.0.2.4"]),
    ])
    .unwrap();
    for (name, expected) in [
        ("internal", "192.0.2.1:53"),
        ("x.internal", "192.0.2.1:53"),
        ("xcorp.internal", "192.0.2.1:53"),
        ("corp.internal", "192.0.2.2:53"),
        ("_acme-challenge.APP.CORP.internal", "192.0.2.2:53"),
        ("b.corp.internal", "192.0.2.2:53"),
        ("x.a.b.corp.internal", "192.0.2.4:53"),
        ("corp.internal.example", "192.0.2.53:53"),
        ("example", "192.0.2.53:53"),
    ] {
        let group = resolver.group(&absolute(name).unwrap());
        assert_eq!(group.addresses().first().unwrap().to_string(), expected, "{name}");
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let many: Vec<String> = (1..=9).map(|number| format!("192.0.2.{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (zones, expected) in [
        (vec![zone("corp internal", &["192.0.2.1"])], "`corp internal` is not a name"),
        (vec![zone("", &["192.0.2.1"])], "is not a name"),
        (vec![zone("a..b", &["192.0.2.1"])], "is not a name"),
        (vec![zone("corp.internal", &[])], "has no resolvers"),
        (vec![zone("corp.internal", &["192.0.2.1"]), zone("CORP.internal.", &["192.0.2.2"])], "is given twice"),
        (vec![zone("corp.internal", &many)], "at most 8"),
    ] {
        let error = with_zones(zones).unwrap_err();
        assert!(error.detail().contains(expected), "{expected}: {error}");
    }
    for settings in [
        ResolverSettings { timeout: Duration::ZERO, ..ResolverSettings::default() },
        ResolverSettings { attempts: 0, ..ResolverSettings::default() },
    ] {
        assert!(Resolver::new(settings).is_err());
    }
}

#[test]
fn only_names_are_asked_for() {
    let long = format!("{}.internal", "a.".repeat(130));
    let label = format!("{}.internal", "a".repeat(64));
    for text in
        ["", ".", "a b.internal", "a\\.b", "a..b", "*.internal", "caf\u{e9}.internal", "a.internal\n", &long, &label]
    {
        assert!(absolute(text).is_none(), "{text:?}");
    }
    for text in ["internal", "a.internal.", "_acme-challenge.A.internal", "xn--caf-dma.internal", "1.2.3.4"] {
        assert!(absolute(text).is_some_and(|name| name.is_fqdn()), "{text}");
    }
}

#[test]
fn the_servers_of_the_system_are_asked_when_none_are_given() {
    let resolver = Resolver::new(ResolverSettings::default()).unwrap();
    assert_eq!(resolver.default.addresses(), exchange::system_servers());
}

#[tokio::test]
async fn without_servers_each_look_up_says_what_to_configure() {
    let resolver = Resolver {
        zones: Vec::new(),
        default: Group::new(Name::root(), Vec::new(), Duration::from_secs(1)).unwrap(),
        timeout: Duration::from_secs(1),
        attempts: 2,
    };
    let failure = resolver.txt("a.internal").await.unwrap_err();
    assert_eq!(failure.error_type, AcmeErrorType::ServerInternal);
    assert!(failure.detail.contains("`resolvers` in `[acme]`"), "{}", failure.detail);
}
