package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-sql-driver/mysql"

	"muster/shardmap/registry"
)

// why words an error for people, without what they see beside it: host and port.
func (c *conns) why(err error, late bool, timeout time.Duration) string {
	c.mu.Lock()
	refused := c.refused
	c.mu.Unlock()
	if refused != nil {
		return refused.Error()
	}
	var notAllowed *NotAllowedError
	if errors.As(err, &notAllowed) {
		return notAllowed.Error()
	}
	if late || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return "no answer within " + timeout.String()
	}
	var name *net.DNSError
	if errors.As(err, &name) {
		return "name " + name.Name + ": " + name.Err
	}
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		return "certificate: " + cert.Err.Error()
	}
	var behind *behindError
	if errors.As(err, &behind) {
		return behind.said + ": " + c.why(behind.err, late, timeout)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, mysql.ErrInvalidConn) {
		return "the server closes the connection"
	}
	var system *os.SyscallError // "connect: connection refused"
	if errors.As(err, &system) {
		return system.Err.Error()
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) || errors.Is(err, http.ErrSchemeMismatch) || errors.Is(err, mysql.ErrNoTLS) {
		return noTLS
	}
	var call *net.OpError
	if errors.As(err, &call) {
		err = call.Err
	}
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	if text, ok := strings.CutPrefix(err.Error(), "tls: "); ok {
		return "TLS: " + text
	}
	return err.Error()
}

const noTLS = "the server speaks no TLS"

// behindError is an error behind something that is worth telling too.
type behindError struct {
	said string
	err  error
}

func (e *behindError) Error() string { return e.said + ": " + e.err.Error() }
func (e *behindError) Unwrap() error { return e.err }

// otherwise returns err if [conns.why] has words for it: it tells of the node, the network or TLS.
// What it does not know came from a library, whose words are for those who program with it; then
// it returns one that says what instead.
func otherwise(err error, what string) error {
	var name *net.DNSError
	var cert *tls.CertificateVerificationError
	var call *net.OpError
	var record tls.RecordHeaderError
	var refused *NotAllowedError
	var notMade *notMadeError
	for _, known := range []any{&name, &cert, &call, &record, &refused, &notMade} {
		if errors.As(err, known) {
			return err
		}
	}
	for _, known := range []error{context.DeadlineExceeded, context.Canceled, os.ErrDeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed,
		http.ErrSchemeMismatch, mysql.ErrInvalidConn, mysql.ErrNoTLS, errFlood} {
		if errors.Is(err, known) {
			return err
		}
	}
	if of := ofTLS(err); of != nil {
		return of
	}
	return errors.New(what)
}

// ofTLS returns the error of package tls that is within err, or nil.
func ofTLS(err error) error {
	if err == nil || strings.HasPrefix(err.Error(), "tls: ") {
		return err
	}
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, each := range several.Unwrap() {
			if of := ofTLS(each); of != nil {
				return of
			}
		}
		return nil
	}
	return ofTLS(errors.Unwrap(err))
}

// clean makes one line of a text in which a target or a program had a part: without the secrets of
// spec, without what controls a terminal, and at most [registry.ReasonMax] bytes long.
func clean(text string, spec *registry.Spec) string {
	// A server may repeat what it was sent, and a program has the passwords in its environment.
	text = registry.MaskIn(text, spec.Settings, []registry.Setting{{Key: "pass", Value: spec.Pass}})
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= registry.ReasonMax {
		return text
	}
	end := registry.ReasonMax
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
