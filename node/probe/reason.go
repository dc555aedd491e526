package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

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
	var system *os.SyscallError // "connect: connection refused"
	if errors.As(err, &system) {
		return system.Err.Error()
	}
	var call *net.OpError
	if errors.As(err, &call) {
		return call.Err.Error()
	}
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	return httpWords.Replace(err.Error())
}

// httpWords takes out what net/http says of itself.
var httpWords = strings.NewReplacer("net/http: HTTP/1.x transport connection broken: ", "", "net/http: ", "")

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
