//! A relying party that asks for the status of certificates, and verifies what it is told.

use chancery::x509::ocsp::{
    BasicResponse, CertId, CertificateStatus, ErrorStatus, HashAlgorithm, IssuerHashes, OcspRequest, OcspResponse,
};
use chancery::x509::{Certificate, SerialNumber};
use serde_json::Value;

use crate::support::client::{Answer, Client};
use crate::support::service::Service;

/// A relying party that knows one CA.
#[derive(Clone)]
pub(crate) struct Relying {
    client: Client,
    url: String,
    pub(crate) issuer: Certificate,
}

/// What an answer says.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A signed answer that verifies.
    Answer(Box<BasicResponse>),
    /// An OCSP error.
    Refused(ErrorStatus),
}

impl Asked {
    /// Reads an HTTP answer and verifies what is signed.
    #[track_caller]
    pub(crate) fn read(answer: &Answer, issuer: &Certificate) -> Self {
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/ocsp-response"));
        Self::from_der(&answer.body, issuer)
    }

    /// Reads an OCSP response and verifies what is signed.
    #[track_caller]
    pub(crate) fn from_der(der: &[u8], issuer: &Certificate) -> Self {
        match OcspResponse::from_der(der).unwrap() {
            OcspResponse::Error(status) => Self::Refused(status),
            OcspResponse::Successful(basic) => {
                basic.verify(issuer).unwrap();
                assert!(basic.responder_needs_no_check());
                Self::Answer(basic)
            }
        }
    }

    /// The statuses in order.
    #[track_caller]
    pub(crate) fn statuses(&self) -> Vec<CertificateStatus> {
        match self {
            Self::Answer(basic) => basic.responses.iter().map(|response| response.status).collect(),
            Self::Refused(status) => panic!("there is no answer but {status:?}"),
        }
    }

    /// The signed answer.
    #[track_caller]
    pub(crate) fn basic(self) -> BasicResponse {
        match self {
            Self::Answer(basic) => *basic,
            Self::Refused(status) => panic!("there is no answer but {status:?}"),
        }
    }

    /// The OCSP error.
    pub(crate) fn refusal(&self) -> Option<ErrorStatus> {
        match self {
            Self::Answer(_) => None,
            Self::Refused(status) => Some(*status),
        }
    }
}

impl Relying {
    /// A relying party of the service's issuing CA.
    pub(crate) fn of(service: &Service) -> Self {
        Self::of_issuer(service, "issuing")
    }

    /// A relying party of one of the service's CAs.
    pub(crate) fn of_issuer(service: &Service, name: &str) -> Self {
        let client = Client::new(service.public(), None);
        let issuer = client.get(&format!("/pki/{name}.crt")).expect(200).body;
        let issuer = Certificate::from_der(&issuer).unwrap();
        Self { client, url: format!("{}/ocsp/{name}", service.public()), issuer }
    }

    /// The identifier of a certificate of the CA.
    pub(crate) fn id(&self, hash: HashAlgorithm, serial: &str) -> Vec<u8> {
        let serial: SerialNumber = serial.parse().unwrap();
        CertId::encode(hash, &IssuerHashes::of_certificate(&self.issuer), &serial)
    }

    /// A request for one certificate.
    pub(crate) fn request(&self, serial: &str) -> Vec<u8> {
        OcspRequest::encode(&[self.id(HashAlgorithm::Sha1, serial)], None)
    }

    /// Sends octets by POST.
    #[track_caller]
    pub(crate) fn post(&self, request: impl Into<Vec<u8>>) -> Answer {
        self.client.post(&self.url).body("application/ocsp-request", request).send()
    }

    /// Sends a request by GET, with or without headers.
    #[track_caller]
    pub(crate) fn get(&self, request: &[u8], headers: &[(&str, &str)]) -> Answer {
        let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, request);
        let encoded = encoded.replace('+', "%2B").replace('=', "%3D");
        let mut request = self.client.get(&format!("{}/{encoded}", self.url));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.send()
    }

    /// Sends a request without waiting on the test's own thread.
    pub(crate) async fn post_elsewhere(self, request: Vec<u8>) -> Asked {
        let issuer = self.issuer.clone();
        Asked::from_der(&self.send(request).await, &issuer)
    }

    /// Sends a request, and returns the octets of the response.
    pub(crate) async fn send(self, request: Vec<u8>) -> Vec<u8> {
        let sent = self.client.post(&self.url).body("application/ocsp-request", request);
        sent.try_send().await.unwrap().expect(200).body
    }

    /// Asks for the certificates of serial numbers.
    #[track_caller]
    pub(crate) fn ask(&self, serials: &[&str], nonce: Option<&[u8]>) -> Asked {
        let ids: Vec<_> = serials.iter().map(|serial| self.id(HashAlgorithm::Sha1, serial)).collect();
        Asked::read(&self.post(OcspRequest::encode(&ids, nonce)), &self.issuer)
    }

    /// Asks for one certificate.
    #[track_caller]
    pub(crate) fn status(&self, serial: &str) -> CertificateStatus {
        self.ask(&[serial], None).statuses()[0]
    }
}

/// The serial number of a record.
pub(crate) fn serial(record: &Value) -> &str {
    record["serial"].as_str().unwrap()
}
