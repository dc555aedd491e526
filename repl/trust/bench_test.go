package trust_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"syscall"
	"testing"
	"time"

	"muster/repl/trust"
)

// cpu is what this process has used so far of its processors.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A handshake is timed for both sides together, each with a certificate and verifying the other's:
// with the key exchange that the library takes by itself, which holds against quantum computers
// too, and without.
func BenchmarkHandshake(b *testing.B) {
	w := newWorld(b, 1, cluster)
	server, client := w.holder(node(1)), w.holder(node(2))
	for _, row := range []struct {
		name   string
		curves []tls.CurveID
	}{{"default", nil}, {"X25519", []tls.CurveID{tls.X25519}}} {
		b.Run(row.name, func(b *testing.B) {
			settings, dial := server.Server(), client.Client(verifies(client))
			dial.CurvePreferences = row.curves
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				near, far := net.Pipe()
				done := make(chan error, 1)
				go func() {
					conn := tls.Server(far, settings)
					err := conn.Handshake()
					if err == nil {
						_, err = w.trusted().Node(conn.ConnectionState().PeerCertificates, noon)
					}
					done <- err
				}()
				if err := tls.Client(near, dial).Handshake(); err != nil {
					b.Fatal(err)
				}
				if err := <-done; err != nil {
					b.Fatal(err)
				}
				_, _ = near.Close(), far.Close()
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// The cost of verifying one certificate, without the handshake.
func BenchmarkVerify(b *testing.B) {
	w := newWorld(b, 1, cluster)
	c, _ := w.issue(node(2), trust.NodeLife)
	trusted := w.trusted()
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		if _, err := trusted.Verify([]*x509.Certificate{c}, noon); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}

// The cost of signing one certificate.
func BenchmarkIssue(b *testing.B) {
	w := newWorld(b, 1, cluster)
	key := w.newKey()
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		if _, _, err := w.issuer.Issue(w.chance, node(2), &key.PublicKey, noon, trust.NodeLife); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}
