package node

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"muster/node/probe"
	"muster/repl/health"
	"muster/repl/wire"
	"muster/shardmap/registry"
)

const (
	// hookMax is how long a webhook may take to answer. The assigner tells it again later.
	hookMax = 5 * time.Second
	// hookAnswerMax bounds what is read of an answer, in bytes: nothing in it counts but its
	// status, and it is read so that its sender sees no reset.
	hookAnswerMax = 16 << 10
	// hookHeaderMax bounds the header of an answer, in bytes.
	hookHeaderMax = 16 << 10
	// hookSignature is the header with the HMAC of the body, if the service has a secret for it.
	hookSignature = "Muster-Signature"
)

// hooks tells webhooks of changes, each change once: the assigner bounds how many are under way
// at once, and has those told again that fail.
type hooks struct {
	node   *Node
	client *http.Client
	told   atomic.Uint64
	failed atomic.Uint64
}

// init prepares h. Whoever may set a service names its webhook, as they name the targets of its
// checks. So both are dialled by the same dial, which refuses what is outside the ranges that
// this node allows.
func (h *hooks) init(n *Node, dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	h.node = n
	h.client = &http.Client{
		Transport: probe.Transport(dial, nil, hookHeaderMax),
		// A redirect is no answer: the signed body is for the receiver that was named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// hookBody is what a webhook is told.
type hookBody struct {
	ID       string `json:"id"` // of the change: the same each time that it is told
	Service  string `json:"service"`
	Instance string `json:"instance"`
	Count    uint64 `json:"count"`          // which change of the instance it is, from 1
	From     string `json:"from,omitempty"` // left out where it is not known
	To       string `json:"to"`
	Reason   string `json:"reason"`
	At       string `json:"at"` // RFC 3339, by the clock of the node that noted the change
	Version  uint64 `json:"version"`
}

// lost notes that a webhook is not told of a change: by then there were too many, or it was too
// long ago.
func (h *hooks) lost(x *health.Hook) {
	h.node.log.Warn("webhook misses changes", "service", x.Service.Name, "instance", x.Instance, "first", x.Count)
}

// tell begins to tell a webhook of a change. Over is called once, later.
func (h *hooks) tell(x *health.Hook, over func(error)) {
	h.node.ended.Go(func() {
		err := h.post(x)
		if err == nil {
			h.told.Add(1)
		} else if h.node.ctx.Err() == nil {
			h.failed.Add(1)
			h.node.log.Warn("webhook not told", "service", x.Service.Name, "instance", x.Instance, "change", x.Count, "err", err)
		}
		over(err)
	})
}

// post tells a webhook of a change, once. Its error does not show the URL, in which
// there may be a token.
func (h *hooks) post(x *health.Hook) error {
	said := hookBody{
		ID:      fmt.Sprintf("%s/%s/%d/%d", x.Service.Name, x.Instance, x.Count, x.At),
		Service: x.Service.Name, Instance: x.Instance, Count: x.Count, To: x.To.String(), Reason: x.Reason,
		At: time.UnixMilli(x.At).UTC().Format(time.RFC3339Nano), Version: x.Version,
	}
	if !x.NoFrom {
		said.From = x.From.String()
	}
	body, err := json.Marshal(said)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(h.node.ctx, hookMax)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, x.Service.Get(registry.SettingWebhook), bytes.NewReader(body))
	if err != nil {
		return withoutURL(err)
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("User-Agent", "muster/"+Version)
	if secret := x.Service.Get(registry.SettingWebhookSecret); secret != "" {
		q.Header.Set(hookSignature, signature([]byte(secret), body))
	}
	a, err := h.client.Do(q)
	if err != nil {
		return withoutURL(err)
	}
	defer a.Body.Close()
	_, _ = io.CopyN(io.Discard, a.Body, hookAnswerMax) // what it says does not matter
	if a.StatusCode < 200 || a.StatusCode > 299 {
		return fmt.Errorf("it answers with status %d", a.StatusCode)
	}
	return nil
}

// signature is the value of [hookSignature] for a body.
func signature(secret, body []byte) string {
	m := hmac.New(sha256.New, secret)
	m.Write(body)
	return "sha256=" + hex.EncodeToString(m.Sum(nil))
}

// withoutURL takes the URL out of an error of a request.
func withoutURL(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// rows are the counters of webhooks.
func (h *hooks) rows() []wire.CounterRow {
	return []wire.CounterRow{{Name: "services: webhooks told", Out: h.told.Load()}, {Name: "services: webhooks that failed", Out: h.failed.Load()}}
}
