// Command lego-library drives the present version of the lego library, for what the lego that Debian packages does not
// know: renewal information with replaces (RFC 9773), profiles and IP identifiers. Debian's program is driven by the tests
// too. This is not a client for anything but the tests: lego's own program has every DNS provider there is, and takes
// minutes to build.
//
// It keeps an account and one certificate in a directory, decides about renewal as lego's own program does, and prints
// what it did as one JSON object.
package main

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/go-acme/lego/v4/certcrypto"
	"github.com/go-acme/lego/v4/certificate"
	"github.com/go-acme/lego/v4/challenge/dns01"
	"github.com/go-acme/lego/v4/challenge/http01"
	"github.com/go-acme/lego/v4/challenge/tlsalpn01"
	"github.com/go-acme/lego/v4/lego"
	"github.com/go-acme/lego/v4/providers/dns/exec"
	"github.com/go-acme/lego/v4/registration"
)

const usage = `lego-library [flags] obtain NAME... | renew | revoke | deactivate`

type settings struct {
	directory, state, profile string
	http, tls, exec, resolver string
	keyID, hmacKey            string
	days, reason              int
}

// account is what lego wants to know of one.
type account struct {
	key      crypto.PrivateKey
	resource *registration.Resource
}

func (a *account) GetEmail() string                        { return "" }
func (a *account) GetRegistration() *registration.Resource { return a.resource }
func (a *account) GetPrivateKey() crypto.PrivateKey        { return a.key }

// renewal says what was decided about a certificate and why.
type renewal struct {
	Renewed     bool      `json:"renewed"`
	Start       time.Time `json:"start"`
	End         time.Time `json:"end"`
	RetryAfter  float64   `json:"retry_after"`
	Explanation string    `json:"explanation"`
	Replaces    string    `json:"replaces"`
}

func main() {
	var s settings
	flag.StringVar(&s.directory, "directory", "", "the address of the ACME directory")
	flag.StringVar(&s.state, "state", "", "where the account and the certificate are kept")
	flag.StringVar(&s.profile, "profile", "", "the profile to ask for")
	flag.StringVar(&s.http, "http", "", "answer http-01 at this address")
	flag.StringVar(&s.tls, "tls", "", "answer tls-alpn-01 at this address")
	flag.StringVar(&s.exec, "exec", "", "answer dns-01 by this program")
	flag.StringVar(&s.resolver, "resolver", "", "where names are looked up for dns-01")
	flag.StringVar(&s.keyID, "eab-key-id", "", "the name of the external account's key")
	flag.StringVar(&s.hmacKey, "eab-hmac-key", "", "the external account's key, base64url")
	flag.IntVar(&s.days, "days", 0, "renew when so many days are left, whatever the renewal information says")
	flag.IntVar(&s.reason, "reason", 0, "why the certificate is revoked: RFC 5280, section 5.3.1")
	flag.Parse()
	if err := run(&s, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "lego-library:", err)
		os.Exit(1)
	}
}

func run(s *settings, arguments []string) error {
	if len(arguments) == 0 {
		return errors.New(usage)
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	switch arguments[0] {
	case "obtain":
		return s.obtain(client, certificate.ObtainRequest{Domains: arguments[1:]})
	case "renew":
		return s.renew(client)
	case "revoke":
		pem, err := os.ReadFile(s.path("certificate.pem"))
		if err != nil {
			return err
		}
		reason := uint(s.reason)
		return client.Certificate.RevokeWithReason(pem, &reason)
	case "deactivate":
		return client.Registration.DeleteRegistration()
	default:
		return errors.New(usage)
	}
}

func (s *settings) path(name string) string { return filepath.Join(s.state, name) }

// client makes a client with a registered account.
func (s *settings) client() (*lego.Client, error) {
	a, err := s.account()
	if err != nil {
		return nil, err
	}
	config := lego.NewConfig(a)
	config.CADirURL = s.directory
	config.Certificate.KeyType = certcrypto.EC256
	// The server refuses a common name that is an address, and needs none.
	config.Certificate.DisableCommonName = true
	client, err := lego.NewClient(config)
	if err != nil {
		return nil, err
	}
	if err := s.responders(client); err != nil {
		return nil, err
	}
	if a.resource != nil {
		return client, nil
	}
	if s.keyID != "" {
		a.resource, err = client.Registration.RegisterWithExternalAccountBinding(registration.RegisterEABOptions{
			TermsOfServiceAgreed: true, Kid: s.keyID, HmacEncoded: s.hmacKey,
		})
	} else {
		a.resource, err = client.Registration.Register(registration.RegisterOptions{TermsOfServiceAgreed: true})
	}
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(a.resource)
	if err != nil {
		return nil, err
	}
	return client, os.WriteFile(s.path("account.json"), text, 0o600)
}

func (s *settings) account() (*account, error) {
	text, err := os.ReadFile(s.path("account.key"))
	if errors.Is(err, fs.ErrNotExist) {
		key, err := certcrypto.GeneratePrivateKey(certcrypto.EC256)
		if err != nil {
			return nil, err
		}
		return &account{key: key}, os.WriteFile(s.path("account.key"), certcrypto.PEMEncode(key), 0o600)
	} else if err != nil {
		return nil, err
	}
	key, err := certcrypto.ParsePEMPrivateKey(text)
	if err != nil {
		return nil, err
	}
	text, err = os.ReadFile(s.path("account.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return &account{key: key}, nil
	} else if err != nil {
		return nil, err
	}
	var resource registration.Resource
	return &account{key: key, resource: &resource}, json.Unmarshal(text, &resource)
}

func (s *settings) responders(client *lego.Client) error {
	if s.http != "" {
		host, port, err := net.SplitHostPort(s.http)
		if err != nil {
			return err
		}
		if err := client.Challenge.SetHTTP01Provider(http01.NewProviderServer(host, port)); err != nil {
			return err
		}
	}
	if s.tls != "" {
		host, port, err := net.SplitHostPort(s.tls)
		if err != nil {
			return err
		}
		if err := client.Challenge.SetTLSALPN01Provider(tlsalpn01.NewProviderServer(host, port)); err != nil {
			return err
		}
	}
	if s.exec == "" {
		return nil
	}
	provider, err := exec.NewDNSProviderConfig(&exec.Config{
		Program: s.exec, PropagationTimeout: 10 * time.Second, PollingInterval: 100 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	return client.Challenge.SetDNS01Provider(provider,
		dns01.AddRecursiveNameservers([]string{s.resolver}), dns01.DisableAuthoritativeNssPropagationRequirement())
}

func (s *settings) obtain(client *lego.Client, request certificate.ObtainRequest) error {
	request.Profile = s.profile
	request.Bundle = true
	obtained, err := client.Certificate.Obtain(request)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path("certificate.key"), obtained.PrivateKey, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(s.path("issuer.pem"), obtained.IssuerCertificate, 0o600); err != nil {
		return err
	}
	return os.WriteFile(s.path("certificate.pem"), obtained.Certificate, 0o600)
}

// renew decides as the command `renew` of lego's own program does: by the renewal information, and by the days that are left.
func (s *settings) renew(client *lego.Client) error {
	text, err := os.ReadFile(s.path("certificate.pem"))
	if err != nil {
		return err
	}
	present, err := certcrypto.ParsePEMCertificate(text)
	if err != nil {
		return err
	}
	information, err := client.Certificate.GetRenewalInfo(certificate.RenewalInfoRequest{Cert: present})
	if err != nil {
		return err
	}
	replaces, err := certificate.MakeARICertID(present)
	if err != nil {
		return err
	}
	now := time.Now()
	due := information.ShouldRenewAt(now, 0) != nil || s.expires(present, now)
	if due {
		names := certcrypto.ExtractDomains(present)
		request := certificate.ObtainRequest{Domains: names, ReplacesCertID: replaces}
		if err := s.obtain(client, request); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(renewal{
		Renewed: due, Replaces: replaces, Explanation: information.ExplanationURL,
		Start: information.SuggestedWindow.Start, End: information.SuggestedWindow.End,
		RetryAfter: information.RetryAfter.Seconds(),
	})
}

func (s *settings) expires(present *x509.Certificate, now time.Time) bool {
	return present.NotAfter.Sub(now) < time.Duration(s.days)*24*time.Hour
}
