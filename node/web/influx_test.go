package web

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"muster/repl/wire"
)

// influx is a mount whose answers say what it was asked, as its handler sees it.
func (r *rig) influx() Mount {
	return Mount{
		Path: "/write", Kind: Influx,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			n, err := io.Copy(io.Discard, req.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
				return
			}
			r.sets.Add(1)
			fmt.Fprintf(w, "%s|%s|%s|%d", req.Header.Get("Authorization"), req.URL.RawQuery, req.RequestURI, n)
		}),
		Refuse: func(w http.ResponseWriter, _ *http.Request, status int, e *wire.Error) {
			w.WriteHeader(status)
			fmt.Fprintf(w, "refused: %s", e.Text)
		},
	}
}

// InfluxDB's clients say in five ways who they are. The node must know each, the handler must never see the password
// of an address, and a client with a name that nobody has must be served where nobody is asked.
func TestInfluxUsers(t *testing.T) {
	if wrong := influxUsers(t); wrong != "" {
		t.Error(wrong)
	}
}

func influxUsers(t *testing.T) string {
	const basic = "Basic cm9iOnJpZ2h0" // rob:right
	for _, c := range []struct {
		address, authorization string
		status                 int
		seen, left             string // Authorization and parameters, as the handler sees them
	}{
		{"db=d&u=rob&p=right&precision=s", "", 200, basic, "db=d&precision=s"},
		{"u=rob&p=right", "", 200, basic, ""},
		{"%75=rob&p=ri%67ht&rp=%2f", "", 200, basic, "rp=%2f"},
		{"u=rob&p=right&u=eve&p=wrong", "", 200, basic, ""},
		{"u=rob&p=right", "Bearer stale", 200, basic, ""},
		{"db=d", basic, 200, basic, "db=d"},
		{"u=rob", basic, 200, basic, ""}, // a name alone says nothing
		{"db=d", "Token rob:right", 200, basic, "db=d"},
		{"db=d", "token rob:right", 200, basic, "db=d"},
		{"db=d", "Token good", 200, "Bearer good", "db=d"},
		{"db=d", "Bearer good", 200, "Bearer good", "db=d"},
		{"db=d", "", 401, "", ""},
		{"db=d&u=rob&p=wrong", "", 401, "", ""},
		{"db=d&u=rob&p=%zz", "", 401, "", ""},
		{"db=d&u=rob&p=wrong", basic, 401, "", ""}, // the parameters count, as in InfluxDB
		{"db=d", "Token rob:wrong", 401, "", ""},
		{"db=d", "Token rob", 401, "", ""},
		{"db=d", "Token ", 401, "", ""},
		{"db=d", "Token", 401, "", ""},
		{"db=d", "Basic !", 401, "", ""},
	} {
		for _, overTLS := range []bool{true, false} {
			want := fmt.Sprintf("%s|%s|/write?%s|2", c.seen, c.left, c.left)
			status := c.status
			switch {
			case !overTLS: // nobody is asked
				rest := strings.Split(c.address, "&")
				if strings.HasPrefix(rest[0], "db=") && status != 200 {
					c.left = rest[0]
				}
				want, status = fmt.Sprintf("|%s|/write?%s|2", c.left, c.left), 200
			case status == 401:
				want = "refused: "
			}
			want = strings.Replace(want, "/write?|", "/write|", 1)
			r := newRig(t, smallLimits(), overTLS)
			got, text, h := r.ask("POST", "/write?"+c.address, "ab", "Authorization", c.authorization)
			if got != status || !strings.HasPrefix(text, want) {
				return fmt.Sprintf("TLS %t, %s, Authorization %q: got %d %s, want %d %s", overTLS, c.address, c.authorization, got, text, status, want)
			}
			if got == 401 && !strings.HasPrefix(h.Get("WWW-Authenticate"), "Basic ") {
				return fmt.Sprintf("%s: it is asked for %q", c.address, h.Get("WWW-Authenticate"))
			}
		}
	}
	return ""
}

// Telegraf does not tell how much it sends, and a hundred of it send at once: the door must not reserve the largest body
// for each, as it does for the API, and must still end one that is larger than that.
func TestInfluxBodies(t *testing.T) {
	if wrong := influxBodies(t); wrong != "" {
		t.Error(wrong)
	}
}

func influxBodies(t *testing.T) string {
	l := smallLimits()
	l.BodiesBytes = l.BodyBytes - 1
	r := newRig(t, l, false)
	for _, c := range []struct {
		path   string
		size   int64
		status int
	}{
		{"/write", l.SmallBytes + 1, 200},
		{"/write", l.BodyBytes, 200},
		{"/write", l.BodyBytes + 1, 413},
		{"/api/v1/set", l.SmallBytes + 1, 503},
	} {
		q, err := http.NewRequestWithContext(t.Context(), "POST", r.url(c.path), io.LimitReader(zeros{}, c.size))
		if err != nil {
			return err.Error()
		}
		transport := new(http.Transport)
		a, err := transport.RoundTrip(q)
		if err != nil {
			return fmt.Sprintf("%s, %d bytes: %v", c.path, c.size, err)
		}
		a.Body.Close()
		transport.CloseIdleConnections()
		if a.StatusCode != c.status {
			return fmt.Sprintf("%s, %d bytes: got %s, want %d", c.path, c.size, a.Status, c.status)
		}
	}
	return ""
}

// zeros is a body without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
