//! A service whose validator asks a DNS server of the test, and a web server that answers challenges: everything that an order needs.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{LazyLock, Mutex};

use serde_json::Value;

use crate::support::acme::{AcmeClient, Http01, Order, challenge};
use crate::support::dns::DnsServer;
use crate::support::service::{Database, Service, unique};

/// A service with what it validates against.
pub(super) struct Site {
    pub(super) service: Service,
    pub(super) http_01: Http01,
    pub(super) dns: DnsServer,
}

static SHARED: LazyLock<Mutex<HashMap<Database, &'static Site>>> = LazyLock::new(Mutex::default);

impl Site {
    /// A site that many tests share.
    pub(super) fn shared(database: Database) -> &'static Self {
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.entry(database).or_insert_with(|| Box::leak(Box::new(Self::start(database, ""))))
    }

    /// A site of one's own with more lines in the section `[acme]`.
    pub(super) fn start(database: Database, lines: &str) -> Self {
        let (http_01, dns) = (Http01::start(), DnsServer::start());
        let service = Service::configured(database, &configuration(&http_01, &dns, lines), &[]);
        Self { service, http_01, dns }
    }

    /// A client with an account.
    pub(super) fn client(&self) -> AcmeClient {
        let mut client = AcmeClient::new(&self.service);
        client.register();
        client
    }

    /// A name that leads to the web server.
    pub(super) fn name(&self) -> String {
        let name = format!("{}.internal", unique("app"));
        self.dns.add_address(&name, Ipv4Addr::LOCALHOST);
        name
    }

    /// Makes an order for names and proves control of them.
    #[track_caller]
    pub(super) fn ready_order(&self, client: &AcmeClient, names: &[&str]) -> Order {
        let order = client.new_order(names);
        self.prove(client, &order);
        assert_eq!(client.read(&order.url)["status"], "ready");
        order
    }

    /// Proves control of everything that an order asks for: of wildcards over DNS.
    #[track_caller]
    pub(super) fn prove(&self, client: &AcmeClient, order: &Order) {
        for (url, authorization) in
            order.body["authorizations"].as_array().unwrap().iter().zip(client.authorizations(order))
        {
            if authorization["status"] == "pending" {
                let answered = self.answer(client, &authorization);
                client.respond(&answered);
                client.poll(url.as_str().unwrap(), "valid");
            }
        }
    }

    /// Puts the answer to a challenge of an authorization where it is looked for, and returns the challenge.
    pub(super) fn answer(&self, client: &AcmeClient, authorization: &Value) -> Value {
        let is_wildcard = authorization["wildcard"] == true;
        let challenge = challenge(authorization, if is_wildcard { "dns-01" } else { "http-01" });
        let token = challenge["token"].as_str().unwrap();
        if is_wildcard {
            let name = format!("_acme-challenge.{}", authorization["identifier"]["value"].as_str().unwrap());
            self.dns.add_txt(&name, &client.key().txt_value(token));
        } else {
            self.http_01.put(token, &client.key().authorize(token));
        }
        challenge
    }
}

/// The configuration of a service that validates against these servers.
pub(super) fn configuration(http_01: &Http01, dns: &DnsServer, lines: &str) -> String {
    format!(
        "[acme]\nhttp_01_port = {}\nresolvers = [\"{}\"]\nallowed_addresses = [\"127.0.0.0/8\"]\n{lines}\n",
        http_01.port(),
        dns.address()
    )
}
