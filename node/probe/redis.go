package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"muster/shardmap/registry"
)

// redisLineMax bounds an answer of Redis, in bytes. An error of AUTH is the longest.
const redisLineMax = 512

// checkRedis sends AUTH if there is a password, SELECT if there is a database, then PING, and QUIT:
//
//	*1 CRLF $4 CRLF PING CRLF    ->
//	<-                           +PONG CRLF, or -CODE text CRLF
func checkRedis(ctx context.Context, c *conns, spec *registry.Spec) (string, error) {
	raw, err := c.dial(ctx, target(spec), polite)
	if err != nil {
		return "", err
	}
	var server net.Conn = raw
	if spec.TLS {
		t := tls.Client(raw, tlsOf(spec, spec.Host))
		if err := t.HandshakeContext(ctx); err != nil {
			return "", err
		}
		server = t
	}
	lines := bufio.NewReaderSize(server, redisLineMax)
	ask := func(want string, words ...string) error {
		var b strings.Builder
		fmt.Fprintf(&b, "*%d\r\n", len(words))
		for _, w := range words {
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
		}
		if _, err := server.Write([]byte(b.String())); err != nil {
			return err
		}
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("%s: an answer of more than %d bytes", words[0], redisLineMax)
		}
		if err != nil {
			return &behindError{words[0], err}
		}
		if got := strings.TrimRight(string(line), "\r\n"); got != want {
			return fmt.Errorf("%s: %s", words[0], strings.TrimPrefix(got, "-"))
		}
		return nil
	}
	if spec.Pass != "" {
		words := []string{"AUTH", spec.Pass}
		if spec.User != "" {
			words = []string{"AUTH", spec.User, spec.Pass}
		}
		if err := ask("+OK", words...); err != nil {
			return "", err
		}
	}
	if spec.Database != "" {
		if err := ask("+OK", "SELECT", spec.Database); err != nil {
			return "", err
		}
	}
	if err := ask("+PONG", "PING"); err != nil {
		return "", err
	}
	// It is up. The server closes the connection after QUIT; if it does not, that does not matter.
	_ = ask("+OK", "QUIT")
	return "answers PING", nil
}
