package probe

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"muster/shardmap/registry"
)

const (
	// webBodyMax is how much of a page is read, in bytes. The rest is left.
	webBodyMax = 64 << 10
	// webHeadMax bounds the headers of an answer, in bytes.
	webHeadMax = 64 << 10
	// redirectsMax bounds how many redirects are followed.
	redirectsMax = 3
)

// checkWeb gets a page. Its status must be one that spec expects; a redirect that is not expected
// is followed if it stays with the server.
func checkWeb(ctx context.Context, c *conns, spec *registry.Spec) (string, error) {
	first, err := url.Parse(spec.URL)
	if err != nil {
		return "", err
	}
	dial := func(ctx context.Context, _, addr string) (net.Conn, error) { return c.dial(ctx, addr, polite) }
	t := Transport(dial, tlsOf(spec, first.Hostname()), webHeadMax)
	client := &http.Client{Transport: t, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if spec.Expects(next.Response.StatusCode) || len(via) > redirectsMax || !sameServer(first, next.URL) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, spec.URL, nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("User-Agent", "muster-check")
	if spec.User != "" {
		request.SetBasicAuth(spec.User, spec.Pass)
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", webError(err)
	}
	defer answer.Body.Close()
	if !spec.Expects(answer.StatusCode) {
		said := fmt.Sprintf("HTTP %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
		if to, err := answer.Location(); err == nil && !sameServer(first, to) {
			said += ": a redirect to " + to.Host + ", which is not followed"
		}
		return "", fmt.Errorf("%s", said)
	}
	// A server that dies in the middle of a page is not up.
	if _, err := io.CopyN(io.Discard, answer.Body, webBodyMax); err != nil && err != io.EOF {
		return "", &behindError{fmt.Sprintf("HTTP %d, and then", answer.StatusCode), otherwise(err, "a page that can't be read")}
	}
	return fmt.Sprintf("HTTP %d", answer.StatusCode), nil
}

// webError words an error of net/http.
func webError(err error) error {
	text := err.Error()
	what := "not HTTP: an answer that can't be read"
	if _, begins, ok := strings.Cut(text, "malformed HTTP response "); ok {
		what = "not HTTP: the answer begins with " + begins
	}
	switch {
	case strings.Contains(text, "server response headers exceeded"):
		what = fmt.Sprintf("headers of more than %d KiB", webHeadMax>>10)
	case strings.Contains(text, "failed to parse Location header"):
		what = "a redirect that can't be read"
	}
	return otherwise(err, what)
}

// sameServer reports whether a redirect stays with the server: at the same host and port, or at the
// same host from the usual port of http to that of https, and never the other way round.
func sameServer(first, next *url.URL) bool {
	if !strings.EqualFold(first.Hostname(), next.Hostname()) {
		return false
	}
	if first.Scheme == next.Scheme {
		return portOf(first) == portOf(next)
	}
	return first.Scheme == "http" && next.Scheme == "https" && portOf(first) == "80" && portOf(next) == "443"
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}
