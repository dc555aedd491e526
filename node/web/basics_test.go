package web

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// What net/http would do by itself, and what it has to be told for that.

// A client that waits for "100 Continue" before it sends a body must hear at once that its request is refused. One would
// doubt it: the door puts a body of its own before that of net/http, which alone knows that the client waits.
func TestUnaskedBodies(t *testing.T) {
	if wrong := unaskedBodies(t); wrong != "" {
		t.Error(wrong)
	}
}

func unaskedBodies(t *testing.T) string {
	limits := smallLimits()
	limits.BodyTime = time.Minute
	for _, overTLS := range []bool{false, true} {
		r := newRig(t, limits, overTLS)
		for _, c := range []struct{ path, host, token, want string }{
			{"/api/v1/set", "localhost", "good", "HTTP/1.1 100 "},
			{"/api/v1/get", "localhost", "good", "HTTP/1.1 405 "},
			{"/api/v1/set", "evil.example", "good", "HTTP/1.1 403 "},
			{"/nowhere", "localhost", "good", "HTTP/1.1 404 "},
			{"/livez", "localhost", "good", "HTTP/1.1 200 "},
		} {
			conn := r.dial("http/1.1")
			if err := conn.SetDeadline(time.Now().Add(tries)); err != nil {
				return err.Error()
			}
			_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n", c.path, c.host, c.token)
			if err != nil {
				return err.Error()
			}
			said := make([]byte, len(c.want))
			if n, err := io.ReadFull(conn, said); err != nil || string(said) != c.want {
				return fmt.Sprintf("TLS %t: POST %s of %s, with a body that waits to be asked for: got %q, %v, want %q", overTLS, c.path, c.host, said[:n], err, c.want)
			}
			conn.Close()
		}
	}
	return ""
}

// A request whose target is "*" must pass what all others do. One would doubt it: net/http answers it by itself.
func TestOptionsOfTheServer(t *testing.T) {
	if wrong := optionsPast(t); wrong != "" {
		t.Error(wrong)
	}
}

func optionsPast(t *testing.T) string {
	for _, overTLS := range []bool{false, true} {
		r := newRig(t, smallLimits(), overTLS)
		for host, want := range map[string]string{"evil.example": " 403 ", "localhost": " 404 "} {
			conn := r.dial("http/1.1")
			if _, err := fmt.Fprintf(conn, "OPTIONS * HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host); err != nil {
				return err.Error()
			}
			if said, err := hungUp(conn, patience); err != nil || !strings.Contains(said, want) {
				return fmt.Sprintf("TLS %t: OPTIONS * of %s: got %q, %v", overTLS, host, said, err)
			}
		}
		if n := r.arrived.Load(); n != 2 {
			return fmt.Sprintf("TLS %t: %d of 2 visitors were looked at", overTLS, n)
		}
	}
	return ""
}
