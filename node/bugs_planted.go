//go:build plantedbugs

package node

import (
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"sync"

	"muster/repl/trust"
)

// planted is the bug that is in force, or "".
var planted string

// setBug plants the bug of that name, or none. It exists only under the build
// tag plantedbugs, where it shows that the tests would find such a bug.
func setBug(name string) { planted = name }

func bug(name string) bool { return planted == name }

// wishes are the hosts that requests for certificates have named, by their keys.
var wishes sync.Map // trust.KeyID to trust.Host

// readWish is [trust.ReadRequest] where [bugNamesAsked] is in force.
func readWish(request []byte) (*ecdsa.PublicKey, error) {
	r, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return nil, err
	}
	public, ok := r.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("not a key of ECDSA")
	}
	key, err := trust.PublicKeyID(public)
	if err == nil && len(r.DNSNames) > 0 {
		wishes.Store(key, trust.Host(r.DNSNames[0]))
	}
	return public, err
}

// wishedHost is the host that the request with a key has named.
func wishedHost(public *ecdsa.PublicKey) trust.Host {
	key, _ := trust.PublicKeyID(public)
	host, _ := wishes.Load(key)
	h, _ := host.(trust.Host)
	return h
}
